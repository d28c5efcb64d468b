"""Where reference tables are read from: PostgreSQL by JDBC, and Delta.

`mark` is a cheap question (max(updated_at) and the row count, or the table's version) whose answer changes with the table;
None where there is none, and then every refresh loads.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from jobs.core.config import DeltaReference, Jdbc, Postgres
from jobs.core.postgres import jdbc_options, quoted


class ReferenceSource(Protocol):
    """A table that can say whether it has changed, and be read as of that answer."""

    name: str
    address: str
    keys: list[str]

    def mark(self) -> Any: ...

    def version(self, mark: Any, now: datetime) -> str: ...

    def rows(self, mark: Any) -> DataFrame:
        """All columns; those that nobody selects are not read."""


class JdbcSource:
    """A table or view in PostgreSQL."""

    def __init__(self, spark: SparkSession, jdbc: Jdbc, postgres: Postgres, watermark: str | None) -> None:
        self._watermark = watermark
        self.name, self.address, self.keys = str(jdbc.table), str(postgres.url), jdbc.keys
        self._reader = spark.read.format("jdbc").options(**jdbc_options(postgres))

    def mark(self) -> Any:
        """(newest watermark, row count), or None without a watermark column."""
        if self._watermark is None:
            return None
        column = quoted(self._watermark)
        asked = f"(SELECT max({column})::text AS newest, count(*) AS rows FROM {quoted(self.name)}) AS mark"
        return tuple(self._reader.option("dbtable", asked).load().first() or ())

    def version(self, mark: Any, now: datetime) -> str:
        return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def rows(self, mark: Any) -> DataFrame:
        return self._reader.option("dbtable", quoted(self.name)).load()


class DeltaReferenceSource:
    """A Delta table, always read at one version."""

    def __init__(self, spark: SparkSession, delta: DeltaReference) -> None:
        self._spark = spark
        self.name = self.address = str(delta.path)
        self.keys = delta.keys

    def mark(self) -> Any:
        newest = DeltaTable.forPath(self._spark, self.address).history(1).select("version").first()
        return newest["version"] if newest else None

    def version(self, mark: Any, now: datetime) -> str:
        return f"v{mark}"

    def rows(self, mark: Any) -> DataFrame:
        return self._spark.read.format("delta").option("versionAsOf", mark).load(self.address)
