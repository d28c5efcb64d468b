"""All steps of a job as one transform: their order, their states, and what is noted of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.core.enrichment.asking import STATE
from jobs.core.enrichment.chain import Chain
from jobs.core.enrichment.history import Versions
from jobs.core.enrichment.settings import Step
from jobs.core.enrichment.steps import FromExpressions, FromHistory, FromTable
from jobs.core.errors import ConfigError

Rows = Callable[..., DataFrame]
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
EVENT = "id INT, _reason STRING, _detail STRING"


@dataclass
class Adds:
    """A step that adds one column, and a state unless it has none."""

    name: str
    text: str
    state: str | None
    called: list[Any] = field(default_factory=list)
    looks_ahead: bool = False

    def prepare(self, now: datetime) -> None:
        self.called.append(now)

    def tick(self) -> None:
        self.called.append("tick")

    def note(self) -> dict[str, str]:
        return {f"of.{self.name}": "1"}

    def __call__(self, events: DataFrame) -> DataFrame:
        return events.withColumns({self.name: F.expr(self.text), **({STATE: F.lit(self.state)} if self.tells else {})})

    @property
    def tells(self) -> bool:
        return self.state is not None


def test_each_step_sees_the_columns_before_it_and_has_its_state_unless_it_has_none(rows: Rows) -> None:
    chain = Chain([Adds("a", "id + 1", "fresh"), Adds("b", "a * 10", None), Adds("c", "a + b", "missed")])
    found = chain(rows(EVENT, (1, None, None))).withColumn("_enrichment", F.to_json("_enrichment"))
    expected = rows(
        f"{EVENT}, a INT, b INT, c INT, _enrichment STRING", (1, None, None, 2, 20, 22, '{"a":"fresh","c":"missed"}')
    )
    assert_df_equality(found, expected, ignore_nullable=True)


def test_all_steps_are_prepared_ticked_and_noted() -> None:
    steps = [Adds("a", "1", None), Adds("b", "2", None)]
    chain = Chain(steps)
    chain.prepare(NOON)
    chain.tick()
    assert [step.called for step in steps] == [[NOON, "tick"]] * 2
    assert chain.note() == {"of.a": "1", "of.b": "1"}


def test_expressions_see_the_columns_before_them_and_have_no_state(rows: Rows) -> None:
    double = FromExpressions("double", Step.model_validate({"expressions": {"twice": "CAST(rate * 2 AS INT)"}}))
    chain = Chain([Adds("rate", "id + 0.5", "fresh"), double])
    found = chain(rows(EVENT, (1, None, None))).select("id", "twice", "_enrichment")
    expected = rows("id INT, twice INT, _enrichment MAP<STRING, STRING>", (1, 3, {"rate": "fresh"}))
    assert found.collect() == expected.collect()


def test_only_a_lookup_looks_ahead() -> None:
    assert not Chain([FromExpressions("a", Step.model_validate({"expressions": {"a": "1"}}))]).looks_ahead


def test_a_step_that_looks_ahead_makes_its_chain_do_so(rows: Rows) -> None:
    table: Any = Table(rows("key INT, _reference_version STRING", (1, "v7")))
    few, many = (FromHistory("a", Step.model_validate(PRICE), table, "at", many) for many in (False, True))
    assert (Chain([few]).looks_ahead, Chain([few, many]).looks_ahead) == (False, True)


class Table:
    """Of customers, at one version."""

    version = "v7"

    def __init__(self, rows: DataFrame) -> None:
        self.current = lambda most=None: rows


def test_a_table_is_joined_at_its_version_which_is_noted(rows: Rows) -> None:
    table: Any = Table(rows("key INT, name STRING, _reference_version STRING", (1, "Ann", "v7")))
    given = {"table": {"delta": {"path": "data/c", "key": "key"}}, "on": {"id": "key"}, "on_miss": "dead_letter"}
    chain = Chain([FromTable("customer", Step.model_validate(given), table)])
    found = chain(rows(EVENT, (1, None, None), (2, None, None), (1, "FUTURE", "d")))
    shown = found.withColumn("_enrichment", F.to_json("_enrichment"))
    expected = rows(
        f"{EVENT}, name STRING, _enrichment STRING",
        (1, None, None, "Ann", '{"customer":"fresh"}'),
        (2, "NO_REFERENCE", "customer: no row for id", None, '{"customer":"missed"}'),
        (1, "FUTURE", "d", "Ann", '{"customer":"fresh"}'),
    )
    assert_df_equality(shown, expected, ignore_row_order=True, ignore_column_order=True, ignore_nullable=True)
    assert chain.note() == {"reference_version.customer": "v7"}


PRICE = {"as_of": {"delta": {"path": "data/p", "key": "key"}, "valid_from": "since"}, "on": {"id": "key"}}


@pytest.mark.parametrize("many", [False, True])
def test_an_event_gets_the_version_that_held_at_its_time(rows: Rows, many: bool) -> None:
    history = rows("key INT, price INT, since TIMESTAMP", (1, 10, NOON), (1, 20, NOON + timedelta(hours=2)))
    table: Any = Table(
        Versions(["key"], ["price"], "since").made(history).withColumn("_reference_version", F.lit("v7"))
    )
    step = Step.model_validate({**PRICE, "on_miss": "dead_letter"})
    chain = Chain([FromHistory("price", step, table, "at", many)])
    event = f"{EVENT}, at TIMESTAMP, _partition INT, _offset BIGINT"
    events = rows(
        event,
        (1, None, None, NOON + timedelta(hours=1), 0, 1),
        (1, None, None, NOON - timedelta(hours=1), 0, 2),
        (1, "FUTURE", "d", NOON, 0, 3),
    )
    shown = chain(events).select("_offset", "price", "_reason", "_detail", F.to_json("_enrichment").alias("told"))
    expected = rows(
        "_offset BIGINT, price INT, _reason STRING, _detail STRING, told STRING",
        (1, 10, None, None, '{"price":"fresh"}'),
        (2, None, "NO_REFERENCE", "price: no row for id", '{"price":"missed"}'),
        (3, None, "FUTURE", "d", '{"price":"missed"}'),
    )
    assert_df_equality(shown, expected, ignore_row_order=True, ignore_nullable=True)


@pytest.mark.parametrize(("at", "found"), [("id", "id is int"), ("when", "when is no column")])
def test_what_is_no_time_is_told(rows: Rows, at: str, found: str) -> None:
    table: Any = Table(rows("key INT, _reference_version STRING", (1, "v7")))
    with pytest.raises(ConfigError, match=found):
        FromHistory("price", Step.model_validate(PRICE), table, at)(rows(EVENT, (1, None, None)))
