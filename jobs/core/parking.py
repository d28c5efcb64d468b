"""Records that wait: parked as they were read, tried again after each refresh, until `wait_for` has passed.

PARKED   key, value, headers, _topic, _partition, _offset, _timestamp, parked_at       append-only
SETTLED  _topic, _partition, _offset, settled_at                                       append-only; parked minus settled waits
A release writes the rows that now have a reference, sends the expired ones to the dead letters, and then settles both. If it
is cut short, the next one finds what the sink already holds by coordinates. Only what was parked since the oldest record
still waiting is read, so the cost of a release does not grow with the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.lease import Lease
from jobs.core.reasons import Reason
from jobs.core.sinks import Mark
from jobs.core.sinks.tables import DeltaTableSink
from jobs.core.sources import COORDINATES


@dataclass(frozen=True)
class Wait:
    """Where records wait, and how long."""

    path: str
    wait_for: timedelta


class Parking:
    """The parked log at one path and its settlements beside it."""

    def __init__(self, spark: SparkSession, path: str, wait_for: timedelta, lease: Lease | None = None) -> None:
        self._parked = DeltaTableSink(spark, f"{path}/parked", lease=lease)
        self._settled = DeltaTableSink(spark, f"{path}/settled", lease=lease)
        self._wait_for = wait_for
        self._oldest: datetime | None = None  # no record older than this still waits

    @property
    def patience(self) -> timedelta:
        """How often to look at what waits: often enough that none waits much longer than it may."""
        return self._wait_for / 4

    def park(self, rows: DataFrame, mark: Mark, now: datetime, in_doubt: bool) -> None:
        """Rejected rows -> PARKED, without those that an earlier attempt at the batch has parked."""
        parked, held = _parked(rows, now), self._parked.held() if in_doubt else None
        self._parked.append(parked if held is None else parked.join(mark.narrow(held), COORDINATES, "left_anti"), mark)

    def waiting(self) -> DataFrame | None:
        """PARKED without what is settled; None where nothing was ever parked."""
        if not self._parked.exists():
            return None
        parked = self._since(self._parked.rows(), "parked_at")
        if not self._settled.exists():
            return parked
        return parked.join(self._since(self._settled.rows(), "settled_at"), COORDINATES, "left_anti")

    def settle(self, coordinates: DataFrame, mark: Mark, now: datetime) -> None:
        self._settled.append(coordinates.select(*COORDINATES, F.lit(now).alias("settled_at")), mark)

    def settle_held(self, held: DataFrame | None, mark: Mark, now: datetime) -> None:
        """Settles parked records that an earlier attempt at the same batch had parked and this one has written."""
        waiting = self.waiting()
        if waiting is not None and held is not None:
            self.settle(waiting.join(held, COORDINATES, "left_semi"), mark, now)

    def remember_oldest(self, waiting: DataFrame) -> None:
        oldest = waiting.agg(F.min("parked_at")).first()
        self._oldest = oldest[0] if oldest else None

    def expire(self, outcome: DataFrame, now: datetime) -> DataFrame:
        """Outcomes that wait no longer, with their reason: those that the sink refuses, and those that waited too long."""
        late = F.col("parked_at") <= F.lit(now - self._wait_for)
        is_refused = F.col("_reason") == Reason.SINK_REJECTED.value
        expired = {"_reason": F.lit(Reason.NO_REFERENCE.value), "_detail": F.lit("wait_for has passed")}
        told = {name: F.when(is_refused, F.col(name)).otherwise(said) for name, said in expired.items()}
        return outcome.filter(is_refused | (F.col("_reason").isNotNull() & late)).withColumns(told)

    def _since(self, rows: DataFrame, column: str) -> DataFrame:
        return rows if self._oldest is None else rows.filter(F.col(column) >= F.lit(self._oldest))


def _parked(rows: DataFrame, now: datetime) -> DataFrame:
    return rows.select(
        F.col("_key").alias("key"),
        F.col("_value").alias("value"),
        F.col("_headers").alias("headers"),
        *COORDINATES,
        "_timestamp",
        F.lit(now).alias("parked_at"),
    )
