"""What began and is not over, by two logs that only grow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.core.pending import Names, Pending
from jobs.core.sinks import Mark

Rows = Callable[..., DataFrame]
MARK = Mark("join", "q1", 0, '[{"t": {"0": 0}}]', '[{"t": {"0": 99}}]')
ROW = "_topic STRING, _offset BIGINT, more STRING"
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
LATER = NOON + timedelta(hours=1)


@pytest.fixture
def pending(spark: SparkSession, tmp_path: Path) -> Pending:
    return Pending(spark, str(tmp_path), Names("begun", "ended"), ["_topic", "_offset"])


def test_what_began_is_pending_until_it_is_over(pending: Pending, rows: Rows) -> None:
    assert pending.rows() is None
    pending.begin(rows(ROW, ("t", 1, "a"), ("t", 2, "b")), MARK, NOON, False)
    pending.begin(rows(ROW, ("t", 3, "c")), MARK, LATER, False)
    pending.end(rows(ROW, ("t", 1, "whatever"), ("u", 2, "another")), MARK, LATER)
    pending.end(rows(ROW, ("t", 1, "again")), MARK, LATER)
    found = pending.rows()
    assert found is not None
    expected = rows(ROW + ", begun_at TIMESTAMP", ("t", 2, "b", NOON), ("t", 3, "c", LATER))
    assert_df_equality(found.select(*expected.columns), expected, ignore_row_order=True, ignore_nullable=True)


def test_only_what_an_earlier_attempt_has_not_added_is_added_again(pending: Pending, rows: Rows) -> None:
    pending.begin(rows(ROW, ("t", 1, "a")), MARK, NOON, True)
    pending.begin(rows(ROW, ("t", 1, "a"), ("t", 2, "b")), MARK, LATER, True)
    found = pending.rows()
    assert found is not None
    assert sorted((row["_offset"], row["more"]) for row in found.collect()) == [(1, "a"), (2, "b")]


def test_what_is_older_than_the_oldest_is_not_read_and_nothing_else_is_lost(pending: Pending, rows: Rows) -> None:
    pending.begin(rows(ROW, ("t", 1, "a")), MARK, NOON - timedelta(hours=1), False)
    pending.begin(rows(ROW, ("t", 2, "b"), ("t", 3, "c")), MARK, NOON, False)
    pending.begin(rows(ROW, ("t", 4, "d")), MARK, LATER, False)
    pending.end(rows(ROW, ("t", 1, "a"), ("t", 3, "c")), MARK, NOON)
    for _ in range(2):
        found = pending.rows()
        assert found is not None
        assert sorted(row["_offset"] for row in found.collect()) == [2, 4]
        pending.remember_oldest(found)
    pending.begin(rows(ROW, ("t", 5, "e")), MARK, NOON - timedelta(minutes=1), False)
    found = pending.rows()
    assert found is not None
    assert sorted(row["_offset"] for row in found.collect()) == [2, 4], "a clock that went back would show"
