"""What began and is not over, by two logs that only grow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.pending import Names, Pending
from jobs.core.sinks import Mark

Rows = Callable[..., DataFrame]
MARK = Mark("join", "q1", 0, '[{"t": {"0": 0}}]', '[{"t": {"0": 99}}]')
ROW = "_topic STRING, _partition INT, _offset BIGINT, more STRING"
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
LATER = NOON + timedelta(hours=1)


def row(offset: int, more: str = "x") -> tuple[str, int, int, str]:
    return ("t", 0, offset, more)


@pytest.fixture
def made(spark: SparkSession, tmp_path: Path) -> Callable[[], Pending]:
    """As a new start of a job has it."""
    return lambda: Pending(spark, str(tmp_path), Names("begun", "ended"))


@pytest.fixture
def pending(made: Callable[[], Pending]) -> Pending:
    return made()


def known(pending: Pending, recorded: int | None = None) -> DataFrame:
    found = pending.rows(recorded)
    assert found is not None
    return found


def offsets(pending: Pending, recorded: int | None = None) -> list[int]:
    return sorted(row["_offset"] for row in known(pending, recorded).collect())


def ends(pending: Pending, *at: int, seq: int | None = None, now: datetime = LATER) -> None:
    pending.end(known(pending).filter(F.col("_offset").isin(*at)), MARK, now, seq)


def test_what_began_is_pending_until_it_is_over(pending: Pending, rows: Rows) -> None:
    assert pending.rows() is None
    pending.begin(rows(ROW, row(1, "a"), row(2, "b")), MARK, NOON)
    pending.begin(rows(ROW, row(3, "c")), MARK, LATER)
    first = known(pending).filter("_offset = 1").persist()
    pending.end(first, MARK, LATER)
    pending.end(first, MARK, LATER)
    expected = rows(ROW + ", begun_at TIMESTAMP", (*row(2, "b"), NOON), (*row(3, "c"), LATER))
    found = known(pending).select(*expected.columns)
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)


def test_what_is_over_of_one_write_goes_on_by_another(pending: Pending, rows: Rows) -> None:
    write = pending.begin(rows(ROW, row(1, "a")), MARK, NOON)
    pending.begin(rows(ROW, row(1, "b")), MARK, LATER)
    pending.end(known(pending).filter(F.col("_write") == write), MARK, LATER)
    assert [found["more"] for found in known(pending).collect()] == ["b"]


def test_what_ended_without_its_record_is_pending_again_since_when_it_began(
    made: Callable[[], Pending], rows: Rows
) -> None:
    pending = made()
    pending.begin(rows(ROW, row(1), row(2), row(3)), MARK, NOON)
    ends(pending, 1, seq=4)
    ends(pending, 2, seq=5)
    assert offsets(pending) == [3]
    assert offsets(pending, recorded=4) == [2, 3], "to an audit, the record is not there yet"
    for _ in range(2):  # a start that is cut short is followed by another
        made().reopen(4, MARK)
        assert offsets(pending) == [2, 3]
    expected = rows(ROW + ", begun_at TIMESTAMP", (*row(2), NOON), (*row(3), NOON))
    found = known(pending).select(*expected.columns)
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)
    ends(pending, 2, seq=6)
    made().reopen(6, MARK)
    assert offsets(pending) == [3], "the record of number 6 is there; what had number 5 is of no account"


def test_without_anything_over_there_is_nothing_to_take_back(pending: Pending, rows: Rows) -> None:
    pending.reopen(-1, MARK)
    pending.begin(rows(ROW, row(1)), MARK, NOON)
    pending.reopen(-1, MARK)
    ends(pending, 1)
    pending.reopen(-1, MARK)
    assert offsets(pending) == [], "what needs no record stays over"


def test_what_is_older_than_the_oldest_is_not_read(made: Callable[[], Pending], pending: Pending, rows: Rows) -> None:
    pending.begin(rows(ROW, row(1)), MARK, NOON - timedelta(hours=1))
    pending.begin(rows(ROW, row(2), row(3)), MARK, NOON)
    pending.begin(rows(ROW, row(4)), MARK, LATER)
    ends(pending, 1, 3, now=NOON)
    for _ in range(2):
        assert offsets(pending) == [2, 4]
        pending.remember_oldest(known(pending))
    made().begin(rows(ROW, row(5)), MARK, NOON - timedelta(minutes=1))
    assert offsets(pending) == [2, 4], "of another instance, it would show"
    pending.remember_oldest(known(pending).limit(0))
    assert offsets(pending) == [2, 4], "the oldest stays where nothing is pending"


def test_a_clock_that_goes_back_hides_nothing(made: Callable[[], Pending], rows: Rows) -> None:
    pending, before = made(), NOON - timedelta(hours=1)
    pending.begin(rows(ROW, row(1), row(2)), MARK, NOON)
    ends(pending, 1, now=before)
    later = made()
    later.remember_oldest(known(later))
    assert offsets(later) == [2], "what is over stays over"
    later.begin(rows(ROW, row(3)), MARK, before)
    ends(later, 2, now=before)
    assert offsets(later) == [3], "what begins is pending"
    expected = rows("_offset BIGINT, begun_at TIMESTAMP", (3, NOON))
    assert_df_equality(known(later).select(*expected.columns), expected, ignore_nullable=True)
