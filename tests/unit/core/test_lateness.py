"""What is late, what moves the bound, and what a record of the ledger carries on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.core.config import JobConfig
from jobs.core.lateness import NEWEST, JudgedByPlan, Lateness, bound, lasting
from jobs.core.ledger import Counts, Entry
from jobs.core.sinks.tables import DeltaTableSink
from jobs.core.sinks.views import ConsoleSink

Rows = Callable[..., DataFrame]
DECODED = "at TIMESTAMP, _topic STRING, _partition INT, _offset BIGINT, _reason STRING, _detail STRING"
TEN_MINUTES = Lateness("at", timedelta(minutes=10), ConsoleSink(1))
NOON = "2026-01-01T12:00:00.000000+00:00"
NO_LEASE: Any = None
DETAIL = "at: 600 s or more behind the newest event"


def entry(**note: str) -> Entry:
    return Entry("batch", "join", "q1", 0, "[null]", "[1]", Counts(), "t0", {}, note)


def record(offset: int, at: str | None, reason: str | None = None, detail: str | None = None) -> tuple[Any, ...]:
    return (at and datetime.fromisoformat(f"2026-01-01T{at}"), "t", 0, offset, reason, detail)


GIVEN = [record(0, "11:50:00"), record(1, "11:50:00.000001"), record(2, None), record(3, None, "FUTURE", "f")]


def test_late_is_what_lies_as_far_behind_as_the_bound_or_further(rows: Rows) -> None:
    found = TEN_MINUTES.judge(rows(DECODED, *GIVEN), entry(**{NEWEST: NOON}), None)
    expected = rows(DECODED, record(0, "11:50:00", "LATE", DETAIL), *GIVEN[1:])
    assert_df_equality(found, expected, ignore_nullable=True)


def test_what_comes_again_was_in_time_once(rows: Rows) -> None:
    given = rows(DECODED, record(0, "11:50:00"))
    again = replace(TEN_MINUTES, besides="t").judge(given, entry(**{NEWEST: NOON}), None)
    assert_df_equality(again, given, ignore_nullable=True)


@pytest.mark.parametrize("last", [None, entry(), entry(reference_version="v1")], ids=["none", "no note", "another"])
def test_before_there_is_a_newest_nothing_is_late(rows: Rows, last: Entry | None) -> None:
    given = rows(DECODED, *GIVEN)
    assert TEN_MINUTES.judge(given, last, None) is given


def test_what_the_sink_holds_already_is_not_late(rows: Rows) -> None:
    held = rows("_topic STRING, _partition INT, _offset BIGINT", ("t", 0, 0), ("t", 0, 0), ("t", 1, 4))
    given = [record(0, "09:00:00"), record(4, "09:00:00")]
    found = TEN_MINUTES.judge(rows(DECODED, *given), entry(**{NEWEST: NOON}), held)
    expected = rows(DECODED, given[0], record(4, "09:00:00", "LATE", DETAIL))
    assert_df_equality(found, expected, ignore_nullable=True, ignore_row_order=True)


def test_only_good_records_are_looked_at_for_the_newest(rows: Rows) -> None:
    given = [record(0, "11:00:00"), record(1, "11:00:00.000003"), record(2, None), record(3, "13:00:00", "CONSTRAINT")]
    assert TEN_MINUTES.noted(None, newest(rows, *given)) == {NEWEST: "2026-01-01T11:00:00.000003+00:00"}
    assert newest(rows, given[3]) is newest(rows) is None


def newest(rows: Rows, *given: tuple[Any, ...]) -> int | None:
    row = rows(DECODED, *given).agg(TEN_MINUTES.newest()).first()
    assert row is not None
    found: int | None = row[0]
    return found


def test_the_newest_never_goes_back() -> None:
    noon = 1_767_268_800_000_000
    before = entry(**{NEWEST: NOON, "reference_version": "v1"})
    assert TEN_MINUTES.noted(before, noon - 1) == TEN_MINUTES.noted(before, None) == {NEWEST: NOON}
    assert TEN_MINUTES.noted(before, noon + 1) == {NEWEST: "2026-01-01T12:00:00.000001+00:00"}
    assert TEN_MINUTES.noted(None, None) == {}


def test_what_the_next_record_carries_on() -> None:
    assert lasting({NEWEST: NOON, "how": "from-ledger"}) == {NEWEST: NOON}
    assert lasting({"how": "from-ledger"}) == {}


def test_no_bound_unless_the_config_has_one(spark: SparkSession) -> None:
    source = {"file": {"path": "in"}, "schema": "at TIMESTAMP", "event_time": "at"}
    late = {"max_lateness": "10m", "to": {"delta": {"path": "data/late"}}}
    dead = {"delta": {"path": "data/dead"}}
    whole = {"job": "j", "sink": {"console": {}}, "dead_letters": dead, "checkpoint": "data/cp"}
    assert bound(spark, JobConfig.model_validate({**whole, "source": source}), NO_LEASE) is None
    made = bound(spark, JobConfig.model_validate({**whole, "source": {**source, "late": late}}), NO_LEASE)
    assert made and isinstance(made.to, DeltaTableSink)
    assert (made.column, made.allowed, made.to.path) == ("at", timedelta(minutes=10), "data/late")


def test_what_a_plan_has_judged_is_not_judged_again(rows: Rows) -> None:
    nowhere: Any = None
    given, judged = rows(DECODED, *GIVEN), JudgedByPlan(nowhere)
    assert judged.judge(given, entry(**{NEWEST: NOON}), None) is given
    row = given.agg(judged.newest()).first()
    assert row is not None
    assert (row[0], judged.noted(entry(**{NEWEST: NOON}), None)) == (None, {})
