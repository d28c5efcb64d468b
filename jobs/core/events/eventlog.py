"""The event log: a Delta table of EVENT (`core.events.envelope`), which only ever grows.

The table itself refuses updates and deletes (`delta.appendOnly`), and rows that are no events. It is clustered by stream, and
each file is sorted by stream: after an OPTIMIZE one stream is in few files, and the row groups of the others are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from jobs.core.errors import ConfigError, Problem
from jobs.core.events.envelope import EVENT
from jobs.core.files import Folder
from jobs.core.sinks import commits

RULE = "rows_are_events", "stream_id <> '' AND stream_version > 0 AND event_id <> '' AND schema_version > 0"


class EventLog:
    """The log at a path."""

    def __init__(self, spark: SparkSession, path: str) -> None:
        self._spark, self.path = spark, path.rstrip("/")
        self._commits = Folder(spark, f"{self.path}/_delta_log")

    def make(self) -> None:
        """Makes the table, or what it still lacks. Raises ConfigError for a table that is no event log."""
        table = f"delta.`{self.path}`"
        if not DeltaTable.isDeltaTable(self._spark, self.path):
            nothing = self._spark.createDataFrame([], EVENT).write.format("delta")  # CREATE wants an empty folder
            nothing.mode("append").option("delta.appendOnly", "true").save(self.path)
            self._spark.sql(f"ALTER TABLE {table} CLUSTER BY (stream_id)")
        detail = DeltaTable.forPath(self._spark, self.path).detail().select("properties").first()
        assert detail is not None, "a table has one row of details"
        given: dict[str, str] = detail["properties"]
        if given.get("delta.appendOnly") != "true":
            allowed = "a path without a table, or an event log: this table may be changed (delta.appendOnly)"
            raise ConfigError(Problem("sink.delta.path", self.path, allowed, "conf"))
        if f"delta.constraints.{RULE[0]}" not in given:
            self._spark.sql(f"ALTER TABLE {table} ADD CONSTRAINT {RULE[0]} CHECK ({RULE[1]})")

    def version(self) -> int:
        """The newest version of the table."""
        return commits.version(self._spark, self.path)

    def table_id(self) -> str:
        """What makes this table another one than an earlier one at its path."""
        return commits.table_id(self._spark, self.path)

    def events(self, version: int) -> DataFrame:
        """EVENT, all of them at a version of the table."""
        return self._spark.read.format("delta").option("versionAsOf", version).load(self.path)

    def added(self, after: int, version: int) -> DataFrame | None:
        """EVENT, those that came in the versions (after, version]; None where the table no longer tells."""
        files = [*self._added(after, version)]
        if None in files:
            return None
        paths = [f"{self.path}/{file}" for file in files]
        schema = self.events(version).schema
        return self._spark.read.schema(schema).parquet(*paths) if paths else self._spark.createDataFrame([], schema)

    def _added(self, after: int, version: int) -> Iterator[str | None]:
        """Data files, None where a version or a file is gone. Files that only hold older rows are left out."""
        for number in range(after + 1, version + 1):
            name = f"{number:020d}.json"
            if not self._commits.exists(name):
                yield None
                return
            for line in self._commits.read(name).splitlines():
                add: dict[str, Any] = json.loads(line).get("add") or {}
                if add.get("dataChange"):
                    file = unquote(add["path"])
                    yield file if self._commits.exists(f"../{file}") else None
