from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.parking import Parking
from jobs.core.sinks import Mark

Rows = Callable[..., DataFrame]
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
MARK = Mark("join", "q1", 0, '[{"t": {"0": 0}}]', '[{"t": {"0": 9}}]')
REJECTED = (
    "_topic STRING, _partition INT, _offset BIGINT, _timestamp TIMESTAMP, _reason STRING, _detail STRING, "
    "_key BINARY, _value BINARY, _headers ARRAY<STRUCT<key: STRING, value: BINARY>>"
)
HELD = "_topic STRING, _partition INT, _offset BIGINT"


def missed(offset: int) -> tuple[Any, ...]:
    return ("t", 0, offset, NOON, "WAITING", "why", b"k", b"\xff", [("h", b"\x00")])


def waiting(parking: Parking) -> list[int]:
    found = parking.waiting()
    return sorted(row["_offset"] for row in found.collect()) if found else []


@pytest.fixture
def parking(spark: SparkSession, tmp_path: Path) -> Parking:
    return Parking(spark, str(tmp_path), timedelta(hours=1))


def settle(parking: Parking, offset: int, now: datetime = NOON) -> None:
    found = parking.waiting()
    assert found is not None
    parking.settle(found.filter(F.col("_offset") == offset), MARK, now, 7)


def test_what_is_parked_waits_until_it_is_settled(parking: Parking, rows: Rows) -> None:
    assert waiting(parking) == []
    parking.park(rows(REJECTED, missed(1), missed(2)), MARK, NOON)
    assert waiting(parking) == [1, 2]
    settle(parking, 1)
    assert waiting(parking) == [2]


def test_what_is_settled_by_a_record_that_was_not_written_waits_again(parking: Parking, rows: Rows) -> None:
    parking.park(rows(REJECTED, missed(1), missed(2)), MARK, NOON)
    settle(parking, 1)
    parking.reopen(7, MARK)
    assert waiting(parking) == [2]
    parking.reopen(6, MARK)
    assert waiting(parking) == [1, 2]


def test_a_record_is_parked_byte_for_byte(parking: Parking, rows: Rows) -> None:
    parking.park(rows(REJECTED, missed(1)), MARK, NOON)
    found = parking.waiting()
    assert found is not None
    row = found.select("key", "value", "headers", "detail").collect()[0].asDict(recursive=True)
    assert row == {"key": b"k", "value": b"\xff", "headers": [{"key": "h", "value": b"\x00"}], "detail": "why"}


def test_of_a_batch_in_doubt_waits_what_its_last_attempt_has_parked(parking: Parking, rows: Rows) -> None:
    batch = rows(HELD, ("t", 0, 1), ("t", 0, 2), ("t", 0, 3))
    parking.park(rows(REJECTED, missed(0), missed(1), missed(2)), MARK, NOON, batch)
    assert waiting(parking) == [0, 1, 2]
    parking.park(rows(REJECTED, missed(1), missed(3)), MARK, NOON, batch)
    assert waiting(parking) == [0, 1, 3], "0 is of another batch, 2 is written by now"
    parking.park(rows(REJECTED), MARK, NOON, batch)
    assert waiting(parking) == [0]


def test_only_what_waited_long_enough_expires(parking: Parking, rows: Rows) -> None:
    outcome = rows(
        "id INT, _reason STRING, _detail STRING, parked_at TIMESTAMP",
        (1, "WAITING", None, NOON),
        (2, "WAITING", None, NOON + timedelta(minutes=1)),
        (3, None, None, NOON),
        (4, "WAITING", "rate: no row", NOON),
        (5, "SINK_REJECTED", "too long", NOON + timedelta(minutes=1)),
        (6, "NO_REFERENCE", "no row", NOON + timedelta(minutes=1)),
        (7, "NO_ANSWER", "rate: away", NOON),
    )
    found = parking.judge(outcome, NOON + timedelta(hours=1)).drop("parked_at").collect()
    assert [tuple(row) for row in found] == [
        (1, "NO_REFERENCE", "wait_for has passed"),
        (2, "WAITING", None),
        (3, None, None),
        (4, "NO_REFERENCE", "wait_for has passed: rate: no row"),
        (5, "SINK_REJECTED", "too long"),
        (6, "NO_REFERENCE", "no row"),
        (7, "NO_ANSWER", "rate: away"),
    ]


def test_what_expires_may_have_a_reason_of_its_own(parking: Parking, rows: Rows) -> None:
    outcome = rows(
        "id INT, _reason STRING, _detail STRING, _instead STRING, parked_at TIMESTAMP",
        (1, "WAITING", "d", "NO_ANSWER", NOON),
        (2, "WAITING", "d", None, NOON),
    )
    found = parking.judge(outcome, NOON + timedelta(hours=1)).select("id", "_reason").collect()
    assert [tuple(row) for row in found] == [(1, "NO_ANSWER"), (2, "NO_REFERENCE")]


def test_older_than_the_oldest_that_waits_is_not_read_again(parking: Parking, rows: Rows) -> None:
    parking.park(rows(REJECTED, missed(1)), MARK, NOON)
    parking.park(rows(REJECTED, missed(2)), MARK, NOON + timedelta(minutes=5))
    settle(parking, 1, NOON + timedelta(minutes=6))
    found = parking.waiting()
    assert found is not None
    parking.remember_oldest(found)
    assert waiting(parking) == [2]
