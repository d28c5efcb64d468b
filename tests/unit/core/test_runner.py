from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.core import runner
from jobs.core.errors import DependencyMissing
from jobs.core.values import Duration
from jobs.stream_table_join import Config, start

CONF = Path(__file__).resolve().parents[3] / "conf"


@pytest.fixture(autouse=True)
def _as_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["jobs/stream_table_join.py"])
    monkeypatch.setenv("POSTGRES_PASSWORD", "canary")
    monkeypatch.setattr(runner, "session", lambda *_: pytest.fail("Spark was started"))


def test_show_config_masks_secrets_and_names_layers(capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.run(Config, start, ["--env", "local", "--set", "source.kafka.topic=mine", "--show-config"]) == 0
    shown = capsys.readouterr().out
    assert "source.kafka.topic = mine" in shown and "--set" in shown and "local.yaml" in shown
    assert "canary" not in shown


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--set", "source.kafka.topik=x"], "topic"),
        (["--set", "trigger"], "trigger"),
        (["--env", "moon"], "moon"),
        (["--config", "nothing.yaml"], "nothing.yaml"),
    ],
)
def test_a_bad_config_ends_with_2_before_spark(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.run(Config, start, argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("ConfigError: ") and said in error and "Traceback" not in error


def test_an_unknown_argument_ends_with_2() -> None:
    with pytest.raises(SystemExit) as ended:
        runner.arguments(["--nonsense"])
    assert ended.value.code == 2


@pytest.mark.parametrize(("failure", "code"), [(DependencyMissing("Kafka", "b:1", "gone"), 3), (ValueError("odd"), 1)])
def test_what_fails_decides_the_exit_code(
    failure: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: Any) -> None:
        raise failure

    monkeypatch.setattr(runner, "session", failing)
    assert runner.run(Config, start, []) == code
    assert str(failure) in capsys.readouterr().err


def test_what_to_recover_reaches_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str | None] = []
    monkeypatch.setattr(runner, "session", lambda *_: None)
    monkeypatch.setattr(runner, "_stream", lambda spark, start, config: given.append(config.recover) or 0)
    for argv in ([], ["--recover", "from-ledger"], ["--recover", "reprocess"]):
        assert runner.run(Config, start, argv) == 0
    assert given == [None, "from-ledger", "reprocess"]


@pytest.mark.parametrize("argv", [["--recover"], ["--recover", "somehow"]])
def test_a_recovery_of_another_kind_ends_with_2(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        runner.arguments(argv)
    assert ended.value.code == 2


@pytest.mark.parametrize(("failure", "code"), [(DependencyMissing("Kafka", "b:1", "gone"), 3), (ValueError("odd"), 1)])
def test_in_json_a_failure_is_a_line_of_the_log(
    failure: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: Any) -> None:
        raise failure

    monkeypatch.setattr(runner, "session", failing)
    monkeypatch.setattr(logging.root, "handlers", [])
    assert runner.run(Config, start, ["--set", "monitoring.log_format=json"]) == code
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert told["msg"] == f"{type(failure).__name__}: {failure}"
    assert told["context"] == {"job": "stream_table_join", "exit_code": str(code)}
    assert ("exception" in told) is (code == 1)


class Job:
    """A running job that does not end."""

    stops = 0

    def request_stop(self) -> None:
        self.stops += 1


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(runner, "force", lambda number, why: said.append(f"{number}: {why}"))
    return said


def test_one_signal_to_each_process_asks_once_and_a_second_forces(forced: list[str]) -> None:
    job: Any = Job()
    end = runner.EndBetweenBatches(job, Duration("1h"))
    end.hear("here", 2)
    end.hear("in the JVM", 2)
    assert (job.stops, forced) == (1, [])
    end.hear("in the JVM", 2)
    assert (job.stops, forced) == (1, ["2: second signal"])
    end.done()


def test_past_the_limit_it_is_forced(forced: list[str]) -> None:
    job: Any = Job()
    end = runner.EndBetweenBatches(job, Duration("1ms"))
    end.hear("here", 15)
    assert end._late
    end._late.join(10)
    assert forced == ["15: not ended within 1ms"]


def test_a_job_that_ended_in_time_is_not_forced(forced: list[str]) -> None:
    job: Any = Job()
    end = runner.EndBetweenBatches(job, Duration("50ms"))
    end.hear("here", 15)
    end.done()
    assert end._late
    end._late.join(10)
    assert forced == []
