"""Until when a key is held up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs.core.order import NONE, KeyOrder
from jobs.core.pending import Names, Pending
from jobs.core.sinks import Mark

Rows = Callable[..., DataFrame]
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
MARK = Mark("join", "q1", 0, '[{"t": {"0": 0}}]', '[{"t": {"0": 99}}]')
PLACE = "_topic STRING, _partition INT, _offset BIGINT"
FAILED = f"{PLACE}, _key BINARY, _reason STRING, _attempt INT"
BLOCKED = "KEY_BLOCKED"


def failed(offset: int, key: bytes | None = b"k", reason: str = "MALFORMED", attempt: int = 1) -> tuple[Any, ...]:
    return ("t", 0, offset, key, reason, attempt)


@pytest.fixture
def order(spark: SparkSession, tmp_path: Path) -> Callable[[], KeyOrder]:
    """As a new start of the job has it."""
    names = Names("blocked", "freed")
    return lambda: KeyOrder(Pending(spark, str(tmp_path), names))


def batch(rows: Rows, order: KeyOrder, judged: list[int], *fails: tuple[Any, ...]) -> dict[int, int]:
    """One batch with these records, of which some fail. Of key `k`: offset in each partition from which it is blocked."""
    coordinates, failing = rows(PLACE, *(("t", 0, offset) for offset in judged)), rows(FAILED, *fails)
    with order.within(coordinates, failing) as blocking:
        found = blocking.letters.heads.filter("_key = 'k'").collect() if blocking.letters.heads else []
        if fails or blocking.open:
            order.record(blocking, coordinates, failing, MARK, NOON)
    return {head["partition"]: head["offset"] for row in found for head in row["_heads"]}


def test_a_key_is_blocked_until_all_of_its_dead_letters_have_passed(rows: Rows, order: Any) -> None:
    job = order()
    assert batch(rows, job, [1, 2]) == {}
    assert not job.letters.may_be
    assert batch(rows, job, [3, 4], failed(3)) == {0: 3}
    assert batch(rows, job, [5], failed(5, reason=BLOCKED)) == {0: 3}
    job = order()
    assert batch(rows, job, [3], failed(3, attempt=2)) == {0: 3}, "rejected again"
    assert batch(rows, job, [3]) == {0: 5}, "it has passed, the one behind it has not"
    assert batch(rows, job, [5, 6]) == {}, "in a batch with what is redriven, new records go on"
    assert batch(rows, job, [7]) == {}
    assert not job.letters.may_be


def test_a_batch_that_runs_again_finds_its_own_dead_letters(rows: Rows, order: Any) -> None:
    """Of the first attempt, offset 3 failed; now it passes, and 4 fails."""
    assert batch(rows, order(), [3, 4], failed(3), failed(4, reason=BLOCKED)) == {0: 3}
    assert batch(rows, order(), [3, 4], failed(4)) == {0: 4}
    assert batch(rows, order(), [3, 4], failed(4)) == {0: 4}
    assert batch(rows, order(), [9]) == {0: 4}


def test_a_try_that_comes_to_nothing_undoes_nothing(rows: Rows, order: Any) -> None:
    """Offset 3 failed in an earlier attempt, passes in the first try at the next, and fails in the second."""
    job = order()
    batch(rows, job, [3], failed(3))
    batch(rows, job, [3])
    batch(rows, job, [3], failed(3, reason="SINK_REJECTED"))
    assert batch(rows, job, [4]) == {0: 3}


def test_giving_up_needs_no_key_that_is_blocked(rows: Rows, order: Any) -> None:
    order().free(rows(PLACE, ("t", 0, 3)), MARK, NOON)
    assert batch(rows, order(), [4]) == {}


@pytest.mark.parametrize("reason", ["LATE", "WAITING"])
def test_only_dead_letters_block(rows: Rows, order: Any, reason: str) -> None:
    assert batch(rows, order(), [3], failed(3, reason=reason)) == {}
    assert batch(rows, order(), [4]) == {}


def test_what_is_given_up_blocks_no_longer(rows: Rows, order: Any) -> None:
    job = order()
    batch(rows, job, [3, 4], failed(3), failed(4, reason=BLOCKED))
    order().free(rows(PLACE, ("t", 0, 3)), MARK, NOON)
    assert batch(rows, job, [5]) == {0: 4}


PARKED = "key BINARY, _topic STRING, _partition INT, _offset BIGINT"


def test_what_waits_holds_its_key_up_until_it_is_settled(rows: Rows, spark: SparkSession, tmp_path: Path) -> None:
    waiting = Pending(spark, str(tmp_path), Names("parked", "settled"))
    job = KeyOrder(None, waiting)

    def seen(judged: int, *fails: tuple[Any, ...]) -> dict[int, int]:
        coordinates, failing = rows(PLACE, ("t", 0, judged)), rows(FAILED, *fails)
        with job.within(coordinates, failing) as blocking:
            assert blocking.letters == NONE
            found = blocking.waiting.heads.collect() if blocking.waiting.heads else []
            job.record(blocking, coordinates, failing, MARK, NOON)
        return {head["partition"]: head["offset"] for row in found for head in row["_heads"]}

    assert seen(3, failed(3, reason="WAITING"), failed(4)) == {0: 3}
    waiting.begin(rows(PARKED, (b"k", "t", 0, 3)), MARK, NOON)
    assert seen(5) == {0: 3}
    assert seen(3) == {}, "judged anew, it passes"
    kept = waiting.rows()
    assert kept is not None
    waiting.end(kept, MARK, NOON)
    assert seen(6) == {}
