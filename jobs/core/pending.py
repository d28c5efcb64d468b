"""What is pending: an append-only log of what began, less one beside it of what is over. Both are Delta tables in one folder.

BEGAN   _topic, _partition, _offset, more columns, _write, <began>_at
OVER    _topic, _partition, _offset, _write, <over>_at, _seq
`_write` tells the writes that a record began by apart: what is over of one write goes on by a later one. `_seq` is the number
of the ledger's record that says why it is over; null where that needs no record.
Only what began since the oldest that is still pending is read, so looking costs no more as the logs grow. Where a clock went
back, times are held up for that: nothing begins before the oldest that is pending, or is over before it began.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from uuid import uuid4

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.lease import Lease
from jobs.core.sinks import Mark
from jobs.core.sinks.tables import DeltaTableSink
from jobs.core.sources import COORDINATES

WRITE, SEQ = "_write", "_seq"
IDENTITY = [*COORDINATES, WRITE]


@dataclass(frozen=True)
class Names:
    """Of the two tables; each has the time of a row in a column of its name and `_at`."""

    began: str
    over: str


class Pending:
    """The two logs at one path."""

    def __init__(self, spark: SparkSession, path: str, names: Names, lease: Lease | None = None) -> None:
        self._began, self._over = (DeltaTableSink(spark, f"{path}/{n}", lease=lease) for n in (names.began, names.over))
        self._began_at, self._over_at = f"{names.began}_at", f"{names.over}_at"
        self._oldest: datetime | None = None  # nothing older than this is pending

    def begin(self, rows: DataFrame, mark: Mark, now: datetime) -> str:
        """Adds rows with coordinates; the name of this write."""
        write, at = uuid4().hex, max(now, self._oldest or now)
        self._began.append(rows.withColumns({WRITE: F.lit(write), self._began_at: F.lit(at)}), mark)
        return write

    def end(self, rows: DataFrame, mark: Mark, now: datetime, seq: int | None = None) -> None:
        """Rows with the identity's columns, and since when they are pending, are over; to say so twice changes nothing."""
        at = F.greatest(F.lit(now), self._began_at).alias(self._over_at)
        self._over.append(rows.select(*IDENTITY, at, F.lit(seq).cast("bigint").alias(SEQ)), mark)

    def reopen(self, after: int, mark: Mark) -> None:
        """What ended with a record that was never written, as its number is later than `after`, is pending again."""
        if not self._over.exists():
            return
        open_ = self._over.rows().filter(F.col(SEQ) > after).select(*IDENTITY).distinct().persist()
        try:
            if not open_.isEmpty():
                self._began.append(self._lost(open_), mark)
        finally:
            open_.unpersist()

    def rows(self, recorded: int | None = None) -> DataFrame | None:
        """What is pending, as it began, with its time; None where nothing ever began.

        Until the record `recorded` at most, if it is given: to somebody who looks at a job that runs, what is over by a later
        one is still pending.
        """
        if not self._began.exists():
            return None
        began = self._since(self._began.rows(), self._began_at)
        if not self._over.exists():
            return began
        over = self._since(self._over.rows(), self._over_at)
        known = over if recorded is None else over.filter(F.col(SEQ).isNull() | (F.col(SEQ) <= recorded))
        return began.join(known, IDENTITY, "left_anti")

    def remember_oldest(self, pending: DataFrame) -> None:
        """That this was all that is pending; nothing, and the last one that was stays the oldest."""
        found = pending.agg(F.min(self._began_at)).first()
        self._oldest = found[0].astimezone(timezone.utc) if found and found[0] else self._oldest

    def _lost(self, open_: DataFrame) -> DataFrame:
        """BEGAN of what ended, once a record, by a new write and since when it began; less what is pending already."""
        pending = self.rows()
        assert pending is not None, "what is over once began"
        began = self._began.rows().join(open_, IDENTITY, "left_semi").dropDuplicates(COORDINATES)
        return began.join(pending, COORDINATES, "left_anti").withColumn(WRITE, F.lit(uuid4().hex))

    def _since(self, rows: DataFrame, column: str) -> DataFrame:
        return rows if self._oldest is None else rows.filter(F.col(column) >= F.lit(self._oldest))
