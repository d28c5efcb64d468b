from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.core import delta_log
from jobs.core.errors import ReplayRefused
from jobs.core.events import swapping

STATES = "stream_id STRING, stream_version BIGINT, name STRING"
OLD = (("u1", 1, "Ann"), ("it's\\", 1, "Bo"))
Swap = Callable[..., None]


@pytest.fixture
def swap(rows: Callable[..., DataFrame], folder: Path) -> Swap:
    """These rows, by a run, for some streams or for all."""

    def put(run: str, *states: tuple[object, ...], streams: tuple[str, ...] = (), ddl: str = STATES) -> None:
        swapping.swap(rows(ddl, *states), f"{folder}/t", streams, run, json.dumps({"run": run}))

    return put


@pytest.fixture
def holds(spark: SparkSession, rows: Callable[..., DataFrame], folder: Path) -> Callable[..., None]:
    def check(*states: tuple[object, ...], ddl: str = STATES) -> None:
        found = spark.read.format("delta").load(f"{folder}/t")
        assert_df_equality(found, rows(ddl, *states), ignore_row_order=True)

    return check


def test_all_states_are_replaced_in_one_commit(swap: Swap, holds: Swap, spark: SparkSession, folder: Path) -> None:
    swap("first", *OLD)
    swap("second", ("u1", 2, "Anna"))
    holds(("u1", 2, "Anna"))
    assert delta_log.version(spark, f"{folder}/t") == 1


def test_a_run_is_taken_once(swap: Swap, holds: Swap, spark: SparkSession, folder: Path) -> None:
    swap("first", *OLD)
    swap("first", ("u9", 1, "Zoe"))
    holds(*OLD)
    path = f"{folder}/t"
    assert swapping.is_swapped(spark, path, -1, "first")
    assert not swapping.is_swapped(spark, path, 0, "first"), "no commit is newer"
    assert not swapping.is_swapped(spark, path, -1, "second")


def test_some_streams_are_replaced_alone(swap: Swap, holds: Swap) -> None:
    """Quotes and backslashes in their names are theirs."""
    swap("first", *OLD)
    swap("second", ("it's\\", 2, "Bob"), streams=("it's\\", "u2"))
    holds(OLD[0], ("it's\\", 2, "Bob"))


def test_other_columns_replace_all_states_but_not_some(swap: Swap, holds: Swap) -> None:
    swap("first", *OLD)
    wider = f"{STATES}, age INT"
    with pytest.raises(ReplayRefused, match="some streams alone cannot change that"):
        swap("second", ("u1", 2, "Anna", 7), streams=("u1",), ddl=wider)
    holds(*OLD)
    swap("third", ("u1", 2, "Anna", 7), ddl=wider)
    holds(("u1", 2, "Anna", 7), ddl=wider)


def test_a_table_of_something_else_is_not_replaced(swap: Swap, spark: SparkSession, folder: Path) -> None:
    spark.range(3).write.format("delta").save(f"{folder}/t")
    with pytest.raises(ReplayRefused, match="it has the columns id, which no replay writes"):
        swap("first", *OLD)


def test_what_commits_say_of_themselves(swap: Swap, spark: SparkSession, folder: Path) -> None:
    path = f"{folder}/t"
    assert list(swapping.said(spark, path)) == []
    swap("first", *OLD)
    spark.sql(f"UPDATE delta.`{path}` SET name = 'x'")
    noted = spark.read.format("delta").load(path).write.format("delta").mode("append")
    for note in ("no JSON", '["a list"]'):
        noted.option("userMetadata", note).save(path)
    assert list(swapping.said(spark, path)) == [
        ("WRITE", {}),
        ("WRITE", {}),
        ("UPDATE", {}),
        ("WRITE", {"run": "first"}),
    ]
