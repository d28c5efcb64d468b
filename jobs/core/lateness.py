"""Records that come too late: judged before anything else sees them, and put aside.

A record is late where its event time lies `max_lateness` or more behind the newest of all batches in the ledger. Each batch's
record there carries that newest one, so a restart and a repeated batch judge alike, whatever has come in meanwhile. Only good
records move it: one that is dated too far in the future is FUTURE, and moves nothing. A `reprocess` begins without it.

Spark drops what is not after its watermark: the newest time that its operator saw in earlier batches, cut to milliseconds, less
the delay. With the same delay this bound is never looser, so an operator behind it drops nothing in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Protocol

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core import dead_letters
from jobs.core.config import JobConfig
from jobs.core.lease import Lease
from jobs.core.ledger import Entry
from jobs.core.reasons import LATE
from jobs.core.sinks import Outlet
from jobs.core.sources import COORDINATES

NEWEST = "newest_event_time"  # in the ledger's note
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)


class LateRecords(Protocol):
    """How a job tells late records, and where they go."""

    @property
    def to(self) -> Outlet:
        """Their place."""

    def judge(self, decoded: DataFrame, last: Entry | None, held: DataFrame | None) -> DataFrame:
        """DECODED -> DECODED: good records that are late get their reason."""

    def newest(self) -> Column:
        """An aggregate over DECODED, in microseconds since 1970."""

    def noted(self, last: Entry | None, newest: int | None) -> dict[str, str]:
        """What a batch's record carries on, given the newest event time of the batch itself."""


@dataclass(frozen=True)
class JudgedByPlan:
    """Late records were told apart by the query's plan, with the watermark that Spark itself keeps."""

    to: Outlet

    def judge(self, decoded: DataFrame, last: Entry | None, held: DataFrame | None) -> DataFrame:
        return decoded

    def newest(self) -> Column:
        return F.max(F.lit(None).cast("bigint"))

    def noted(self, last: Entry | None, newest: int | None) -> dict[str, str]:
        return {}


@dataclass(frozen=True)
class Lateness:
    """A job's bound, by the column that says when an event happened, and where the late records go."""

    column: str
    allowed: timedelta
    to: Outlet
    besides: str | None = None  # the redrive topic: what comes again was in time once

    def judge(self, decoded: DataFrame, last: Entry | None, held: DataFrame | None) -> DataFrame:
        """DECODED -> DECODED: good records that are late get their reason, but for those that the sink holds already."""
        newest = (last.note if last else {}).get(NEWEST)
        if newest is None:
            return decoded
        limit = (datetime.fromisoformat(newest) - EPOCH - self.allowed) // MICROSECOND
        late = F.col("_reason").isNull() & (F.unix_micros(F.col(self.column)) <= F.lit(limit))
        if self.besides:
            late &= F.col("_topic") != self.besides
        if held is None:
            return self._marked(decoded, late)
        flagged = decoded.join(held.distinct().withColumn("_held", F.lit(True)), COORDINATES, "left")
        return self._marked(flagged, late & F.col("_held").isNull()).select(*decoded.columns)

    def newest(self) -> Column:
        """An aggregate over DECODED, in microseconds since 1970."""
        return F.unix_micros(F.max(F.when(F.col("_reason").isNull(), F.col(self.column))))

    def noted(self, last: Entry | None, newest: int | None) -> dict[str, str]:
        """What a batch's record carries on, given the newest event time of the batch itself."""
        before = lasting(last.note if last else {})
        here = {} if newest is None else {NEWEST: (EPOCH + newest * MICROSECOND).isoformat(timespec="microseconds")}
        return max(before, here, key=lambda note: note.get(NEWEST, ""))

    def _marked(self, decoded: DataFrame, late: Column) -> DataFrame:
        detail = f"{self.column}: {self.allowed.total_seconds():g} s or more behind the newest event"
        return decoded.withColumns(
            {
                "_detail": F.when(late, F.lit(detail)).otherwise(F.col("_detail")),
                "_reason": F.when(late, F.lit(LATE)).otherwise(F.col("_reason")),
            }
        )


def bound(spark: SparkSession, config: JobConfig, lease: Lease, planned: bool = False) -> LateRecords | None:
    """The bound that the config sets, if any. Raises DependencyMissing for a topic that is not there."""
    late, column, letters = config.source.late, config.source.event_time, config.dead_letters
    to = dead_letters.outlet(spark, config, late.to, lease) if late else None
    if not (late and column and to):
        return None
    if planned:
        return JudgedByPlan(to)
    again = letters.redrive.topic if letters and letters.redrive else None
    return Lateness(column, timedelta(milliseconds=late.max_lateness.ms), to, again)


def lasting(note: Mapping[str, str]) -> dict[str, str]:
    """The part of a note that the next record has to carry on."""
    return {NEWEST: note[NEWEST]} if NEWEST in note else {}
