from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark import cloudpickle
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from jobs.core.events import upcasted as module
from jobs.core.events.envelope import EVENT
from jobs.core.events.upcasted import taken, upcasted
from jobs.core.events.upcasting import Chain, Data, Step

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import what stands beside tests
AT = datetime(2026, 1, 5, 10, tzinfo=timezone.utc)
UPCASTED = f"{EVENT}, _reason STRING, _detail STRING"


def split(data: Data) -> Data:
    first, last = data.pop("name").split()
    return {**data, "first": first, "last": last}


CHAIN = Chain({"made": 2, "gone": 1}, [Step("made", 1, split)])


def event(version: int, kind: str, schema: int, data: str, *verdict: Any) -> tuple[Any, ...]:
    return "s", version, f"e{version}", kind, schema, data, {"correlation_id": "c"}, AT, AT, "t", 0, version, *verdict


def test_old_events_are_changed_and_current_ones_stay_as_they_are(rows: Callable[..., DataFrame]) -> None:
    events = [
        event(1, "made", 1, '{"name": "Ann Lee", "x": 1}'),
        event(2, "made", 2, '{"first":  "Bo"}'),
        event(3, "gone", 1, "not even JSON"),
        event(4, "moved", 1, "{}"),
        event(5, "made", 3, "{}"),
    ]
    wanted = [
        event(1, "made", 2, '{"x":1,"first":"Ann","last":"Lee"}', None, None),
        event(2, "made", 2, '{"first":  "Bo"}', None, None),
        event(3, "gone", 1, "not even JSON", None, None),
        event(4, "moved", 1, "{}", "UNKNOWN_TYPE", "event type moved"),
        event(5, "made", 3, "{}", "UNKNOWN_VERSION", "made has no version 3, the newest is 2"),
    ]
    found = upcasted(rows(EVENT, *events), CHAIN).orderBy("event_id")
    assert_df_equality(found, rows(UPCASTED, *wanted), ignore_nullable=True)


def test_by_policy_the_unknown_passes(rows: Callable[..., DataFrame]) -> None:
    lenient = Chain({"made": 2}, [Step("made", 1, split)], "pass", "pass")
    events = [event(1, "moved", 1, "{}"), event(2, "made", 7, "{}")]
    found = taken(upcasted(rows(EVENT, *events), lenient)).orderBy("event_id")
    assert_df_equality(found, rows(EVENT, *events), ignore_nullable=True)


@pytest.mark.parametrize(
    ("unfit", "said"),
    [
        (event(4, "moved", 1, "{}"), "stream s, version 4, event e4: UNKNOWN_TYPE: event type moved"),
        (event(4, "made", 1, "{}"), "stream s, version 4, event e4: upcasting made from version 1: KeyError: 'name'"),
        (event(4, "made", 1, "{"), "stream s, version 4, event e4: "),
    ],
)
def test_one_that_cannot_be_taken_ends_the_query_and_is_named(
    unfit: tuple[Any, ...], said: str, rows: Callable[..., DataFrame]
) -> None:
    with pytest.raises(PySparkException, match=said):
        taken(upcasted(rows(EVENT, unfit), CHAIN)).collect()


def test_only_old_events_go_through_python(rows: Callable[..., DataFrame], monkeypatch: pytest.MonkeyPatch) -> None:
    events = rows(EVENT, event(1, "made", 2, "{}"), event(2, "gone", 1, "{}"))
    monkeypatch.setattr(module, "_upcast", lambda *_: pytest.fail("a current event went through Python"))
    assert upcasted(events, CHAIN).count() == 2
