from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs import cli
from jobs.commands import events as commands
from jobs.core.events.envelope import EVENT

AT = datetime(2026, 1, 5, 10, tzinfo=timezone.utc)
Run = Callable[..., tuple[int, str]]
CONFIG = """
job: users
log: {path: LOG}
fold:
  state: name STRING, plan STRING
  events: {user_created: set, user_updated: merge, user_deleted: delete}
into: {path: INTO}
work: {path: WORK}
"""
EVENTS = [
    ("u1", "user_created", {"name": "Ann", "plan": "free"}),
    ("u1", "user_updated", {"plan": "pro"}),
    ("u2", "user_created", {"name": "Bo"}),
    ("u1", "user_seen", {}),
    ("u1", "user_deleted", {}),
    ("u1", "user_created", {"name": "Anna"}),
]


@pytest.fixture
def run(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    versions: dict[str, int] = {}
    rows = []
    for number, (stream, kind, data) in enumerate(EVENTS):
        version = versions[stream] = versions.get(stream, 0) + 1
        at = AT + timedelta(minutes=number)
        rows.append((stream, version, f"e{number}", kind, 1, json.dumps(data), None, at, at, "t", 0, number))
    spark.createDataFrame(rows, EVENT).write.format("delta").save(f"{tmp_path}/log")
    text = CONFIG
    for name in ("log", "into", "work"):
        text = text.replace(name.upper(), f"{tmp_path}/{name}")
    (tmp_path / "users.yaml").write_text(text)

    @contextmanager
    def running(*_: object) -> Iterator[SparkSession]:
        yield spark

    monkeypatch.setattr(commands, "spark_for", running)
    monkeypatch.setenv("COLUMNS", "120")

    def ran(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(["events", *words, "--config", str(tmp_path / "users.yaml")])
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    return ran


def test_a_stream_is_shown_with_what_each_event_changed(run: Run) -> None:
    assert run("history", "u1") == (
        0,
        """\
u1  version 5 at 2026-01-05 10:05:00
●  1  2026-01-05 10:00:00  user_created
│     name: Ann
│     plan: free
●  2  2026-01-05 10:01:00  user_updated
│     plan: free → pro
●  3  2026-01-05 10:03:00  user_seen
│     nothing changed
●  4  2026-01-05 10:04:00  user_deleted
│     no state
●  5  2026-01-05 10:05:00  user_created
      name: Anna
""",
    )


def test_a_long_history_begins_where_it_is_asked_to(run: Run) -> None:
    code, said = run("history", "u1", "--limit", "4")
    assert code == 0
    assert said.splitlines()[1:4] == [
        "┆  before version 2",
        "●  2  2026-01-05 10:01:00  user_updated",
        "│     plan: free → pro",
    ]


def test_names_are_no_markup(run: Run, spark: SparkSession, tmp_path: Path) -> None:
    at = AT + timedelta(days=1)
    odd = ("acct[/eur]", 1, "o1", "kind[red]", 1, "{}", None, at, at, "t", 0, 99)
    spark.createDataFrame([odd], EVENT).write.format("delta").mode("append").save(f"{tmp_path}/log")
    code, said = run("tail", "--limit", "1")
    assert code == 0 and "acct[/eur]" in said and "kind[red]" in said


def test_events_are_listed_by_stream_or_by_time(run: Run) -> None:
    code, said = run("show", "--limit", "2", "--type", "user_created")
    assert (code, [line.rstrip() for line in said.splitlines()]) == (
        0,
        [
            "recorded             stream  version  type          data",
            '2026-01-05 10:00:00  u1            1  user_created  {"name": "Ann", "plan": "free"}',
            '2026-01-05 10:05:00  u1            5  user_created  {"name": "Anna"}',
        ],
    )
    code, said = run("tail", "--limit", "2", "--json")
    found = [json.loads(line) for line in said.splitlines()]
    assert (code, [event["event_type"] for event in found]) == (0, ["user_deleted", "user_created"])
    assert found[1] == {
        "stream_id": "u1",
        "stream_version": 5,
        "event_id": "e5",
        "event_type": "user_created",
        "schema_version": 1,
        "data": {"name": "Anna"},
        "metadata": None,
        "occurred_at": "2026-01-05T10:05:00.000000Z",
        "recorded_at": "2026-01-05T10:05:00.000000Z",
        "_topic": "t",
        "_partition": 0,
        "_offset": 5,
    }
    assert run("tail", "--stream", "u2", "--limit", "5")[1].count("u2") == 1


def test_states_at_two_points_are_compared(run: Run) -> None:
    code, said = run("diff", "--at", "2026-01-05T10:00:30Z", "--at", "2026-01-05T10:02:30Z")
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if line.startswith("│")]
    assert (code, said.splitlines()[0]) == (1, "streams only at 2026-01-05T10:02:30Z: 1")
    assert cells == [
        ["u1", "changed", "stream_version", "1", "2"],
        ["", "", "plan", '"free"', '"pro"'],
        ["u2", "only at 2026-01-05T10:02:30Z", "stream_version", "null", "1"],
        ["", "", "name", "null", '"Bo"'],
    ]
    assert run("diff", "--at", "0", "--at", "0", "--stream", "u1") == (0, "0 and 0 are equal\n")


@pytest.mark.parametrize(
    ("points", "allowed"),
    [
        (["0"], "--at = 0: twice; a version of the log's table"),
        (
            ["0", "7"],
            "--at = 7: a version of the log's table, or a time of recording, RFC 3339 with a zone; the log is at version 0",
        ),
        (["0", "noon"], "--at = noon: RFC 3339, with a zone"),
    ],
)
def test_a_point_is_a_version_or_a_time(run: Run, points: list[str], allowed: str) -> None:
    code, said = run("diff", *(word for point in points for word in ("--at", point)))
    assert code == 2
    assert allowed in said


def test_what_is_not_there_is_named(run: Run) -> None:
    code, said = run("history", "u9")
    assert (code, said) == (2, "ConfigError: command line: STREAM = u9: a stream of which the log has events\n")
    code, said = run("show", "--job", "stream_table_join")
    assert code == 2


def test_only_a_job_that_seals_can_forget(run: Run) -> None:
    code, said = run("forget", "u1")
    assert code == 2
    assert "job" in said
