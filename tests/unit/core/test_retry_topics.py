"""Where a dead letter is sent that may be retried, and when the retry topics are looked at."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from _configs import config
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.core import kafka, letters, redrive
from jobs.core.config import Retries
from jobs.core.dead_letters import DEAD_LETTER
from jobs.core.errors import DependencyMissing
from jobs.core.retry_topics import NAME, DueLetters, RetriedLetters, begun
from jobs.core.sinks import Mark

Rows = Callable[..., DataFrame]
TOPICS = [{"topic": "soon", "after": "10s"}, {"topic": "later", "after": "1m"}]
RETRY = Retries.model_validate({"reasons": ["NO_REFERENCE", "SINK_REJECTED"], "topics": TOPICS})
MARK = Mark("join", "q", 1, "[null]", "[null]")
IDENTITY = "_topic STRING, _partition INT, _offset BIGINT, attempt INT"
START = datetime(2026, 1, 2, tzinfo=timezone.utc)


class Place:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.got: list[DataFrame] = []

    def append(self, rows: DataFrame, mark: Mark) -> None:
        self.got.append(rows)


def letter(offset: int, reason: str, attempt: int, size: int = 1) -> tuple[Any, ...]:
    now = datetime(2026, 1, 2)
    return ("orders", 0, offset, now, b"k", b"x" * size, None, reason, "d", "join", attempt, now)


def sent(rows: Rows, limits: list[int], *given: tuple[Any, ...]) -> list[list[DataFrame]]:
    places: list[Any] = [Place(), Place(), Place()]
    RetriedLetters(RETRY, places[:2], places[2], limits).append(rows(DEAD_LETTER, *given), MARK)
    return [place.got for place in places]


def test_each_attempt_has_its_topic_and_the_rest_stays(rows: Rows) -> None:
    first, other = letter(1, "NO_REFERENCE", 1), letter(2, "SINK_REJECTED", 1)
    second, last, bad = letter(3, "NO_REFERENCE", 2), letter(4, "NO_REFERENCE", 3), letter(5, "MALFORMED", 1)
    found = sent(rows, [], first, other, second, last, bad)
    for (got,), expected in zip(found, [(first, other), (second,), (last, bad)]):
        assert_df_equality(got, rows(DEAD_LETTER, *expected), ignore_row_order=True)


def test_a_place_that_gets_nothing_is_not_written(rows: Rows) -> None:
    assert [len(got) for got in sent(rows, [], letter(1, "NO_REFERENCE", 2))] == [0, 1, 0]
    assert [len(got) for got in sent(rows, [])] == [0, 0, 0]


def test_what_a_retry_topic_would_have_to_cut_stays_whole(rows: Rows) -> None:
    small, large = letter(1, "NO_REFERENCE", 1, 10), letter(2, "NO_REFERENCE", 1, 2000)
    second = letter(3, "NO_REFERENCE", 2, 2000)
    soon, later, rest = sent(rows, [2000, 4000], small, large, second)
    for got, expected in ((soon, small), (later, second), (rest, large)):
        assert_df_equality(got[0], rows(DEAD_LETTER, expected))


@pytest.mark.parametrize(
    ("noted", "expected", "told"),
    [({}, 3, ""), ({"0": 5}, 5, ""), ({"0": 9}, 9, ""), ({"0": 2}, 3, "offset 2 is gone"), ({"0": 10}, 3, "offset 10")],
    ids=["never sent", "sent in part", "all sent", "past its retention", "made anew"],
)
def test_reading_goes_on_where_the_sending_stood(
    caplog: pytest.LogCaptureFixture, noted: dict[str, int], expected: int, told: str
) -> None:
    with caplog.at_level(logging.WARNING):
        assert begun("soon", noted, {0: (3, 9)}) == {"0": expected}
    assert (told in caplog.text) if told else not caplog.text


class Looks:
    """The retry topics of one job, and a clock that a test moves."""

    def __init__(self, spark: SparkSession, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.asked, self.away = START, list[dict[str, int]](), list[str]()
        self.failure: Exception | None = None
        self.ends: dict[str, dict[str, int]] = {}
        monkeypatch.setattr(kafka, "at_times", self._at_times)
        retry = f"dead_letters.retry={{topics: [{', '.join(f'{{topic: {t}, after: {a}}}' for t, a in _topics())}]}}"
        redrive = "dead_letters.redrive={topic: again, parking_topic: parked}"
        self.due = DueLetters(
            spark, config(path, retry, redrive), str(path / "checkpoint"), lambda: self.now, self.away.append
        )

    def _at_times(self, spark: Any, broker: Any, at_ms: dict[str, int]) -> dict[str, Any]:
        self.asked.append(at_ms)
        if self.failure:
            raise self.failure
        return self.ends

    def tick(self, seconds: float) -> int:
        """How often it has looked, so many seconds after the start."""
        self.now = START + timedelta(seconds=seconds)
        self.due.tick()
        return len(self.asked)


def _topics() -> list[tuple[str, str]]:
    return [(one["topic"], one["after"]) for one in TOPICS]


@pytest.fixture
def looks(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(spark, tmp_path, monkeypatch)


def test_topics_are_looked_at_four_times_within_the_shortest_wait(looks: Looks) -> None:
    assert [looks.tick(at) for at in (0, 1, 2.4, 2.5, 3, 5.1)] == [1, 1, 1, 2, 2, 3]
    started = int(START.timestamp() * 1000)
    assert looks.asked[0] == {"soon": started - 10_000, "later": started - 60_000}


def test_while_the_broker_is_away_letters_wait(looks: Looks) -> None:
    looks.failure = DependencyMissing("Kafka", "localhost:1", "unreachable")
    assert [looks.tick(at) for at in (0, 1, 2.5)] == [1, 1, 2]
    assert looks.away == [NAME, NAME]


def test_a_sending_that_failed_half_way_looks_at_what_is_there_already(
    looks: Looks, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two letters that are due, one was sent when the connection broke."""
    first, second = letter(1, "NO_REFERENCE", 1), letter(2, "NO_REFERENCE", 1)
    got, there = list[list[int]](), list[tuple[Any, ...]]()

    def send(found: DataFrame, *_: Any) -> None:
        got.append(sorted(row["_offset"] for row in found.collect()))
        if len(got) == 2:
            there.append(("orders", 0, 1, 1))
            raise ConnectionResetError

    looks.ends = {"soon": {"0": 0}}
    monkeypatch.setattr(kafka, "spans", lambda *_: {"soon": {0: (0, 9)}})
    monkeypatch.setattr(letters, "retried_between", lambda *_: rows(DEAD_LETTER, first, second))
    monkeypatch.setattr(redrive, "sent", lambda *_: rows(IDENTITY, *there))
    monkeypatch.setattr(redrive, "send", send)
    for seconds, end in ((0, 1), (10, 9), (20, 9)):
        looks.ends = {"soon": {"0": end}}
        looks.tick(seconds)
    assert (got, looks.away) == ([[1, 2], [1, 2], [2]], [NAME])


