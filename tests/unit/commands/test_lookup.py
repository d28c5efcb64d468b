from __future__ import annotations

from pathlib import Path

import pytest

from jobs.commands import lookup
from jobs.commands.lookup import Asked, JobFile, headings
from jobs.commands.new import new
from jobs.core.errors import ConfigError

JOB = '''"""Count orders.

In    source   one record an order,
               as JSON
Run   spark-submit counted.py
"""

from jobs.core.config import JobConfig


class Config(JobConfig):
    """conf/counted.yaml."""

    at_least: int = 1


def start(spark, config): ...
'''


def written(folder: Path, text: str, name: str = "counted.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_every_shipped_job_says_what_it_is_for() -> None:
    jobs = {job.name: job for job in lookup.shipped()}
    assert "stream_table_join" in jobs
    assert "cli" not in jobs
    for job in jobs.values():
        assert job.purpose.endswith(".")
        assert {"In", "Out", "Rejected", "Delivery", "Run"} <= set(job.headings)


def test_a_docstring_is_read_with_its_headings(tmp_path: Path) -> None:
    path = written(tmp_path, JOB)
    told = {"In": "source   one record an order,\n         as JSON", "Run": "spark-submit counted.py"}
    assert lookup.read(path) == JobFile(path, "Count orders.", told)


@pytest.mark.parametrize("text", ["", "class Config: ...\n", "def start(): ...\n"])
def test_a_file_without_config_or_start_is_no_job(tmp_path: Path, text: str) -> None:
    assert lookup.read(written(tmp_path, text)) is None
    assert lookup.jobs_in(tmp_path) == []


def test_text_before_the_first_heading_belongs_to_none() -> None:
    assert headings("More about it.\n  indented\nIn  a\n    b\nplain\n    c") == {"In": "a\nb\nc"}


def test_a_file_that_is_no_python_is_refused_with_its_name(tmp_path: Path) -> None:
    path = written(tmp_path, "def (:\n")
    with pytest.raises(ConfigError, match=r"counted\.py: a Python file"):
        lookup.find(str(path))


def test_a_typo_in_a_jobs_name_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"command line: JOB = stream_tabel_join: .*nearest: stream_table_join"):
        lookup.find("stream_tabel_join")


def test_a_name_like_no_other_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"known: .*stream_table_join"):
        lookup.find("q")


def test_the_model_of_a_file_has_its_own_settings(tmp_path: Path) -> None:
    model = lookup.model(lookup.find(str(written(tmp_path, JOB, "counted_once.py"))))
    assert model.model_fields["at_least"].default == 1


def test_a_config_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "class Config: ...\ndef start(): ...\n", "odd_config.py")
    with pytest.raises(ConfigError, match="JobConfig"):
        lookup.model(lookup.find(str(path)))


def test_a_config_is_found_in_the_working_folder_and_options_go_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new("looked_up", tmp_path)
    monkeypatch.chdir(tmp_path)
    loaded = lookup.load(lookup.find("looked_up.py"), Asked(sets=["large_from=7"]))
    assert (loaded.config.job, loaded.origins["large_from"]) == ("looked_up", "--set large_from")


def test_a_job_that_runs_to_its_end_is_none_over_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "x")
    with pytest.raises(ConfigError, match="JOB = event_replay: a job over a stream"):
        lookup.stream(lookup.find("event_replay"), Asked())
    assert lookup.stream(lookup.find("stream_table_join"), Asked()).checkpoint
