from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jobs.commands import validate
from jobs.commands.lookup import Asked
from jobs.commands.new import new
from jobs.core import layers
from jobs.core.errors import ConfigError


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new job in the working folder."""
    new("checked", tmp_path)
    monkeypatch.chdir(tmp_path)
    return "checked.py"


def paths(verdict: validate.Verdict) -> list[str]:
    return [problem.path for problem in verdict.problems]


def test_a_jobs_own_config_is_fine(job: str, tmp_path: Path) -> None:
    verdict = validate.one(job, Asked())
    assert (verdict.file, verdict.problems) == (Path("conf/checked.yaml"), ())
    assert verdict.config
    assert verdict.config.job == "checked"


def test_every_problem_is_found(job: str) -> None:
    verdict = validate.one(job, Asked(sets=["large_fromm=1", "trigger.every=10 parsecs"]))
    assert {"large_fromm", "trigger.every"} <= set(paths(verdict))
    assert verdict.config is None


def test_a_file_alone_is_checked_by_the_job_of_its_name(job: str, tmp_path: Path) -> None:
    assert validate.one(None, Asked(config=tmp_path / "conf/checked.yaml")).problems == ()


def test_a_file_of_no_jobs_name_is_for_the_job_that_comes_nearest(tmp_path: Path) -> None:
    file = tmp_path / "conf/orders_of_mine.yaml"
    file.parent.mkdir()
    file.write_text("join: {on: {a: a}}\n")
    assert "join" not in paths(validate.one(None, Asked(config=file)))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    verdict = validate.one(None, Asked(config=tmp_path / "conf/none.yaml"))
    assert str(verdict.file) in str(verdict.problems[0])


def test_nothing_asked_is_refused() -> None:
    with pytest.raises(ConfigError, match="a JOB, --config FILE or --all"):
        validate.one(None, Asked())


def test_all_tells_of_each_file_and_of_what_they_share(
    job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "conf"
    shutil.copy(tmp_path / "checked.py", tmp_path / "twin.py")
    (conf / "twin.yaml").write_text((conf / "checked.yaml").read_text().replace("job: checked", "job: twin"))
    monkeypatch.setattr(layers, "conf_dir", lambda: conf)
    checked, twin, shared = validate.every(Asked())
    assert (checked.file, checked.problems, twin.file, twin.problems) == (
        conf / "checked.yaml",
        (),
        conf / "twin.yaml",
        (),
    )
    assert shared.file == conf
    assert "checkpoint" in " ".join(paths(shared))
