from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.events.fitting import fields, fitted, unfit
from jobs.core.events.folds import Fold

EVENT = "stream_id STRING, stream_version BIGINT, event_type STRING, data STRING"
FOLD = Fold.model_validate(
    {
        "state": "name STRING, age INT, tags ARRAY<STRING>",
        "events": {"created": "set", "grown": {"increment": {"age": "by"}}, "tagged": {"append": {"tags": "tag"}}},
    }
)


def variants(events: DataFrame) -> DataFrame:
    return events.withColumn("data", F.parse_json("data"))


def texts(events: DataFrame) -> DataFrame:
    return events


def test_what_is_read_are_columns_and_what_rules_name(spark: SparkSession) -> None:
    kinds = {"name": "string", "age": "int", "tags": "array<string>", "by": "int", "tag": "string"}
    assert {field.name: field.dataType.simpleString() for field in fields(FOLD)} == kinds
    sums = Fold.model_validate({"state": FOLD.state, "events": {"grown": {"increment": {"age": "by"}}}})
    assert [field.name for field in fields(sums)] == ["by"]


@pytest.mark.parametrize("stored", [texts, variants])
@pytest.mark.parametrize(
    ("data", "values", "given"),
    [
        ('{"name": "Ann", "age": 7, "tags": ["x", null]}', ("Ann", 7, ["x", None]), (True, True, True)),
        ('{"name": null, "age": null}', (None, None, None), (True, True, False)),
        ('{"name": "null"}', ("null", None, None), (True, False, False)),
        ('{"x": {"name": null}, "Age": null}', (None, None, None), (False, False, False)),
        ('{"n\\u0061me": null}', (None, None, None), (True, False, False)),
        ("{}", (None, None, None), (False, False, False)),
    ],
)
def test_absent_is_not_null(
    rows: Callable[..., DataFrame],
    stored: Callable[[DataFrame], DataFrame],
    data: str,
    values: tuple[Any, ...],
    given: tuple[bool, ...],
) -> None:
    names = ("name", "age", "tags")
    found = fitted(stored(rows(EVENT, ("s", 1, "created", data))), FOLD)
    flat = found.select(
        *(f"_values.{name}" for name in names), *(F.col("_given")[name].alias(f"g_{name}") for name in names)
    )
    wanted = rows(f"{FOLD.state}, g_name BOOLEAN, g_age BOOLEAN, g_tags BOOLEAN", (*values, *given))
    assert_df_equality(flat, wanted, ignore_nullable=True)


def test_a_text_may_have_been_an_object_or_an_array(rows: Callable[..., DataFrame]) -> None:
    data = [("s", number, "created", data) for number, data in enumerate(('{"name": [1, "a"]}', '{"name": {"a": 1}}'))]
    found = fitted(rows(EVENT, *data), FOLD).select("_values.name")
    assert_df_equality(found, rows("name STRING", ('[1,"a"]',), ('{"a":1}',)), ignore_nullable=True)


BAD = [
    ("s", 1, "created", '{"age": "x"}'),
    ("s", 2, "created", '{"age": 2147483648}'),
    ("s", 3, "tagged", '{"tags": 5}'),
    ("s", 4, "grown", '{"by": {}}'),
]
GOOD = [("s", 5, "created", '{"age": 1}'), ("s", 6, "other", '{"age": "x"}'), ("s", 7, "created", '{"x": "x"}')]


@pytest.mark.parametrize("stored", [texts, variants])
def test_events_that_do_not_fit_are_found(
    rows: Callable[..., DataFrame], stored: Callable[[DataFrame], DataFrame]
) -> None:
    found = unfit(stored(rows(EVENT, *BAD, *GOOD)), FOLD).drop("data")
    detail = "$.data: fields of another type than the state name STRING, age INT, tags ARRAY<STRING>"
    wanted = rows(
        "stream_id STRING, stream_version BIGINT, event_type STRING, _reason STRING, _detail STRING",
        *((*event[:3], "WRONG_TYPE", detail) for event in BAD),
    )
    assert_df_equality(found, wanted, ignore_nullable=True, ignore_row_order=True)


@pytest.mark.parametrize("stored", [texts, variants])
def test_one_that_does_not_fit_fails_the_query_and_is_named(
    rows: Callable[..., DataFrame], stored: Callable[[DataFrame], DataFrame]
) -> None:
    fitted(stored(rows(EVENT, *GOOD)), FOLD).collect()
    with pytest.raises(PySparkException, match="stream s, version 2: data of created do not fit the fold"):
        fitted(stored(rows(EVENT, *GOOD, BAD[1])), FOLD).select("stream_version").collect()


def test_a_fold_that_reads_no_data_takes_any(rows: Callable[..., DataFrame]) -> None:
    counts = Fold.model_validate({"state": "n INT", "events": {"created": {"increment": {"n": 1}}}})
    assert unfit(rows(EVENT, *BAD, *GOOD), counts).count() == 0
