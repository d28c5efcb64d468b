"""Delta and Parquet sinks: appended rows, found again by their coordinates."""

from __future__ import annotations

from collections.abc import Sequence

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.files import Folder
from jobs.core.lease import Lease
from jobs.core.sinks import Mark, Refusal, commits, invariants
from jobs.core.sources import COORDINATES

REVISION = "_revision"  # of a record that may be written again, corrected: from 0 on, and the greatest one holds


class DeltaTableSink:
    """Appends to a Delta table at a path; the first append makes it. Under a lease, another instance's are refused."""

    def __init__(
        self, spark: SparkSession, path: str, partition_by: Sequence[str] = (), lease: Lease | None = None
    ) -> None:
        self._spark, self.path, self._partition_by, self._lease = spark, path, list(partition_by), lease
        if lease:
            commits.raise_epoch(spark, path, lease)

    def append(self, rows: DataFrame, mark: Mark) -> None:
        """Raises LeaseLost, and BeginAnew where what was looked at before may have changed."""
        commits.append(commits.Append(self.path, rows, self._partition_by, mark.text()), self._lease)

    def held(self) -> DataFrame | None:
        return self.rows().select(*COORDINATES) if self.exists() else None

    def records(self) -> DataFrame | None:
        """Without corrections."""
        if not self.exists():
            return None
        rows = self.rows()
        if REVISION in rows.columns:
            rows = rows.filter(F.coalesce(REVISION, F.lit(0)) == 0)
        return rows.select(*COORDINATES)

    def refused(self, rows: DataFrame, mark: Mark, most: int) -> list[Refusal]:
        """By the constraints that the table has, in one pass."""
        return invariants.refusals(DeltaTable.forPath(self._spark, self.path), rows, most) if self.exists() else []

    def exists(self) -> bool:
        return DeltaTable.isDeltaTable(self._spark, self.path)

    def rows(self) -> DataFrame:
        return self._spark.read.format("delta").load(self.path)


class ParquetSink:
    """Appends Parquet files to a folder."""

    def __init__(self, spark: SparkSession, path: str, partition_by: Sequence[str] = ()) -> None:
        self._spark, self.path, self._partition_by = spark, path, list(partition_by)

    def append(self, rows: DataFrame, mark: Mark) -> None:
        rows.write.mode("append").partitionBy(*self._partition_by).parquet(self.path)

    def held(self) -> DataFrame | None:
        if not any(name for name in _data_files(self._spark, self.path)):
            return None
        return self._spark.read.parquet(self.path).select(*COORDINATES)

    def records(self) -> DataFrame | None:
        return self.held()

    def refused(self, rows: DataFrame, mark: Mark, most: int) -> list[Refusal]:
        return []


def _data_files(spark: SparkSession, path: str) -> list[str]:
    return [info.name for info in Folder(spark, path).list() if not info.name.startswith("_")]
