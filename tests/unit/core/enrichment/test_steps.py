"""Each step that has rows at hand, on literal rows: what it adds, and what becomes of a row for which it has nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.core.enrichment.chain import Chain
from jobs.core.enrichment.history import Versions
from jobs.core.enrichment.settings import Step
from jobs.core.enrichment.steps import FromHistory, FromStream, FromTable
from jobs.core.errors import ConfigError

Rows = Callable[..., DataFrame]
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
EVENT = "id INT, _reason STRING, _detail STRING"


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


@pytest.mark.parametrize(("policy", "reason"), [("keep", None), ("dead_letter", "NO_REFERENCE")])
def test_an_event_that_no_record_of_another_stream_has_joined_is_a_miss(
    rows: Rows, policy: str, reason: str | None
) -> None:
    stream = {
        "kafka": {"topic": "p"},
        "schema": "id INT, amount INT, at TIMESTAMP",
        "event_time": "at",
        "key": "id",
        "after": "1h",
    }
    default = {"default": {"amount": "-1"}} if policy == "keep" else {}
    step = Step.model_validate({"stream": stream, "on": {"id": "id"}, "on_miss": policy, **default})
    joined = rows(f"{EVENT}, amount INT, _joined BOOLEAN", (1, None, None, 5, True), (2, None, None, None, None))
    found = Chain([FromStream("paid", step, ["amount"])])(joined)
    shown = found.select("id", "amount", "_reason", F.to_json("_enrichment").alias("told"))
    missed = (2, -1, None, '{"paid":"default"}') if policy == "keep" else (2, None, reason, '{"paid":"missed"}')
    expected = rows("id INT, amount INT, _reason STRING, told STRING", (1, 5, None, '{"paid":"fresh"}'), missed)
    assert_df_equality(shown, expected, ignore_row_order=True, ignore_nullable=True)
