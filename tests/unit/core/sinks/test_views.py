from __future__ import annotations

from collections.abc import Callable

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.core.sinks import Mark
from jobs.core.sinks.views import ConsoleSink, MemorySink

ROW = "id INT, name STRING"
Rows = Callable[..., DataFrame]


def mark(batch_id: int) -> Mark:
    return Mark("join", "q1", batch_id, "[null]", "[null]")


def test_a_view_holds_all_batches_and_a_repeat_changes_nothing(spark: SparkSession, rows: Rows) -> None:
    sink = MemorySink(spark, "seen")
    sink.append(rows(ROW, (1, "a")), mark(0))
    sink.append(rows(ROW, (2, None)), mark(1))
    sink.append(rows(ROW, (2, None)), mark(1))
    assert_df_equality(spark.table("seen"), rows(ROW, (1, "a"), (2, None)), ignore_row_order=True, ignore_nullable=True)
    assert sink.held() is None


def test_the_console_shows_a_batch(rows: Rows, capsys: pytest.CaptureFixture[str]) -> None:
    ConsoleSink(1).append(rows(ROW, (1, "first"), (1, "first")), mark(0))
    assert "first" in capsys.readouterr().out
