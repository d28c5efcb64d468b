"""The event log: a Delta table of EVENT (`core.events.envelope`), which only ever grows.

The table itself refuses updates and deletes (`delta.appendOnly`), and rows that are no events. It is clustered by stream, and
each file is sorted by stream: after an OPTIMIZE one stream is in few files, and the row groups of the others are passed over.
"""

from __future__ import annotations

import logging

from delta.tables import DeltaTable
from pyspark.sql import SparkSession

from jobs.core import delta_log
from jobs.core.errors import ConfigError, Problem
from jobs.core.events.envelope import EVENT
from jobs.core.events.pinned_log import PinnedLog, as_they_are
from jobs.core.events.sealing import SEALED, is_sealed

RULE = "rows_are_events", "stream_id <> '' AND stream_version > 0 AND event_id <> '' AND schema_version > 0"

log = logging.getLogger(__name__)


class EventLog:
    """The log at a path; sealed, it keeps what is about a person as `core.events.sealing` says."""

    def __init__(self, spark: SparkSession, path: str, sealed: bool = False) -> None:
        self._spark, self.path, self._sealed = spark, path.rstrip("/"), sealed

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

        if is_sealed(self._spark, self.path) != self._sealed:
            self._seal()

    def _seal(self) -> None:
        """Raises ConfigError for a log that was sealed until now."""
        if not self._sealed:
            allowed = f"required: events of {self.path} are sealed, and new ones would not be"
            raise ConfigError(Problem("source.personal", "", allowed, "conf"))
        if self.at(self.version()).events().head(1):
            log.warning("events that %s has until now are not sealed, and cannot be forgotten", self.path)
        columns = ", ".join(f"{name} {kind}" for name, kind in SEALED.items())
        self._spark.sql(f"ALTER TABLE delta.`{self.path}` ADD COLUMNS ({columns})")

    def version(self) -> int:
        """The newest version of the table."""
        return delta_log.version(self._spark, self.path)

    def table_id(self) -> str:
        """What makes this table another one than an earlier one at its path."""
        return delta_log.table_id(self._spark, self.path)

    def at(self, version: int) -> PinnedLog:
        """The log as it is in a version, with what is sealed in it."""
        return PinnedLog(self._spark, self.path, version, as_they_are)
