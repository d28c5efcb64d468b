"""What a batch tells the tasks of a plan that was made before it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from jobs.core import told
from jobs.core.told import Told

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def test_tasks_hear_what_was_told_last(spark: SparkSession) -> None:
    def heard(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from jobs.core import told

        for _ in batches:
            found = told.heard()
            yield pa.RecordBatch.from_pydict({"now": [found.now.isoformat()], "ms": [found.watermark_ms]})

    plan = spark.range(1).mapInArrow(heard, "now STRING, ms BIGINT")
    for ms in (7, 8):
        told.tell(spark, Told(NOON, ms))
        assert [tuple(row) for row in plan.collect()] == [(NOON.isoformat(), ms)]


def test_outside_of_a_task_there_is_nothing_to_hear() -> None:
    with pytest.raises(RuntimeError, match="outside of its micro-batches"):
        told.heard()
