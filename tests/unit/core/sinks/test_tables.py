from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from jobs.core.sinks import Mark
from jobs.core.sinks.tables import DeltaTableSink, ParquetSink

ROW = "id INT, day STRING, _topic STRING, _partition INT, _offset BIGINT"
HELD = "_topic STRING, _partition INT, _offset BIGINT"
MARK = Mark("join", "q1", 3, '[{"t": {"0": 4}}]', '[{"t": {"0": 6}}]')
Rows = Callable[..., DataFrame]


@pytest.mark.parametrize("kind", [DeltaTableSink, ParquetSink])
def test_a_sink_knows_what_it_holds_by_coordinates(spark: SparkSession, rows: Rows, tmp_path: Path, kind: Any) -> None:
    sink = kind(spark, str(tmp_path / "sink"), ["day"])
    assert sink.held() is None
    sink.append(rows(ROW, (1, "a", "t", 0, 4), (2, "b", "t", 0, 5)), MARK)
    sink.append(rows(ROW, (3, "a", "u", 1, 0)), MARK)
    expected = rows(HELD, ("t", 0, 4), ("t", 0, 5), ("u", 1, 0))
    assert_df_equality(sink.held(), expected, ignore_row_order=True, ignore_nullable=True)
    assert (tmp_path / "sink" / "day=a").is_dir()


def test_a_mark_narrows_to_its_own_offsets(rows: Rows) -> None:
    held = rows(HELD, ("t", 0, 3), ("t", 0, 4), ("t", 0, 6), ("t", 0, 7), ("u", 0, 5))
    assert_df_equality(MARK.narrow(held), rows(HELD, ("t", 0, 4), ("t", 0, 6)), ignore_nullable=True)


def test_a_mark_of_another_source_narrows_nothing(rows: Rows) -> None:
    held = rows(HELD, ("t", 0, 3))
    assert_df_equality(Mark("join", "q1", 0, "[null]", "[7]").narrow(held), held)


def test_a_delta_commit_says_whose_it_is(spark: SparkSession, rows: Rows, tmp_path: Path) -> None:
    DeltaTableSink(spark, str(tmp_path / "sink")).append(rows(ROW, (1, "a", "t", 0, 4)), MARK)
    commit = DeltaTable.forPath(spark, str(tmp_path / "sink")).history(1).first()
    assert commit is not None
    assert json.loads(commit["userMetadata"]) == {
        "job": "join",
        "query_id": "q1",
        "batch_id": 3,
        "start": '[{"t": {"0": 4}}]',
        "end": '[{"t": {"0": 6}}]',
    }


def test_readers_and_vacuum_pass_over_the_ledger(spark: SparkSession, rows: Rows, tmp_path: Path) -> None:
    sink = DeltaTableSink(spark, str(tmp_path / "sink"))
    sink.append(rows(ROW, (1, "a", "t", 0, 4)), MARK)
    ledger = tmp_path / "sink" / "_ledger" / "join" / "0.json"
    ledger.parent.mkdir(parents=True)
    ledger.write_text("{}")
    spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
    DeltaTable.forPath(spark, sink.path).vacuum(0)
    assert ledger.exists() and sink.rows().count() == 1
