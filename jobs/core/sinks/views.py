"""Console and memory sinks: for a first look, notebooks and tests. They keep nothing past the process."""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from jobs.core.sinks import Mark, Refusal


class MemorySink:
    """A named view over all batches so far; the rows are held by the driver."""

    def __init__(self, spark: SparkSession, name: str) -> None:
        self._spark, self._name = spark, name
        self._batches: dict[int, pa.Table] = {}

    def append(self, rows: DataFrame, mark: Mark) -> None:
        self._batches[mark.batch_id] = rows.toArrow()
        table = pa.concat_tables(self._batches.values())
        self._spark.createDataFrame(table, rows.schema).createOrReplaceTempView(self._name)

    def held(self) -> DataFrame | None:
        return None

    def records(self) -> DataFrame | None:
        return None

    def refused(self, rows: DataFrame, mark: Mark, most: int) -> list[Refusal]:
        return []


class ConsoleSink:
    """Prints the first rows of each batch."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def append(self, rows: DataFrame, mark: Mark) -> None:
        kept = rows.persist()
        try:
            kept.write.format("noop").mode("append").save()
            kept.limit(self._rows).show(self._rows, truncate=False)
        finally:
            kept.unpersist()

    def held(self) -> DataFrame | None:
        return None

    def records(self) -> DataFrame | None:
        return None

    def refused(self, rows: DataFrame, mark: Mark, most: int) -> list[Refusal]:
        return []
