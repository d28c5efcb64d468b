"""Refresh, rejection and staleness, on a Delta table and a clock that the test turns."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from jobs.core.config import Reference
from jobs.core.connections import Breaker
from jobs.core.errors import DependencyMissing, ReferenceStale
from jobs.core.reference import ReferenceTable, Status
from jobs.core.reference_rows import OneRowAKey
from jobs.core.reference_sources import DeltaReferenceSource

CUSTOMER = "customer_id STRING, segment STRING"
Write = Callable[..., None]


class Clock:
    """A clock that stands until it is moved."""

    now = datetime(2026, 1, 1, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def write(rows: Callable[..., DataFrame], tmp_path: Path) -> Write:
    """Makes the next version of the reference table."""

    def version(schema: str, *values: tuple[Any, ...]) -> None:
        frame = rows(schema, *values).write.format("delta").mode("overwrite")
        frame.option("overwriteSchema", True).save(str(tmp_path / "customers"))

    return version


def settings(path: Path, **more: Any) -> Reference:
    delta = {"path": str(path / "customers"), "key": "customer_id"}
    return Reference.model_validate({"delta": delta, "refresh": {"every": "10s"}, **more})


def seen(table: ReferenceTable) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in table.current().collect())


def test_a_new_version_is_swapped_in_when_it_is_due(
    spark: SparkSession, write: Write, clock: Clock, tmp_path: Path
) -> None:
    write(CUSTOMER, ("c1", "gold"))
    table = ReferenceTable(spark, settings(tmp_path), None, clock, Breaker())
    write(CUSTOMER, ("c1", "silver"), ("c2", "gold"))
    clock.wait(9)
    table.tick()
    assert seen(table) == [("c1", "gold", "v0")]
    clock.wait(1)
    table.tick()
    assert seen(table) == [("c1", "silver", "v1"), ("c2", "gold", "v1")]


def test_an_unchanged_table_is_not_loaded_again(
    spark: SparkSession, write: Write, clock: Clock, tmp_path: Path
) -> None:
    write(CUSTOMER, ("c1", "gold"))
    table = ReferenceTable(spark, settings(tmp_path), None, clock, Breaker())
    before = table.current()
    clock.wait(10)
    assert table.status() == Status("v0", 10.0, None, 0)
    table.tick()
    assert table.current().semanticHash() == before.semanticHash()
    assert table.status() == Status("v0", 0.0, None, 0)


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        (CUSTOMER, []),
        (CUSTOMER, [(None, "gold")]),
        (CUSTOMER, [("c1", "gold"), ("c1", "silver")]),
        ("customer_id STRING", [("c1",)]),
        ("customer_id STRING, segment INT", [("c1", 1)]),
    ],
    ids=["empty", "no key", "a key twice", "a column gone", "a type changed"],
)
def test_a_bad_version_is_rejected_and_the_old_one_kept(
    spark: SparkSession, write: Write, clock: Clock, tmp_path: Path, schema: str, values: list[tuple[Any, ...]]
) -> None:
    write(CUSTOMER, ("c1", "gold"))
    table = ReferenceTable(spark, settings(tmp_path), None, clock, Breaker())
    write(schema, *values)
    clock.wait(10)
    table.tick()
    assert seen(table) == [("c1", "gold", "v0")]
    assert table.status() == Status("v0", 10.0, None, 1)
    clock.wait(10)
    table.tick()
    assert table.status() == Status("v0", 20.0, None, 1), "it is still the same one"
    write(CUSTOMER, ("c1", "good again"))
    clock.wait(10)
    table.tick()
    assert seen(table) == [("c1", "good again", "v2")]


def test_a_version_without_a_column_that_the_config_names_is_counted(
    spark: SparkSession, write: Write, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(CUSTOMER, ("c1", "gold"))
    named = {"path": str(tmp_path / "customers"), "key": "customer_id", "columns": ["segment"]}
    table = ReferenceTable(spark, settings(tmp_path, delta=named), None, clock, Breaker())
    write("customer_id STRING", ("c1",))
    clock.wait(10)
    table.tick()
    assert (seen(table), table.status()) == ([("c1", "gold", "v0")], Status("v0", 10.0, None, 1))
    assert "version v1 rejected: " in caplog.text and "`segment` cannot be resolved" in caplog.text


def test_columns_that_change_while_they_are_read_make_no_version(
    spark: SparkSession, write: Write, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a table is altered between the question for its columns and the one for its rows."""
    write(CUSTOMER, ("c1", "gold"))
    table = ReferenceTable(spark, settings(tmp_path), None, clock, Breaker())
    write(CUSTOMER, ("c1", "silver"))
    whole, altered = OneRowAKey.profile, "customer_id STRING, segment INT"
    monkeypatch.setattr(OneRowAKey, "profile", lambda shape, rows: (whole(shape, rows), write(altered, ("c1", 1)))[0])
    monkeypatch.setattr(DeltaReferenceSource, "rows", newest_rows)
    clock.wait(10)
    table.tick()
    assert (seen(table), table.rejected) == ([("c1", "gold", "v0")], 1)


