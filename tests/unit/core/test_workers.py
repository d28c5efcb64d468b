"""What garbage collection passes over in Python's workers."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from jobs.core.workers import in_worker

RUNS = 20  # more than there are idle workers that may take their turn


@in_worker
def given(number: int) -> Iterator[int]:
    yield number


def test_a_worker_that_comes_again_passes_over_what_it_had_loaded(spark: SparkSession) -> None:
    @in_worker
    def seen(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            yield pa.RecordBatch.from_pydict({"pid": [os.getpid()], "frozen": [gc.get_freeze_count()]})

    found: dict[int, int] = {}
    for _ in range(RUNS):
        pid, frozen = spark.range(1, numPartitions=1).mapInArrow(seen, "pid LONG, frozen LONG").collect()[0]
        if pid in found:
            assert frozen > found[pid]
            return
        found[pid] = frozen
    pytest.fail(f"no worker came again in {RUNS} tasks")


def test_outside_of_a_task_nothing_is_frozen() -> None:
    before = gc.get_freeze_count()
    assert list(given(1)) == [1]
    assert gc.get_freeze_count() == before
