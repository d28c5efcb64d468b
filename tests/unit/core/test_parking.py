from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

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
    return ("t", 0, offset, NOON, "WAITING", None, b"k", b"\xff", [("h", b"\x00")])


def waiting(parking: Parking) -> list[int]:
    found = parking.waiting()
    return sorted(row["_offset"] for row in found.collect()) if found else []


@pytest.fixture
def parking(spark: SparkSession, tmp_path: Path) -> Parking:
    return Parking(spark, str(tmp_path), timedelta(hours=1))


def test_what_is_parked_waits_until_it_is_settled(parking: Parking, rows: Rows) -> None:
    assert waiting(parking) == []
    parking.park(rows(REJECTED, missed(1), missed(2)), MARK, NOON, False)
    assert waiting(parking) == [1, 2]
    parking.settle(rows(HELD, ("t", 0, 1)), MARK, NOON)
    assert waiting(parking) == [2]


def test_a_record_is_parked_byte_for_byte(parking: Parking, rows: Rows) -> None:
    parking.park(rows(REJECTED, missed(1)), MARK, NOON, False)
    found = parking.waiting()
    assert found is not None
    row = found.select("key", "value", "headers").collect()[0].asDict(recursive=True)
    assert row == {"key": b"k", "value": b"\xff", "headers": [{"key": "h", "value": b"\x00"}]}


def test_a_batch_in_doubt_parks_nothing_twice(parking: Parking, rows: Rows) -> None:
    parking.park(rows(REJECTED, missed(1)), MARK, NOON, False)
    parking.park(rows(REJECTED, missed(1), missed(2)), MARK, NOON, True)
    assert waiting(parking) == [1, 2]


def test_what_the_sink_holds_after_all_is_settled(parking: Parking, rows: Rows) -> None:
    parking.park(rows(REJECTED, missed(1), missed(2)), MARK, NOON, False)
    parking.settle_held(rows(HELD, ("t", 0, 2), ("t", 0, 5)), MARK, NOON)
    assert waiting(parking) == [1]


def test_only_what_waited_long_enough_expires(parking: Parking, rows: Rows) -> None:
    outcome = rows(
        "id INT, _reason STRING, _detail STRING, parked_at TIMESTAMP",
        (1, "WAITING", None, NOON),
        (2, "WAITING", None, NOON + timedelta(minutes=1)),
        (3, None, None, NOON),
    )
    found = parking.expire(outcome, NOON + timedelta(hours=1)).drop("parked_at").collect()
    assert [tuple(row) for row in found] == [(1, "NO_REFERENCE", "wait_for has passed")]


def test_older_than_the_oldest_that_waits_is_not_read_again(parking: Parking, rows: Rows) -> None:
    parking.park(rows(REJECTED, missed(1)), MARK, NOON, False)
    parking.park(rows(REJECTED, missed(2)), MARK, NOON + timedelta(minutes=5), False)
    parking.settle(rows(HELD, ("t", 0, 1)), MARK, NOON + timedelta(minutes=6))
    found = parking.waiting()
    assert found is not None
    parking.remember_oldest(found)
    assert waiting(parking) == [2]
