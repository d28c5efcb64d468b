from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from pyspark.sql import DataFrame

from jobs.core.events.verdicts import Counts, counts, wrong

EVENTS = "stream_id STRING, stream_version BIGINT"
PARTIALS = f"{EVENTS}, has_state BOOLEAN"
GOOD = Counts(5, 2, 0, 0, 2, 0, None)


def test_a_build_is_counted_against_the_log(rows: Callable[..., DataFrame]) -> None:
    events = rows(EVENTS, ("a", 1), ("a", 2), ("b", 1), ("b", 1), ("c", 7))
    built = rows(PARTIALS, ("a", 2, True), ("a", 2, True), ("b", 2, False), ("d", 1, True))
    first = "stream b: 1 in the log, 2 built"
    assert counts(built, events) == Counts(5, 3, 1, 1, 4, 3, first)
    assert counts(rows(PARTIALS), rows(EVENTS)) == Counts(0, 0, 0, 0, 0, 0, None)


def test_what_a_snapshot_covers_counts_by_its_head(rows: Callable[..., DataFrame]) -> None:
    base = rows(PARTIALS, ("a", 4, True), ("b", 2, False))
    built = rows(PARTIALS, ("a", 6, True), ("b", 2, False), ("c", 1, True))
    assert counts(built, rows(EVENTS, ("a", 5), ("a", 6), ("c", 1)), base) == Counts(3, 3, 0, 0, 3, 0, None)
    assert counts(built, rows(EVENTS, ("a", 5), ("a", 6), ("a", 6), ("c", 1)), base).doubled == 1
    assert counts(built, rows(EVENTS, ("a", 6), ("c", 1)), base).holed == 1


@pytest.mark.parametrize(
    ("found", "folded", "said"),
    [
        (GOOD, 5, None),
        (GOOD, 4, "4 events are folded, 5 are within the bounds"),
        (replace(GOOD, rows=3), 5, "3 rows are built, 2 streams have events"),
        (replace(GOOD, heads=1, first="x"), 5, "1 of 2 streams end at another version than the log: x"),
        (replace(GOOD, doubled=2), 5, "2 of 2 streams have more events than versions: some are there twice"),
    ],
)
def test_what_does_not_hold_is_told_with_both_numbers(found: Counts, folded: int, said: str | None) -> None:
    assert wrong(found, folded) == said
