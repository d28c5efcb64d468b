"""All steps of a job as one transform: their order, their states, and what is noted of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from chispa import assert_df_equality
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.core.enrichment.asking import STATE
from jobs.core.enrichment.chain import Chain
from jobs.core.enrichment.settings import Step
from jobs.core.enrichment.steps import FromExpressions, FromTable

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

    def prepare(self, now: datetime) -> None:
        self.called.append(now)

    def tick(self) -> None:
        self.called.append("tick")

    def note(self) -> dict[str, str]:
        return {f"of.{self.name}": "1"}

    def __call__(self, events: DataFrame) -> DataFrame:
        return events.withColumns({self.name: F.expr(self.text), STATE: F.lit(self.state)})


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


def test_only_a_lookup_looks_ahead() -> None:
    assert not Chain([FromExpressions("a", Step.model_validate({"expressions": {"a": "1"}}))]).looks_ahead


class Table:
    """Of customers, at one version."""

    version = "v7"

    def __init__(self, rows: DataFrame) -> None:
        self.current = lambda: rows


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
