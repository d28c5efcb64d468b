"""The version that held at an event's time: on literal rows, and against SQL by brute force on histories by chance."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from chispa import assert_df_equality
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.enrichment.history import OURS, Versions, as_of
from jobs.core.joining import MATCHED

Rows = Callable[..., DataFrame]
EVENT = "id INT, product STRING, ordered_at TIMESTAMP, _reason STRING, _partition INT, _offset BIGINT"
PRICE = "product STRING, price INT, since TIMESTAMP, until TIMESTAMP, lsn BIGINT, op STRING"
FOUND = "id INT, price INT, _matched BOOLEAN"
ON = {"product": "product"}
DAY = datetime(2026, 1, 1, tzinfo=timezone.utc)
UNTIL = {"valid_to": "until"}


def at(day: float | None) -> datetime | None:
    return None if day is None else DAY + timedelta(days=day)


def versions(**more: Any) -> Versions:
    return Versions(["product"], ["price"], "since", **more)


def prices(rows: Rows, *given: tuple[Any, ...]) -> DataFrame:
    """product, price, since, and if they are given: until, lsn, op."""
    padded = [(*row, *[None] * (6 - len(row))) for row in given]
    return rows(PRICE, *((p, price, at(since), at(until), lsn, op) for p, price, since, until, lsn, op in padded))


def events(rows: Rows, *given: tuple[Any, ...]) -> DataFrame:
    """id, product, ordered_at, and a reason if there is one."""
    padded = [(*row, None)[:4] for row in given]
    return rows(EVENT, *((id_, p, at(day), why, 0, id_) for id_, p, day, why in padded))


def found(history: DataFrame, orders: DataFrame, many: bool = False) -> DataFrame:
    return as_of(orders, history, ON, {}, "ordered_at", many).select("id", "price", MATCHED)


@pytest.mark.parametrize("many", [False, True])
def test_a_version_holds_from_its_beginning_until_the_next_one(rows: Rows, many: bool) -> None:
    history = versions().made(prices(rows, ("p1", 20, 5), ("p1", 10, 1), ("p2", 7, 0)))
    orders = events(
        rows, (1, "p1", 0.5), (2, "p1", 1), (3, "p1", 4.999), (4, "p1", 5), (5, "p1", 900), (6, "p2", 3), (7, "p9", 3)
    )
    expected = [(1, None, None), (2, 10, True), (3, 10, True), (4, 20, True), (5, 20, True), (6, 7, True)]
    assert_df_equality(
        found(history, orders, many),
        rows(FOUND, *expected, (7, None, None)),
        ignore_row_order=True,
        ignore_nullable=True,
    )


def test_a_version_that_says_how_long_leaves_a_gap(rows: Rows) -> None:
    history = versions(**UNTIL).made(prices(rows, ("p1", 10, 1, 2), ("p1", 20, 3, None)))
    assert versions(**UNTIL).profile(history) == (2, None)
    orders = events(rows, (1, "p1", 1), (2, "p1", 2), (3, "p1", 3))
    expected = rows(FOUND, (1, 10, True), (2, None, None), (3, 20, True))
    assert_df_equality(found(history, orders), expected, ignore_row_order=True, ignore_nullable=True)


def test_a_row_that_is_gone_ends_the_version_before(rows: Rows) -> None:
    changes = prices(rows, ("p1", 10, 1, None, 1, "c"), ("p1", 10, 2, None, 2, "d"), ("p1", 30, 3, None, 3, "c"))
    history = versions(deleted="op = 'd'").made(changes)
    orders = events(rows, (1, "p1", 1.5), (2, "p1", 2), (3, "p1", 3))
    expected = rows(FOUND, (1, 10, True), (2, None, None), (3, 30, True))
    assert_df_equality(found(history, orders), expected, ignore_row_order=True, ignore_nullable=True)


def test_of_versions_that_begin_together_the_last_one_holds(rows: Rows) -> None:
    history = versions(sequence="lsn").made(prices(rows, ("p1", 11, 1, None, 8), ("p1", 10, 1, None, 7)))
    assert versions().profile(history) == (2, None)
    expected, orders = rows(FOUND, (1, 11, True)), events(rows, (1, "p1", 1))
    for first in (F.asc, F.desc):
        kept = history.coalesce(1).sortWithinPartitions(first("_sequence"))
        assert_df_equality(found(kept, orders), expected, ignore_nullable=True)


def test_nothing_is_asked_for_without_a_key_or_a_time_or_with_a_reason(rows: Rows) -> None:
    history = versions().made(prices(rows, ("p1", 10, 1), (None, 5, 0)))
    orders = events(rows, (1, None, 2), (2, "p1", None), (3, "p1", 2, "CONSTRAINT"), (4, "p1", 2))
    expected = rows(FOUND, (1, None, None), (2, None, None), (3, None, None), (4, 10, True))
    assert_df_equality(found(history, orders), expected, ignore_row_order=True, ignore_nullable=True)


def test_a_column_that_both_have_gets_another_name(rows: Rows) -> None:
    history = Versions(["product"], ["price", "since"], "since").made(prices(rows, ("p1", 10, 1)))
    orders = events(rows, (1, "p1", 2)).withColumn("price", F.lit("mine"))
    seen = as_of(orders, history, ON, {}, "ordered_at").select("id", "price", "ref_price", "since")
    expected = rows("id INT, price STRING, ref_price INT, since TIMESTAMP", (1, "mine", 10, at(1)))
    assert_df_equality(seen, expected, ignore_nullable=True)


def test_a_key_may_have_several_columns_and_be_cast(rows: Rows) -> None:
    table = rows("shop INT, product INT, price INT, since DATE", (1, 5, 10, DAY.date()), (2, 5, 20, DAY.date()))
    history = Versions(["shop", "product"], ["price"], "since").made(table)
    orders = events(rows, (1, "5", 2), (2, "x", 2)).withColumn("store", F.lit(2))
    seen = as_of(orders, history, {"store": "shop", "product": "product"}, {"product": "INT"}, "ordered_at")
    expected = rows("id INT, price INT", (1, 20), (2, None))
    assert_df_equality(seen.select("id", "price"), expected, ignore_row_order=True, ignore_nullable=True)


@pytest.mark.parametrize(
    ("shape", "given", "why"),
    [
        (versions(**UNTIL), [("p1", 1, 1, 3), ("p1", 2, 2, 4)], "1 versions are wrong, such as one that overlaps"),
        (versions(**UNTIL), [("p1", 1, 1, None), ("p1", 2, 2, 4)], "overlaps the next one of its key"),
        (versions(**UNTIL), [("p1", 1, 1, 9), ("p1", 2, 2, 3), ("p1", 2, 4, 5)], "overlaps the next one of its key"),
        (versions(**UNTIL), [("p1", 1, 2, 1)], "ends before it begins"),
        (versions(valid_to="lsn"), [("p1", 1, 1, None, 4)], "has a valid_to that is no TIMESTAMP or DATE"),
        (versions(), [("p1", 1, 1), ("p1", 2, 1)], "no sequence tells which of them holds"),
        (versions(sequence="lsn"), [("p1", 1, 1, None, 4), ("p1", 2, 1, None, 4)], "no sequence tells"),
        (versions(), [("p1", 1, None)], "1 versions are wrong, such as one that has no valid_from"),
        (
            Versions(["product"], ["price"], "lsn"),
            [("p1", 1, 1, None, 4)],
            "has no valid_from, or one that is no TIMESTAMP",
        ),
        (versions(), [(None, 1, 1)], r"no row has a key \(product\)"),
    ],
)
def test_a_history_that_says_two_things_or_none_is_refused(
    rows: Rows, shape: Versions, given: list[tuple[Any, ...]], why: str
) -> None:
    wrong = shape.profile(shape.made(prices(rows, *given))).wrong
    assert wrong and re.search(why, wrong), wrong


def test_versions_that_touch_do_not_overlap(rows: Rows) -> None:
    shape = versions(**UNTIL)
    held = [("p1", 1, 1, 2), ("p1", 2, 2, None), (None, 3, 0, None), (None, 4, 0, None)]
    assert shape.profile(shape.made(prices(rows, *held))) == (4, None), "what has no key is nobody's version"


SPAN = st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 12), st.integers(1, 4), st.booleans())
ASKED = st.tuples(st.sampled_from([*"abcdefghi", None]), st.integers(-1, 14))


def _apart(spans: list[tuple[str, int, int, bool]]) -> list[tuple[str, int, int | None, bool]]:
    """Spans of a key that do not overlap: each ends where the next one begins, or before; the last one may have no end."""
    ends: list[tuple[str, int, int | None, bool]] = []
    for key, since, length, is_open in sorted(
        {(key, since): (key, since, *rest) for key, since, *rest in spans}.values()
    ):
        following = min((other for k, other, *_ in spans if k == key and other > since), default=None)
        until = None if is_open and following is None else min(since + length, following or since + length)
        ends.append((key, since, until, is_open))
    return ends


@pytest.mark.parametrize(("says_end", "many"), [(True, False), (False, True)])
@settings(
    max_examples=3,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.large_base_example],
)
@given(spans=st.lists(SPAN, min_size=20, max_size=60), asked=st.lists(ASKED, min_size=40, max_size=80))
def test_it_is_what_a_join_by_brute_force_gives(
    spark: SparkSession,
    rows: Rows,
    spans: list[tuple[str, int, int, bool]],
    asked: list[tuple[str | None, int]],
    says_end: bool,
    many: bool,
) -> None:
    table = prices(rows, *((key, n, since, until) for n, (key, since, until, _) in enumerate(_apart(spans))))
    orders = events(rows, *((n, key, day) for n, (key, day) in enumerate(asked)))
    shape = versions(**UNTIL) if says_end else versions()
    history = shape.made(table)
    assert shape.profile(history).wrong is None
    end = (
        "p.until" if says_end else "(SELECT min(q.since) FROM {p} q WHERE q.product = p.product AND q.since > p.since)"
    )
    joined = f"""
        SELECT o.id, t.price, CASE WHEN t.price IS NOT NULL THEN true END AS _matched
        FROM {{o}} o LEFT JOIN (SELECT p.*, {end} AS ends FROM {{p}} p) t
        ON o.product = t.product AND o.ordered_at >= t.since AND (t.ends IS NULL OR o.ordered_at < t.ends)
    """
    expected = spark.sql(joined, o=orders, p=table)
    assert_df_equality(found(history, orders, many), expected, ignore_row_order=True, ignore_nullable=True)


def test_what_a_history_adds_is_no_column_of_its_own(rows: Rows) -> None:
    history = versions().made(prices(rows, ("p1", 10, 1)))
    assert history.columns == ["product", *OURS[:4], "price", OURS[4]]
