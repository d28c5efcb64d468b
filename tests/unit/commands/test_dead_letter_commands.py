"""The commands on dead letters in a Delta table, without a broker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs import cli
from jobs.commands import dead_letters as commands
from jobs.commands.new import new
from jobs.core.dead_letters import DEAD_LETTER

Run = Callable[..., tuple[int, str]]


def letter(offset: int, reason: str, hour: int) -> tuple[object, ...]:
    when = datetime(2026, 1, 2, hour, tzinfo=timezone.utc)
    return ("f", 0, offset, when, None, b"secret-payload", [("h", b"1")], reason, "x", "counted", 1, when)


@pytest.fixture
def run(
    spark: SparkSession,
    rows: Callable[..., DataFrame],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    @contextmanager
    def running(*_: object) -> Iterator[SparkSession]:
        yield spark

    def ran(name: str, *rest: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(["dead-letters", name, "counted.py", *rest, "--set", place])
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    new("counted", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "spark_for", running)
    place = f"dead_letters={{kafka: null, delta: {{path: {tmp_path}/dead}}}}"
    given = rows(DEAD_LETTER, letter(0, "FUTURE", 3), letter(0, "FUTURE", 4), letter(20, "MALFORMED", 6))
    given.write.format("delta").save(f"{tmp_path}/dead")
    return ran


def test_letters_are_listed_counted_and_shown(run: Run) -> None:
    code, said = run("list", "--reason", "FUTURE", "--reason", "MALFORMED", "--since", "2026-01-02T05:00:00Z")
    assert (code, said) == (0, "2026-01-02T06:00:00.000Z  f 0 20  MALFORMED  attempt 1  14 bytes  x\n")
    code, said = run("list", "--limit", "1", "--json")
    assert (code, json.loads(said)["offset"], "secret" in said) == (0, 0, False)
    code, said = run("stats", "--json")
    assert (code, json.loads(said)["reason"]) == (0, {"FUTURE": 1, "MALFORMED": 1})
    code, said = run("show", "f", "0", "20")
    assert code == 0 and said.endswith("header      h: 1\nvalue       secret-payload\n")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("list", "--reason", "LATER"), "--reason = LATER: one of TOMBSTONE, "),
        (("list", "--since", "yesterday"), "--since = yesterday: a time with a zone"),
        (("stats", "--limit", "0"), "Invalid value for '--limit'"),
        (("show", "f", "0", "7"), "TOPIC PARTITION OFFSET = f 0 7: a record that has a dead letter of counted"),
        (("redrive",), "dead_letters.redrive: required for a redrive: topic and parking_topic"),
        (("redrive", "--rate", "0"), "Invalid value for '--rate'"),
    ],
)
def test_what_cannot_be_asked_is_refused(run: Run, argv: tuple[str, ...], said: str) -> None:
    code, told = run(*argv)
    assert code == 2 and said in " ".join(told.split())
