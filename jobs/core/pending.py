"""What is pending: an append-only log of what began, less one beside it of what is over. Both are Delta tables in one folder.

Only what began since the oldest that is still pending is read, so looking costs no more as the logs grow.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.lease import Lease
from jobs.core.sinks import Mark
from jobs.core.sinks.tables import DeltaTableSink


@dataclass(frozen=True)
class Names:
    """Of the two tables; each has the time of a row in a column of its name and `_at`."""

    began: str
    over: str


class Pending:
    """The two logs at one path; `identity` names the columns by which a row is known in both."""

    def __init__(
        self, spark: SparkSession, path: str, names: Names, identity: list[str], lease: Lease | None = None
    ) -> None:
        self._began, self._over = (DeltaTableSink(spark, f"{path}/{n}", lease=lease) for n in (names.began, names.over))
        self._began_at, self._over_at = f"{names.began}_at", f"{names.over}_at"
        self._identity = identity
        self._oldest: datetime | None = None  # nothing older than this is pending

    def begin(self, rows: DataFrame, mark: Mark, now: datetime, in_doubt: bool) -> None:
        """Adds rows, but for those that an earlier attempt at the same write has added."""
        held = self._began.rows().select(*self._identity) if in_doubt and self._began.exists() else None
        fresh = rows if held is None else rows.join(mark.narrow(held), self._identity, "left_anti")
        self._began.append(fresh.withColumn(self._began_at, F.lit(now)), mark)

    def end(self, rows: DataFrame, mark: Mark, now: datetime) -> None:
        """Rows with the identity's columns are over; to say so twice changes nothing."""
        self._over.append(rows.select(*self._identity, F.lit(now).alias(self._over_at)), mark)

    def rows(self) -> DataFrame | None:
        """What is pending, as it began, with its time; None where nothing ever began."""
        if not self._began.exists():
            return None
        began = self._since(self._began.rows(), self._began_at)
        if not self._over.exists():
            return began
        return began.join(self._since(self._over.rows(), self._over_at), self._identity, "left_anti")

    def remember_oldest(self, pending: DataFrame) -> None:
        oldest = pending.agg(F.min(self._began_at)).first()
        self._oldest = oldest[0] if oldest else None

    def _since(self, rows: DataFrame, column: str) -> DataFrame:
        return rows if self._oldest is None else rows.filter(F.col(column) >= F.lit(self._oldest))
