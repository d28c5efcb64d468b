"""How two streams are joined, on literal rows: a plan of a query does the same with each of its batches."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame

from jobs.core.enrichment.settings import Other, Step
from jobs.core.enrichment.streams import joined, timed

Rows = Callable[..., DataFrame]
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
PLACE = (
    "_topic STRING, _partition INT, _offset BIGINT, _timestamp TIMESTAMP, _reason STRING, _detail STRING,"
    " _key BINARY, _value BINARY, _headers ARRAY<STRUCT<key: STRING, value: BINARY>>"
)
ORDER = f"order_id STRING, amount INT, at TIMESTAMP, {PLACE}"
PAYMENT = f"order STRING, amount INT, paid_at TIMESTAMP, {PLACE}"
SHOWN = "_topic STRING, _offset BIGINT, order_id STRING, amount INT, ref_amount INT, _reason STRING, _joined BOOLEAN"
OTHER = {
    "kafka": {"topic": "payments"},
    "schema": "order STRING, amount INT, paid_at TIMESTAMP",
    "event_time": "paid_at",
    "key": "order",
    "columns": ["amount"],
}


def after(second: int | None) -> datetime | None:
    return None if second is None else NOON + timedelta(seconds=second)


def side(rows: Rows, schema: str, topic: str, time: str, *given: tuple[Any, ...]) -> DataFrame:
    """Key, amount, second after noon, and a reason if there is one; numbered from 0."""
    padded = [(*one, None)[:4] for one in given]
    made = [
        (key, amount, after(second), topic, 0, n, NOON, why, None, None, None, None)
        for n, (key, amount, second, why) in enumerate(padded)
    ]
    return timed(rows(schema, *made), time)


def paid(rows: Rows, orders: list[tuple[Any, ...]], payments: list[tuple[Any, ...]], **bound: str) -> DataFrame:
    other = Other.model_validate({**OTHER, **(bound or {"after": "1m"})})
    step = Step.model_validate({"stream": {**OTHER, "after": "1m"}, "on": {"order_id": "order"}})
    sides = (side(rows, ORDER, "o", "at", *orders), side(rows, PAYMENT, "p", "paid_at", *payments))
    return joined(*sides, step, other).select(*(name.split()[0] for name in SHOWN.split(", ")))


def expect(found: DataFrame, rows: Rows, *expected: tuple[Any, ...]) -> None:
    assert_df_equality(found, rows(SHOWN, *expected), ignore_row_order=True, ignore_nullable=True)


def test_an_event_gets_the_record_of_its_key_within_the_bound(rows: Rows) -> None:
    orders = [("a", 1, 0), ("b", 2, 0), ("c", 3, 0), ("d", 4, 0)]
    payments = [("a", 10, 0), ("b", 20, 60), ("c", 30, 61), ("d", 40, -1)]
    found = paid(rows, orders, payments)
    missed = [("o", 2, "c", 3, None, None, None), ("o", 3, "d", 4, None, None, None)]
    expect(found, rows, ("o", 0, "a", 1, 10, None, True), ("o", 1, "b", 2, 20, None, True), *missed)


def test_the_other_record_may_come_before(rows: Rows) -> None:
    found = paid(rows, [("a", 1, 60), ("b", 2, 61)], [("a", 10, 0), ("b", 20, 0)], before="1m")
    expect(found, rows, ("o", 0, "a", 1, 10, None, True), ("o", 1, "b", 2, None, None, None))


def test_rejected_records_of_both_sides_go_around_and_what_nobody_asked_for_is_left_out(rows: Rows) -> None:
    orders = [("a", 1, 0, "MALFORMED"), (None, 2, 0), ("b", 3, None)]
    payments = [("a", 10, 0), (None, 20, 0), ("b", 30, 0, "LATE")]
    expect(
        paid(rows, orders, payments),
        rows,
        ("o", 0, "a", 1, None, "MALFORMED", None),
        ("o", 1, None, 2, None, None, None),
        ("o", 2, "b", 3, None, None, None),
        ("p", 2, None, None, 30, "LATE", None),
    )


@pytest.mark.parametrize("why", [None, "MALFORMED"])
def test_only_a_good_record_has_a_time(rows: Rows, why: str | None) -> None:
    found = side(rows, ORDER, "o", "at", ("a", 1, 0, why)).select("_at").collect()
    assert [row["_at"] is None for row in found] == [why is not None]