def newest_rows(source: DeltaReferenceSource, mark: Any) -> DataFrame:
    """As a database gives them: those that there are now."""
    return source._spark.read.format("delta").load(source.address)


def test_a_column_more_is_no_defect(spark: SparkSession, write: Write, clock: Clock, tmp_path: Path) -> None:
    write(CUSTOMER, ("c1", "gold"))
    table = ReferenceTable(spark, settings(tmp_path), None, clock, Breaker())
    write(f"{CUSTOMER}, country STRING", ("c1", "gold", "SE"))
    clock.wait(10)
    table.tick()
    assert (table.version, table.rejected) == ("v1", 0)


def test_keys_that_are_null_may_be_many(spark: SparkSession, write: Write, clock: Clock, tmp_path: Path) -> None:
    write(CUSTOMER, (None, "a"), (None, "b"), ("c1", "gold"))
    assert ReferenceTable(spark, settings(tmp_path), None, clock, Breaker()).version == "v0"


@pytest.mark.parametrize("values", [[], [("c1", "gold"), ("c1", "silver")]], ids=["empty", "a key twice"])
def test_a_bad_first_version_stops_the_start(
    spark: SparkSession, write: Write, clock: Clock, tmp_path: Path, values: list[tuple[Any, ...]]
) -> None:
    write(CUSTOMER, *values)
    with pytest.raises(DependencyMissing, match="reference table .*customers"):
        ReferenceTable(spark, settings(tmp_path), None, clock, Breaker())


def test_past_max_staleness_on_stale_decides(spark: SparkSession, write: Write, clock: Clock, tmp_path: Path) -> None:
    write(CUSTOMER, ("c1", "gold"))
    strict = ReferenceTable(spark, settings(tmp_path, max_staleness="25s"), None, clock, Breaker())
    patient = ReferenceTable(spark, settings(tmp_path, max_staleness="25s", on_stale="serve"), None, clock, Breaker())
    write(CUSTOMER)
    for _ in range(2):
        clock.wait(10)
        strict.tick()
        patient.tick()
        assert not patient.status().stale
    clock.wait(10)
    with pytest.raises(ReferenceStale, match="is 30 s old, 25 s are allowed: version v1 rejected: it has no rows"):
        strict.tick()
    patient.tick()
    assert seen(patient) == [("c1", "gold", "v0")] and patient.status().stale


def test_a_table_too_large_to_broadcast_is_shuffled(
    spark: SparkSession, write: Write, clock: Clock, tmp_path: Path
) -> None:
    write(CUSTOMER, *((f"c{number}", "gold") for number in range(3)))
    table = ReferenceTable(spark, settings(tmp_path), None, clock, Breaker())
    plans = []
    for limit in (3, 2):
        events = spark.range(10).selectExpr("concat('c', id) AS customer_id")
        joined = events.join(table.current(limit), "customer_id", "left")
        plans.append(joined._jdf.queryExecution().executedPlan().toString())
    assert "BroadcastHashJoin" in plans[0]
    assert "BroadcastHashJoin" not in plans[1] and "ShuffledHashJoin" in plans[1]


def test_a_table_that_does_not_answer_is_left_alone_for_a_while(
    spark: SparkSession, write: Write, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(CUSTOMER, ("c1", "gold"))
    breaker = Breaker.model_validate({"min_calls": 2, "open_for": "25s", "probes": 1})
    table = ReferenceTable(spark, settings(tmp_path), None, clock, breaker)
    asked = []

    def gone(_: DeltaReferenceSource) -> None:
        asked.append(clock())
        raise PySparkException("away") from ConnectionRefusedError("refused")

    with monkeypatch.context() as away:
        away.setattr(DeltaReferenceSource, "mark", gone)
        for state in ["closed", "open", "open", "open"]:
            clock.wait(10)
            table.tick()
            assert table.status().breaker == state
    assert len(asked) == 2
    write(CUSTOMER, ("c1", "silver"))
    clock.wait(10)
    table.tick()
    assert (seen(table), table.status().breaker) == ([("c1", "silver", "v1")], "closed")


def test_a_load_is_not_slow_however_long_it_takes_and_a_question_is(
    spark: SparkSession, write: Write, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaker = Breaker.model_validate({"min_calls": 1, "slow_call": "5s", "slow_rate": 0.5})
    took = [1, 6]
    source = SimpleNamespace(mark=lambda: clock.wait(took.pop(0)), name="t", address="t", keys=["customer_id"])
    write(CUSTOMER, ("c1", "gold"))
    table = ReferenceTable(spark, settings(tmp_path), None, clock, breaker)
    known = table._current
    monkeypatch.setattr(table, "_source", source)
    monkeypatch.setattr(table, "_load", lambda mark: clock.wait(3600) or known)
    for state in ["closed", "open"]:
        clock.wait(10)
        table.tick()
        assert table.status().breaker == state
