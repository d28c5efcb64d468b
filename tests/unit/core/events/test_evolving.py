from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pytest
from chispa import assert_df_equality
from pyspark import cloudpickle
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from jobs.core.events.evolving import EvolveFailed, PythonFold, Recorded, as_row, fold_batches, partials
from jobs.domain import orders, users

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import what stands beside tests
AT = datetime(2026, 1, 5, 10, tzinfo=timezone.utc)
EVENT = "stream_id STRING, stream_version BIGINT, event_type STRING, data STRING, occurred_at TIMESTAMP"
USER = "user_id STRING, name STRING, age BIGINT"
PARTIAL = "stream_id STRING, stream_version BIGINT, has_state BOOLEAN"
USERS = PythonFold(USER, users.evolve, users.initial_state)
LOG = (
    ("u1", 2, "user_updated", '{"name": null, "age": 7, "x": 1}', AT),
    ("u2", 1, "user_updated", '{"name": "Bo"}', AT),
    ("u1", 1, "user_created", '{"user_id": "u1", "name": "Ann"}', AT),
)


def test_a_domain_s_evolve_gives_a_partial(rows: Callable[..., DataFrame]) -> None:
    wanted = rows(f"{PARTIAL}, {USER}", ("u1", 2, True, "u1", None, 7), ("u2", 1, True, None, "Bo", None))
    found = partials(rows(EVENT, *LOG), USERS)
    assert_df_equality(found, wanted, ignore_row_order=True, ignore_nullable=True)
    plan = found._jdf.queryExecution().executedPlan().toString()
    assert plan.count("Exchange") == 1


def test_a_partial_is_gone_on_from(rows: Callable[..., DataFrame]) -> None:
    base = rows(f"{PARTIAL}, {USER}", ("u1", 1, True, "u1", "Ann", None), ("u3", 4, False, None, None, None))
    wanted = (("u1", 2, True, "u1", None, 7), ("u2", 1, True, None, "Bo", None), ("u3", 4, False, None, None, None))
    found = partials(rows(EVENT, *LOG), USERS, base)
    assert_df_equality(found, rows(f"{PARTIAL}, {USER}", *wanted), ignore_row_order=True, ignore_nullable=True)


def test_a_map_is_gone_on_from_as_a_dict(rows: Callable[..., DataFrame]) -> None:
    def counted(state: Any, event: Recorded) -> Any:
        seen = (state or {}).get("seen") or {}
        return {"seen": {**seen, event.event_type: seen.get(event.event_type, 0) + 1}}

    base = rows(f"{PARTIAL}, seen MAP<STRING, INT>", ("u1", 1, True, {"user_created": 1}))
    (found,) = partials(rows(EVENT, LOG[0]), PythonFold("seen MAP<STRING, INT>", counted, lambda: None), base).collect()
    assert (found.stream_version, found.seen) == (2, {"user_created": 1, "user_updated": 1})


def test_a_dataclass_is_a_state_and_is_restored(rows: Callable[..., DataFrame]) -> None:
    state = "order_id STRING, status STRING, total_minor BIGINT, paid_minor BIGINT, refunded_minor BIGINT"
    fold = PythonFold(state, orders.evolve, orders.initial_state, lambda columns: orders.Order(**columns))
    placed = ("o1", 1, "order_placed", '{"order_id": "o1", "customer_id": "c1", "total_minor": 5}', AT)
    paid = ("o1", 2, "order_paid", '{"order_id": "o1", "amount_minor": 5}', AT)
    wanted = rows(f"{PARTIAL}, {state}", ("o1", 2, True, "o1", "paid", 5, 5, 0))
    found = partials(rows(EVENT, paid), fold, partials(rows(EVENT, placed), fold))
    assert_df_equality(found, wanted, ignore_nullable=True)


def test_an_event_that_evolve_does_not_know_ends_the_query_and_is_named(rows: Callable[..., DataFrame]) -> None:
    named = "stream u1, version 1: user_renamed: UnknownEvent: users has no event user_renamed"
    with pytest.raises(PySparkException, match=named):
        partials(rows(EVENT, ("u1", 1, "user_renamed", "{}", AT)), USERS).collect()


