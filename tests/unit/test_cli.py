from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs import cli
from jobs.commands.new import new
from jobs.core import audit
from jobs.core.config import JobConfig
from jobs.core.errors import DependencyMissing
from jobs.core.ledger import Counts

ROOT = str(Path(cli.__file__).parents[1])


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new job in the working folder."""
    new("counted", tmp_path)
    monkeypatch.chdir(tmp_path)
    return "counted.py"


class Ran:
    """Exit code and output of one command."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *argv: str) -> None:
        with pytest.raises(SystemExit) as ended:
            cli.main(argv)
        self.code = ended.value.code or 0
        self.out, self.err = capsys.readouterr()


def test_list_says_what_each_job_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "list")
    assert ran.code == 0
    assert "stream_table_join  Join a stream with a reference table" in ran.out
    for heading in ("In", "Out", "Rejected", "Delivery", "Staleness", "Run"):
        assert f"\n  {heading} " in ran.out


def test_list_reads_a_folder_of_ones_own(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert Ran(capsys, "list", ".").out.startswith(
        "counted  Say for each order whether it is large.\n  Choose     as a start"
    )


def test_validate_says_ok(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "validate", job)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("OK ")
    assert ran.out.endswith("conf/counted.yaml\n")


def test_validate_tells_every_problem(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "validate", job, "--set", "large_fromm=1", "--set", "trigger.every=10 parsecs")
    assert (ran.code, ran.out) == (2, "")
    assert "large_from" in ran.err
    assert "10 parsecs" in ran.err


def test_validate_is_quick(job: str) -> None:
    """Against a yardstick that is as slow as the machine: six imports of PySpark are a second where one takes 0.17 s."""
    pairs = ((cpu_s("-m", "jobs.cli", "validate", job), cpu_s("-c", "import pyspark.sql")) for attempt in range(3))
    assert any(validate < 6 * yardstick for validate, yardstick in pairs)  # other processes may disturb one of them


def cpu_s(*argv: str) -> float:
    """CPU time of one Python process, from the interpreter's start to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *argv], check=True, env={**os.environ, "PYTHONPATH": ROOT})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_only_an_audit_starts_spark(
    job: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("jobs.core.session.session", lambda *given: pytest.fail("Spark was started"))
    for argv in (["list"], ["validate", job], ["show-config", job], ["schema", job], ["new", "another"]):
        assert Ran(capsys, *argv).code == 0


def test_show_config_tells_the_layer_of_each_value(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "show-config", job, "--set", "large_from=7")
    line = next(line for line in ran.out.splitlines() if line.startswith("large_from"))
    assert line.split("  # ")[0].strip() == "large_from = 7"
    assert line.endswith("--set large_from")


def test_schema_is_a_json_schema_of_the_jobs_own_config(
    job: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = Ran(capsys, "schema", job).out
    assert json.loads(printed)["properties"]["large_from"]["default"] == 100
    assert Ran(capsys, "schema", job, "-o", str(tmp_path / "out.json")).out == ""
    assert (tmp_path / "out.json").read_text() == printed


def test_a_file_that_cannot_be_written_is_named(job: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "schema", job, "-o", str(tmp_path / "none/out.json"))
    assert ran.code == 2
    assert "none/out.json" in ran.err
    assert "Traceback" not in ran.err


@pytest.fixture
def audited(job: str, monkeypatch: pytest.MonkeyPatch) -> list[JobConfig]:
    """An audit without Spark that finds one record written twice; the configs it was given."""
    given: list[JobConfig] = []

    @contextmanager
    def no_spark(config: JobConfig) -> Iterator[None]:
        yield None

    def found(spark: None, config: JobConfig) -> audit.Report:
        given.append(config)
        twice = 0 if config.job == "counted" else 1
        return audit.Report((audit.Check("twice", 0, twice),), Counts(), {}, (), 1, None)

    monkeypatch.setattr(cli, "spark_for", no_spark)
    monkeypatch.setattr(audit, "audit", found)
    return given


def test_an_audit_that_holds_exits_with_0(
    job: str, audited: list[JobConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    ran = Ran(capsys, "audit", job)
    assert ran.code == 0
    assert "Audit of counted" in ran.out
    assert ran.out.endswith("audit: holds\n")
    assert [config.job for config in audited] == ["counted"]


def test_an_audit_that_does_not_hold_exits_with_4(
    job: str, audited: list[JobConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    ran = Ran(capsys, "audit", job, "--json", "--set", "job=twice")
    assert ran.code == 4
    assert json.loads(ran.out)["checks"] == [{"name": "twice", "expected": 0, "found": 1, "holds": False}]


def test_a_failure_is_one_line_with_its_exit_code(
    job: str, audited: list[JobConfig], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(spark: None, config: JobConfig) -> audit.Report:
        raise DependencyMissing("Kafka", "localhost:9", "refused")

    monkeypatch.setattr(audit, "audit", gone)
    ran = Ran(capsys, "audit", job)
    assert (ran.code, ran.err) == (3, "DependencyMissing: Kafka localhost:9 unreachable: refused\n")


def test_the_session_of_an_audit_has_the_configs_settings_and_ends(job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        sparkContext = property(lambda self: self)
        stopped = False

        def setLogLevel(self, level: str) -> None: ...

        def stop(self) -> None:
            self.stopped = True

    made: list[object] = []
    session = Session()
    monkeypatch.setattr("jobs.core.session.session", lambda *given: made.extend(given) or session)
    config = cli.lookup.load(cli.lookup.find(job), cli.Asked(sets=["spark.spark.ui.enabled=false"])).config
    with cli.spark_for(config) as spark:
        assert spark is session
        assert not session.stopped
    assert session.stopped
    assert made == ["counted-audit", {"spark.ui.enabled": "false"}]


def test_new_writes_a_job_and_says_how_to_try_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "new", "counted", "--into", str(tmp_path))
    assert ran.code == 0
    assert f"wrote {tmp_path}/counted.py\n" in ran.out
    assert "pytest tests/test_counted.py" in ran.out


def test_new_refuses_the_name_of_a_standard_module(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "new", "queue", "--into", str(tmp_path))
    assert ran.code == 2
    assert ran.err.startswith("ConfigError: command line: NAME = queue: not the name of a standard-library")


@pytest.mark.parametrize(("argv", "nearest"), [(["valdate"], "validate"), (["show_config", "x"], "show-config")])
def test_a_typo_in_a_command_names_the_nearest(
    argv: list[str], nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = Ran(capsys, *argv)
    assert ran.code == 2
    assert f"Did you mean '{nearest}'" in ran.err