def test_what_was_redriven_before_its_time_is_not_sent_again(
    looks: Looks, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    got, due, there = list[list[int]](), list[Any](), list[tuple[Any, ...]]()
    monkeypatch.setattr(kafka, "spans", lambda *_: {"soon": {0: (0, 9)}})
    monkeypatch.setattr(letters, "retried_between", lambda *_: rows(DEAD_LETTER, *due))
    monkeypatch.setattr(redrive, "sent", lambda *_: rows(IDENTITY, *there))
    monkeypatch.setattr(redrive, "send", lambda found, *_: got.append([row["_offset"] for row in found.collect()]))
    for seconds, end in ((0, 1), (10, 3)):
        looks.ends = {"soon": {"0": end}}
        looks.tick(seconds)
        due[:] = [letter(1, "NO_REFERENCE", 1), letter(2, "NO_REFERENCE", 1)]
        there[:] = [("orders", 0, 1, 1)]
    assert got == [[2]], "and where nothing is due, nothing is asked for"


def test_a_clock_that_goes_back_sends_nothing_again(looks: Looks, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def between(spark: Any, made: Any, start: dict[str, Any], end: dict[str, Any]) -> DataFrame:
        asked.append((start["soon"]["0"], end["soon"]["0"]))
        return rows(DEAD_LETTER)

    monkeypatch.setattr(kafka, "spans", lambda *_: {"soon": {0: (0, 20)}})
    monkeypatch.setattr(letters, "retried_between", between)
    monkeypatch.setattr(redrive, "sent", lambda *_: rows(IDENTITY))
    monkeypatch.setattr(redrive, "send", lambda *_: None)
    for seconds, end in ((0, 9), (10, 4), (20, 12)):
        looks.ends = {"soon": {"0": end}}
        looks.tick(seconds)
    assert asked == [(0, 9), (9, 9), (9, 12)]


@pytest.mark.parametrize(
    "failure", [DependencyMissing(kafka.TOPIC, "soon on localhost:1", "gone"), KeyError("a defect")]
)
def test_what_does_not_pass_ends_the_job(looks: Looks, failure: Exception) -> None:
    looks.failure = failure
    with pytest.raises(type(failure)):
        looks.tick(0)
    assert looks.away == []


def test_a_job_without_retry_topics_asks_nobody(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "at_times", lambda *_: pytest.fail("asked"))
    DueLetters(spark, config(tmp_path), str(tmp_path / "checkpoint"), lambda: START, lambda _: None).tick()
