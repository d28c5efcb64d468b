"""OUTGOING on its way: in the order in which it is due, cut into chunks of about as many events, a file each.

A chunk is read by its number, so what a step costs does not grow with the log; in a chunk, what is due together is together.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.events.outgoing import DUE, IN_ORDER, OUTGOING, Shape, rendered, timed

CHUNK = "chunk"


class Batch(NamedTuple):
    """Events that are due from one moment up to another one, in microseconds since 1970."""

    first_us: int
    until_us: int
    events: int


class Span(NamedTuple):
    """A chunk, and what it has."""

    chunk: int
    all: Batch


class Chunks:
    """Those in one folder."""

    def __init__(self, spark: SparkSession, path: str) -> None:
        self._spark, self.path = spark, path

    def write(self, events: DataFrame, shape: Shape, each: int) -> None:
        """EVENT; over whatever is there. The events are counted first."""
        count = max(ceil(events.count() / each), 1)
        in_order = timed(events).repartitionByRange(count, *IN_ORDER)
        chunked = rendered(in_order, shape).withColumn(CHUNK, F.spark_partition_id())
        chunked.sortWithinPartitions(CHUNK, *IN_ORDER).write.mode("overwrite").partitionBy(CHUNK).parquet(self.path)

    def spans(self) -> list[Span]:
        """In their order; none where there is no event."""
        schema = f"{OUTGOING}, {CHUNK} INT"
        found = self._spark.read.schema(schema).parquet(self.path).groupBy(CHUNK).agg(*_batch()).orderBy(CHUNK)
        return [Span(row[CHUNK], Batch(*row[1:])) for row in found.collect()]

    def between(self, chunk: int, after_us: int | None, until_us: int) -> DataFrame:
        """OUTGOING of one chunk, due after one moment and not after another one."""
        rows = self._spark.read.schema(OUTGOING).parquet(f"{self.path}/{CHUNK}={chunk}")
        due = rows.filter(F.col(DUE) <= until_us)
        return due if after_us is None else due.filter(F.col(DUE) > after_us)

    def batches(self, span: Span, after_us: int | None, width_us: float) -> list[Batch]:
        """What a chunk has after a moment, by spans of time of one width, without those that have no event."""
        rows, first = self.between(span.chunk, after_us, span.all.until_us), F.lit(span.all.first_us)
        number = F.floor((F.col(DUE) - first) / F.lit(float(width_us))).alias("number")
        return [Batch(*row[1:]) for row in rows.groupBy(number).agg(*_batch()).orderBy("number").collect()]


def _batch() -> list[Column]:
    return [F.min(DUE).alias("first_us"), F.max(DUE).alias("until_us"), F.count(F.lit(1)).alias("events")]
