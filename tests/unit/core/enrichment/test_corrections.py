"""Which rows of a sink a history now says something else about."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.core.enrichment.chain import Correcting
from jobs.core.enrichment.corrections import Corrections, _unanswered, latest, outdated
from jobs.core.enrichment.history import Versions
from jobs.core.enrichment.settings import Step
from jobs.core.enrichment.steps import FromHistory

Rows = Callable[..., DataFrame]
ROW = "product STRING, at TIMESTAMP, price INT, _topic STRING, _partition INT, _offset BIGINT, _revision INT"
PRICE = "product STRING, price INT, since TIMESTAMP"
GIVEN = {"as_of": {"delta": {"path": "data/p", "key": "product"}, "valid_from": "since"}, "on": {"product": "product"}}
DAY = datetime(2026, 1, 1, tzinfo=timezone.utc)


def at(day: int) -> datetime:
    return DAY + timedelta(days=day)


def row(offset: int, product: str | None, day: int, price: int | None, revision: int = 0) -> tuple[Any, ...]:
    return (product, at(day), price, "t", 0, offset, revision)


class Table:
    def __init__(self, rows: DataFrame) -> None:
        made = Versions(["product"], ["price"], "since").made(rows).withColumn("_reference_version", F.lit("v1"))
        self.current = lambda: made


def price(rows: Rows, *versions: tuple[str, int, int], **more: Any) -> Correcting:
    """A step over prices of products, by the day since when each holds."""
    table: Any = Table(rows(PRICE, *((product, price, at(day)) for product, price, day in versions)))
    return Correcting(FromHistory("price", Step.model_validate({**GIVEN, **more}), table, "at"), ["price"])


def test_the_greatest_revision_of_a_record_holds(rows: Rows) -> None:
    found = latest(rows(ROW, row(0, "p1", 1, 10), row(1, "p1", 1, 10), row(1, "p1", 1, 11, 1), row(1, "p1", 1, 12, 2)))
    expected = rows(ROW, row(0, "p1", 1, 10), row(1, "p1", 1, 12, 2))
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)


def test_only_rows_of_which_a_history_says_something_else_are_outdated(rows: Rows) -> None:
    step = price(rows, ("p1", 10, 1), ("p1", 20, 5), ("p2", 7, 9))
    same = [row(0, "p1", 1, 10), row(1, "p1", 6, 20), row(2, "p2", 8, None), row(3, None, 8, None)]
    other = [row(4, "p1", 6, 10), row(5, "p2", 9, None), row(6, "p3", 9, 5), row(7, "p1", 5, 11, 1)]
    found = outdated(rows(ROW, *same, *other), [step], at(0))
    assert_df_equality(found, rows(ROW, *other), ignore_row_order=True, ignore_nullable=True)


def test_a_default_is_what_a_history_says_where_it_has_no_version(rows: Rows) -> None:
    step = price(rows, ("p1", 10, 5), default={"price": "-1"})
    same, other = [row(0, "p1", 6, 10), row(1, "p1", 4, -1), row(2, "p2", 4, -1)], row(3, "p1", 5, -1)
    found = outdated(rows(ROW, *same, other), [step], at(0))
    assert_df_equality(found, rows(ROW, other), ignore_nullable=True)


def test_rows_of_older_events_stay(rows: Rows) -> None:
    step = price(rows, ("p1", 10, 1))
    found = outdated(rows(ROW, row(0, "p1", 2, 99), row(1, "p1", 3, 99)), [step], at(3))
    assert_df_equality(found, rows(ROW, row(1, "p1", 3, 99)), ignore_nullable=True)


def test_what_had_no_answer_is_due_again_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    now, whole, corrected = [DAY], [False, False, True], list[datetime]()

    def correct(self: Corrections, at: datetime, versions: dict[str, str]) -> bool:
        corrected.append(at)
        return whole.pop(0)

    monkeypatch.setattr(Corrections, "_correct", correct)
    batch: Any = SimpleNamespace(clock=lambda: now[0], in_doubt=False)
    chain: Any = SimpleNamespace(note=lambda: {"reference_version.price": "v1"})
    sink: Any = SimpleNamespace(exists=lambda: True)
    made = Corrections(batch, chain, sink, T.StructType(), timedelta(days=1))
    for seconds in (0, 59, 60, 119, 120, 300):
        now[0] = DAY + timedelta(seconds=seconds)
        made.tick()
    assert [(at - DAY).total_seconds() for at in corrected] == [0, 60, 120]


def test_only_rows_that_a_service_did_not_answer_for_are_due_again(rows: Rows) -> None:
    judged = [(1, None, None), (2, "NO_ANSWER", None), (3, "WAITING", "NO_ANSWER"), (4, "WAITING", "NO_REFERENCE")]
    found = rows("id INT, _reason STRING, _instead STRING", *judged, (5, "NO_REFERENCE", None))
    assert [row["id"] for row in found.filter(_unanswered(found)).orderBy("id").collect()] == [2, 3]
    without = found.drop("_instead")
    assert [row["id"] for row in without.filter(_unanswered(without)).collect()] == [2]