SCHEMA = pa.schema(
    [
        ("stream_id", pa.string()),
        ("stream_version", pa.int64()),
        ("has_state", pa.bool_()),
        ("seen", pa.list_(pa.int64())),
    ]
)


def seen(state: Any, event: Recorded) -> Any:
    if event.event_type == "deleted":
        return None
    return {"seen": [*(state or {"seen": []})["seen"], event.data.get("n", event.stream_version)], "more": object()}


def folded(*batches: list[tuple[Any, ...]], evolve: Callable[[Any, Any], Any] = seen) -> list[list[dict[str, Any]]]:
    """What each batch, and the end, give; (stream, version, type, data, standing)."""
    names = ("stream_id", "stream_version", "event_type", "data", "_standing", "occurred_at")
    given = [pa.RecordBatch.from_pylist([dict(zip(names, (*row, AT))) for row in batch]) for batch in batches]
    return [batch.to_pylist() for batch in fold_batches(given, PythonFold("seen ARRAY<BIGINT>", evolve), SCHEMA)]


def row(stream: str, version: int, seen: list[int] | None) -> dict[str, Any]:
    return {"stream_id": stream, "stream_version": version, "has_state": seen is not None, "seen": seen}


def test_a_state_is_carried_over_batches_and_told_once() -> None:
    first = [("a", 1, "x", "{}", None), ("b", 1, "x", "{}", None)]
    second = [("b", 2, "x", '{"n": 7}', None)]
    third = [("b", 3, "x", "{}", None), ("c", 1, "x", "{}", None)]
    assert folded(first, second, third) == [[row("a", 1, [1])], [], [row("b", 3, [1, 7, 3])], [row("c", 1, [1])]]
    assert folded() == [[]]


def test_a_state_that_is_gone_has_a_row_and_begins_anew() -> None:
    gone = [("a", 1, "x", "{}", None), ("a", 2, "deleted", "{}", None)]
    assert folded(gone) == [[], [row("a", 2, None)]]
    assert folded(gone, [("a", 3, "x", "{}", None)]) == [[], [], [row("a", 3, [3])]]


def test_what_a_partial_covers_is_not_counted_again() -> None:
    standing = {"has_state": True, "seen": [1, 2]}
    given = [
        ("a", 1, "x", "{}", None),
        ("a", 2, "x", "{}", None),
        ("a", 2, None, None, standing),
        ("a", 3, "x", "{}", None),
    ]
    assert folded(given) == [[], [row("a", 3, [1, 2, 3])]]


@pytest.mark.parametrize(
    ("state", "cause"),
    [({"seen": 5}, "stream a, version 1: column seen: "), ({"seen": ["x"]}, "stream a, version 1: column seen: ")],
)
def test_a_state_that_does_not_fit_its_columns_is_named(state: object, cause: str) -> None:
    with pytest.raises(EvolveFailed, match=cause):
        folded([("a", 1, "x", "{}", None)], evolve=lambda before, event: state)


def test_a_state_is_a_mapping_or_a_dataclass() -> None:
    assert as_row({"a": 1}) == {"a": 1}
    assert as_row(orders.Order("o1"))["order_id"] == "o1"
    with pytest.raises(TypeError, match="and not a int"):
        as_row(5)


def test_an_event_knows_when_it_happened() -> None:
    times: list[datetime] = []
    folded([("a", 1, "x", "{}", None)], evolve=lambda state, event: times.append(event.occurred_at))
    assert times == [AT]


def test_a_failure_travels() -> None:
    failure = EvolveFailed("a", 1, "x", "KeyError: 'n'")
    assert str(pickle.loads(pickle.dumps(failure))) == str(failure) == "stream a, version 1: x: KeyError: 'n'"


def test_a_state_may_have_times(rows: Callable[..., DataFrame]) -> None:
    state = "at TIMESTAMP, day DATE"
    fold = PythonFold(state, times)
    found = partials(rows(EVENT, ("a", 1, "x", "{}", AT)), fold)
    assert_df_equality(found, rows(f"{PARTIAL}, {state}", ("a", 1, True, AT, AT.date())), ignore_nullable=True)
    again = partials(rows(EVENT), fold, found)
    assert_df_equality(again, found, ignore_nullable=True)


def times(state: Any, event: Recorded) -> Any:
    return {"at": event.occurred_at, "day": event.occurred_at.date()}
