from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pyspark.sql import DataFrame

from jobs.core.events.bounds import Bounds, Position, selected
from jobs.core.events.envelope import EVENT
from jobs.core.events.skips import Skip

NOON = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


def event(name: str, stream: str, version: int, kind: str, occurred: datetime, *place: Any) -> tuple[Any, ...]:
    return stream, version, name, kind, 1, "{}", None, occurred, NOON + version * HOUR, *(place or (None, None, None))


LOG = (
    event("a", "s1", 1, "made", NOON, "t", 0, 5),
    event("b", "s1", 2, "changed", NOON + HOUR, "t", 0, 6),
    event("c", "s1", 3, "changed", NOON - HOUR, "t", 1, 9),
    event("d", "s'2", 1, "made", NOON, "u", 0, 9),
    event("e", "s'2", 2, "gone", NOON + 2 * HOUR),
)


@pytest.mark.parametrize(
    ("bounds", "taken"),
    [
        (Bounds(), "abcde"),
        (Bounds(until_time=NOON + 2 * HOUR), "abde"),
        (Bounds(until_time=NOON + 2 * HOUR - timedelta(microseconds=1)), "ad"),
        (Bounds(until_time=(NOON + 2 * HOUR).astimezone(timezone(7 * HOUR))), "abde"),
        (Bounds(until_event_time=NOON), "acd"),
        (Bounds(until_version=1), "ad"),
        (Bounds(until_offsets=(Position("t", 0, 5),)), "acde"),
        (Bounds(until_offsets=(Position("t", 0, 5), Position("u", 0, 8))), "ace"),
        (Bounds(streams=("s'2", "none")), "de"),
        (Bounds(types=("made", "gone")), "ade"),
        (Bounds(until_version=2, streams=("s1",), types=("changed",)), "b"),
        (Bounds(skips=(Skip(event_id="a", reason="r"), Skip(stream_id="s'2", stream_version=2, reason="r"))), "bcd"),
    ],
)
def test_all_bounds_hold_and_include_what_they_name(bounds: Bounds, taken: str, rows: Callable[..., DataFrame]) -> None:
    found = selected(rows(EVENT, *LOG), bounds)
    assert sorted(row.event_id for row in found.select("event_id").collect()) == list(taken)


def test_equal_bounds_are_told_alike() -> None:
    first, second = Position("t", 0, 1), Position("t", 1, 1)
    told = Bounds(NOON, until_offsets=(second, first), skips=(Skip(event_id="a", reason="r"),)).told()
    assert told == Bounds(NOON, until_offsets=(first, second), skips=(Skip(event_id="a", reason="r"),)).told()
    assert told["until_time"] == "2026-01-05T12:00:00+00:00"
    assert told["skips"] == [{"event_id": "a", "reason": "r"}]
    assert Bounds().told() == {}
