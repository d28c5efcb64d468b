"""Rejected rows, each into the outlet of its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pyspark.sql import DataFrame

from jobs.core.lateness import Lateness
from jobs.core.outlets import Outlets
from jobs.core.sinks import Mark

Rows = Callable[..., DataFrame]
FAILED = (
    "_topic STRING, _partition INT, _offset BIGINT, _timestamp TIMESTAMP, _reason STRING, _detail STRING, _key BINARY,"
    " _value BINARY, _headers ARRAY<STRUCT<key: STRING, value: BINARY>>, _attempt INT"
)
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
MARK = Mark("join", "q", 1, "[null]", "[null]")


class Outlet:
    """Remembers the offsets that it was given at each write."""

    def __init__(self) -> None:
        self.got: list[list[int]] = []

    def append(self, rows: DataFrame, mark: Mark) -> None:
        self.got.append(sorted(row["_offset"] for row in rows.collect()))

    def park(self, rows: DataFrame, mark: Mark, now: datetime, again: DataFrame | None) -> None:
        assert now == NOON
        self.append(rows, mark)
        self.again = again


def failed(offset: int, reason: str) -> tuple[Any, ...]:
    return ("t", 0, offset, None, reason, "d", None, b"v", None, 1)


@pytest.mark.parametrize(
    ("reasons", "dead", "parked", "late"),
    [
        (["MALFORMED", "WAITING", "LATE", "FUTURE"], [[0, 3]], [[1]], [[2]]),
        (["WAITING"], [], [[0]], []),
        (["LATE", "LATE"], [], [], [[0, 1]]),
        ([], [], [], []),
    ],
    ids=["all kinds", "only waiting", "only late", "none"],
)
def test_each_kind_has_its_outlet(
    rows: Rows, reasons: list[str], dead: list[list[int]], parked: list[list[int]], late: list[list[int]]
) -> None:
    places: list[Any] = [Outlet(), Outlet(), Outlet()]
    phases: list[str] = []

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        phases.append(name)
        yield

    outlets = Outlets(places[0], places[0], places[1], Lateness("at", timedelta(1), places[2]))
    given = rows(FAILED, *(failed(offset, reason) for offset, reason in enumerate(reasons)))
    outlets.reject(given, set(reasons), MARK, NOON, None, phase)
    assert [place.got for place in places] == [dead, parked, late]
    assert phases == ["dead_letters"] * len(dead)


def test_of_a_batch_in_doubt_what_it_has_parked_before_is_told_even_if_nothing_waits_now(rows: Rows) -> None:
    dead, parked = Outlet(), Outlet()
    outlets: Any = Outlets(dead, dead, parked)  # type: ignore[arg-type]
    batch = rows("_topic STRING, _partition INT, _offset BIGINT", ("t", 0, 0))
    outlets.reject(rows(FAILED), set(), MARK, NOON, batch)
    assert (dead.got, parked.got, parked.again) == ([], [[]], batch)


def test_without_dead_letters_no_row_may_be_refused() -> None:
    place: Any = Outlet()
    assert (Outlets(place, None, None).refusable, Outlets(place, place, None, max_refused=7).refusable) == (0, 7)
