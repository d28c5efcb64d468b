"""Which records are behind a dead letter of their key, or one that waits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.core.behind import blocked, heads, waiting_behind
from jobs.core.order import KeyOrder
from jobs.core.pending import Names, Pending

Rows = Callable[..., DataFrame]
PLACE = "_topic STRING, _partition INT, _offset BIGINT"
FAILED = f"{PLACE}, _key BINARY, _reason STRING, _attempt INT"
OUTCOME = f"id INT, {PLACE}, _key BINARY, _reason STRING, _detail STRING, _attempt INT"
BLOCKED, WAITS = "KEY_BLOCKED", "WAITING"


def failed(offset: int, key: bytes | None = b"k", reason: str = "MALFORMED", attempt: int = 1) -> tuple[Any, ...]:
    return ("t", 0, offset, key, reason, attempt)


def outcome(offset: int, **given: Any) -> tuple[Any, ...]:
    one = {"topic": "t", "partition": 0, "key": b"k", "reason": None, "detail": None, "attempt": 1, **given}
    return (
        offset,
        one["topic"],
        one["partition"],
        offset,
        *(one[name] for name in ("key", "reason", "detail", "attempt")),
    )


def behind(offset: int, of: int, **given: Any) -> tuple[Any, ...]:
    return told(offset, BLOCKED, f"the dead letter of topic t, partition 0, offset {of}", **given)


def waits_behind(offset: int, of: int, reason: str = WAITS, **given: Any) -> tuple[Any, ...]:
    return told(offset, reason, f"the waiting record of topic t, partition 0, offset {of}", **given)


def told(offset: int, reason: str, what: str, **given: Any) -> tuple[Any, ...]:
    return outcome(offset, reason=reason, detail=f"behind {what}", **given)


def test_later_records_of_a_key_follow_its_first_dead_letter(rows: Rows) -> None:
    first = heads(rows(FAILED, failed(5), failed(3), failed(7, key=b"other"), failed(1, key=None)), None)
    other, none = outcome(6, key=b"other"), outcome(9, key=None)
    at_head = outcome(7, key=b"other")
    given = rows(OUTCOME, outcome(2), outcome(3, reason="MALFORMED"), outcome(4), outcome(6), other, none, at_head)
    kept = outcome(2), outcome(3, reason="MALFORMED"), other, none, at_head
    expected = rows(OUTCOME, *kept, behind(4, 3), behind(6, 3))
    assert_df_equality(blocked(given, first), expected, ignore_row_order=True, ignore_nullable=True)


def test_in_another_partition_what_is_new_follows_and_what_comes_again_does_not(rows: Rows) -> None:
    first = heads(rows(FAILED, failed(5)), None)
    again = outcome(4, partition=1, attempt=2)
    found = blocked(rows(OUTCOME, outcome(3, partition=1), again, outcome(6, attempt=2)), first)
    expected = rows(OUTCOME, behind(3, 5, partition=1), again, behind(6, 5, attempt=2))
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)


def test_what_would_wait_does_not_wait_behind_a_dead_letter(rows: Rows) -> None:
    first = heads(rows(FAILED, failed(3)))
    found = blocked(rows(OUTCOME, outcome(2, reason=WAITS), outcome(4, reason=WAITS), outcome(5, reason="LATE")), first)
    expected = rows(OUTCOME, outcome(2, reason=WAITS), behind(4, 3), outcome(5, reason="LATE"))
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)


def test_behind_what_waits_later_ones_wait_but_those_that_came_again_do_not(rows: Rows) -> None:
    first = heads(rows(FAILED, failed(3, reason=WAITS)))
    kept = (
        outcome(2),
        outcome(3, reason=WAITS),
        outcome(5, reason="MALFORMED"),
        outcome(7, key=b"other"),
        outcome(8, key=None),
    )
    found = waiting_behind(rows(OUTCOME, *kept, outcome(4), outcome(6, attempt=2)), first)
    expected = rows(OUTCOME, *kept, waits_behind(4, 3), waits_behind(6, 3, attempt=2, reason=BLOCKED))
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)


def test_in_a_release_nothing_passes_what_waits_on_or_is_given_up(
    rows: Rows, spark: SparkSession, tmp_path: Path
) -> None:
    """Of one key 1 passes, 3 waits on, 5 would pass; of another one 2 is given up, 4 would pass, and 6 wait on."""
    given = {"key": b"x", "reason": None}
    first = outcome(1), outcome(3, reason=WAITS), outcome(2, **{**given, "reason": "NO_ANSWER"})
    outcomes = rows(OUTCOME, *first, outcome(5), outcome(4, **given), outcome(6, **{**given, "reason": WAITS}))
    logs = [Pending(spark, str(tmp_path), Names(*names)) for names in (("blocked", "freed"), ("parked", "settled"))]
    whole = KeyOrder(*logs).in_turn(outcomes)
    expected = rows(OUTCOME, *first, waits_behind(5, 3), behind(4, 2, key=b"x"), behind(6, 2, key=b"x"))
    assert_df_equality(whole, expected, ignore_row_order=True, ignore_nullable=True)
    alone = KeyOrder(None, logs[1]).in_turn(outcomes)
    waits_on = outcome(6, **{**given, "reason": WAITS})
    expected = rows(OUTCOME, *first, waits_behind(5, 3), outcome(4, **given), waits_on)
    assert_df_equality(alone, expected, ignore_row_order=True, ignore_nullable=True)
