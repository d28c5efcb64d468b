"""All steps of a job as one transform: their order, their states, and what is noted of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.core.enrichment.asking import STATE
from jobs.core.enrichment.chain import Chain
from jobs.core.enrichment.settings import Step
from jobs.core.enrichment.steps import FromExpressions, FromHistory
from jobs.core.errors import ConfigError

Rows = Callable[..., DataFrame]
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
EVENT = "id INT, _reason STRING, _detail STRING"
PRICE: dict[str, Any] = {
    "as_of": {"delta": {"path": "data/p", "key": "key"}, "valid_from": "since"},
    "on": {"id": "key"},
}


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


def test_a_step_that_looks_ahead_makes_its_chain_do_so() -> None:
    table: Any = None
    few, many = (FromHistory("a", Step.model_validate(PRICE), table, "at", many) for many in (False, True))
    assert (Chain([few]).looks_ahead, Chain([few, many]).looks_ahead) == (False, True)


def test_what_rows_are_corrected_by_stays_as_it_came(rows: Rows) -> None:
    table: Any = None
    late = {**PRICE, "as_of": {**PRICE["as_of"], "on_late": "re_emit"}}
    corrected = FromHistory("price", Step.model_validate(late), table, "at")
    louder = FromExpressions("louder", Step.model_validate({"expressions": {"A": "a + 1"}}))
    chain = Chain([Adds("a", "1", None), louder, corrected])
    with pytest.raises(ConfigError, match=r"enrich\.louder\.expressions\.A.*another name"):
        chain(rows(EVENT, (1, None, None)))


def test_a_step_whose_events_may_wait_brings_no_column_more() -> None:
    table: Any = None
    late = {**PRICE, "as_of": {**PRICE["as_of"], "on_late": "re_emit"}, "on_miss": "wait"}
    chain = Chain([FromHistory("price", Step.model_validate(late), table, "at")])
    (found,) = chain.correcting([["id", "_reason"], ["id", "_reason", "price", "_instead"]])
    assert found.names == ["price"]
