from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from jobs.core import bounded
from jobs.core.bounded import Job
from jobs.core.errors import ConfigError, Problem, Refused
from jobs.core.run_config import RunConfig


class Config(RunConfig):
    colour: str = "red"


class Session:
    """In place of Spark."""

    stopped = 0

    @property
    def sparkContext(self) -> Any:
        return self

    def setLogLevel(self, level: str) -> None: ...

    def stop(self) -> None:
        self.stopped += 1


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    made = Session()
    monkeypatch.setattr(bounded, "session", lambda *_: made)
    return made


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--colour")
    parser.add_argument("--times", type=int, default=1)


def times(config: Config, given: argparse.Namespace) -> int:
    if given.times < 1:
        raise ConfigError(Problem("--times", str(given.times), "at least 1", "command line"))
    return int(given.times)


def run(folder: Path, start: Any, *argv: str) -> int:
    (folder / "paint.yaml").write_text("job: paint")
    job = Job(Config, options, times, start, lambda given: [f"colour={given.colour}"] if given.colour else [])
    return bounded.run(job, ["--config", str(folder / "paint.yaml"), *argv])


def test_a_job_gets_its_config_and_what_is_asked_and_ends_with_its_own_code(folder: Path, session: Session) -> None:
    seen: list[Any] = []
    start = lambda spark, config, asked: seen.append((config.job, config.colour, asked)) or 7  # noqa: E731
    assert run(folder, start, "--times", "3", "--colour", "blue") == 7
    assert run(folder, start, "--set", "colour=green") == 7
    assert seen == [("paint", "blue", 3), ("paint", "green", 1)]
    assert session.stopped == 2


def test_what_makes_no_sense_ends_with_2_before_spark(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bounded, "session", lambda *_: pytest.fail("Spark was started"))
    assert run(folder, None, "--times", "0") == 2
    assert capsys.readouterr().err == "ConfigError: command line: --times = 0: at least 1\n"
    assert run(folder, None, "--set", "source.rate={}") == 2
    with pytest.raises(SystemExit) as ended:
        run(folder, None, "--recover", "reprocess")
    assert ended.value.code == 2


def test_its_config_is_shown_without_spark(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, None, "--colour", "blue", "--show-config") == 0
    assert "colour = blue" in capsys.readouterr().out


def test_a_failure_is_told_and_the_session_ends(
    folder: Path, session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(*_: Any) -> int:
        raise Refused("not so")

    assert run(folder, start) == 4
    assert "Refused: not so" in capsys.readouterr().err
    assert session.stopped == 1
