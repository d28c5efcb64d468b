"""Literal rows in, the whole expected DataFrame out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame

from jobs.core.config import Join
from jobs.core.errors import ConfigError
from jobs.stream_table_join import enrich

Rows = Callable[..., DataFrame]
EVENT = "order_id STRING, customer_id STRING, amount INT, _reason STRING, _detail STRING"
CUSTOMER = "customer_id STRING, segment STRING, _reference_version STRING"
ENRICHED = f"{EVENT}, segment STRING, _reference_version STRING"
LEFT = Join(on={"customer_id": "customer_id"}, how="left")
INNER = Join(on={"customer_id": "customer_id"}, how="inner")
MISSED = "no reference row for customer_id"


@pytest.fixture
def orders(rows: Rows) -> DataFrame:
    """A known customer, an unknown one, none at all, and the known one again."""
    return rows(
        EVENT,
        ("o1", "c1", 100, None, None),
        ("o2", "c9", 200, None, None),
        ("o3", None, 300, None, None),
        ("o4", "c1", None, None, None),
    )


@pytest.fixture
def customers(rows: Rows) -> DataFrame:
    return rows(CUSTOMER, ("c1", "gold", "v1"), ("c2", None, "v1"), (None, "nobody", "v1"))


def same(found: DataFrame, expected: DataFrame) -> None:
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)


def test_a_left_join_keeps_misses_with_nulls(rows: Rows, orders: DataFrame, customers: DataFrame) -> None:
    expected = rows(
        ENRICHED,
        ("o1", "c1", 100, None, None, "gold", "v1"),
        ("o2", "c9", 200, None, None, None, None),
        ("o3", None, 300, None, None, None, None),
        ("o4", "c1", None, None, None, "gold", "v1"),
    )
    same(enrich(orders, customers, LEFT), expected)


def test_an_inner_join_leaves_misses_out(rows: Rows, orders: DataFrame, customers: DataFrame) -> None:
    expected = rows(ENRICHED, ("o1", "c1", 100, None, None, "gold", "v1"), ("o4", "c1", None, None, None, "gold", "v1"))
    same(enrich(orders, customers, INNER), expected)


@pytest.mark.parametrize(("on_miss", "reason"), [("dead_letter", "NO_REFERENCE"), ("wait", "WAITING")])
@pytest.mark.parametrize("how", ["inner", "left"])
def test_a_miss_gets_its_reason(
    rows: Rows, orders: DataFrame, customers: DataFrame, how: Any, on_miss: Any, reason: str
) -> None:
    waiting = {"wait_for": "1h", "parked": "data/waiting"} if on_miss == "wait" else {}
    join = Join.model_validate({"on": {"customer_id": "customer_id"}, "how": how, "on_miss": on_miss, **waiting})
    expected = rows(
        ENRICHED,
        ("o1", "c1", 100, None, None, "gold", "v1"),
        ("o2", "c9", 200, reason, MISSED, None, None),
        ("o3", None, 300, reason, MISSED, None, None),
        ("o4", "c1", None, None, None, "gold", "v1"),
    )
    same(enrich(orders, customers, join), expected)


def test_a_known_customer_without_a_segment_is_a_hit(rows: Rows, customers: DataFrame) -> None:
    join = Join(on={"customer_id": "customer_id"}, on_miss="dead_letter")
    found = enrich(rows(EVENT, ("o1", "c2", 1, None, None)), customers, join)
    same(found, rows(ENRICHED, ("o1", "c2", 1, None, None, None, "v1")))


def test_several_keys_under_different_names_all_have_to_match(rows: Rows) -> None:
    events = rows("shop STRING, number INT", ("s1", 1), ("s1", 2), ("s2", 1))
    reference = rows("shop_id STRING, item INT, price INT", ("s1", 1, 10), ("s2", 1, 20))
    found = enrich(events, reference, Join(on={"shop": "shop_id", "number": "item"}))
    same(found, rows("shop STRING, number INT, price INT", ("s1", 1, 10), ("s1", 2, None), ("s2", 1, 20)))


def test_a_reference_column_that_the_stream_has_too_is_renamed(rows: Rows) -> None:
    events = rows("id INT, name STRING", (1, "event"))
    found = enrich(events, rows("key INT, name STRING", (1, "reference")), Join(on={"id": "key"}))
    same(found, rows("id INT, name STRING, ref_name STRING", (1, "event", "reference")))


def test_keys_of_two_types_are_refused_with_the_remedy(rows: Rows) -> None:
    events, reference = rows("id INT", (1,)), rows("key BIGINT", (1,))
    with pytest.raises(ConfigError, match=r"id is int, key is bigint: say join\.cast: \{id: bigint\}"):
        enrich(events, reference, Join(on={"id": "key"}))


@pytest.mark.parametrize("kind", ["string", "STRING"])
def test_keys_of_two_types_are_cast_on_purpose(rows: Rows, kind: str) -> None:
    """Spark's own comparison would make numbers of the strings, and match "01" too."""
    events = rows("id INT", (1,), (2,))
    reference = rows("key STRING, name STRING", ("1", "one"), ("01", "zero one"))
    found = enrich(events, reference, Join(on={"id": "key"}, cast={"id": kind}))
    same(found, rows("id INT, name STRING", (1, "one"), (2, None)))
