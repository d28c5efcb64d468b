"""Records that wait: parked as they were read, tried again after each refresh, until `wait_for` has passed.

PARKED   key, value, headers, _topic, _partition, _offset, _timestamp, parked_at       append-only
SETTLED  _topic, _partition, _offset, settled_at                                       append-only; parked minus settled waits
A release writes the rows that now have a reference, sends the expired ones to the dead letters, and then settles both. If it
is cut short, the next one finds what the sink already holds by coordinates. The two logs are `core.pending`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.lease import Lease
from jobs.core.pending import Names, Pending
from jobs.core.reasons import Reason
from jobs.core.sinks import Mark
from jobs.core.sources import COORDINATES


@dataclass(frozen=True)
class Wait:
    """Where records wait, and how long."""

    path: str
    wait_for: timedelta


class Parking:
    """The parked log at one path and its settlements beside it."""

    def __init__(self, spark: SparkSession, path: str, wait_for: timedelta, lease: Lease | None = None) -> None:
        self._pending = Pending(spark, path, Names("parked", "settled"), COORDINATES, lease)
        self._wait_for = wait_for

    @property
    def patience(self) -> timedelta:
        """How often to look at what waits: often enough that none waits much longer than it may."""
        return self._wait_for / 4

    def park(self, rows: DataFrame, mark: Mark, now: datetime, in_doubt: bool) -> None:
        """Rejected rows -> PARKED, without those that an earlier attempt at the batch has parked."""
        self._pending.begin(_parked(rows), mark, now, in_doubt)

    def waiting(self) -> DataFrame | None:
        """PARKED without what is settled; None where nothing was ever parked."""
        return self._pending.rows()

    def settle(self, coordinates: DataFrame, mark: Mark, now: datetime) -> None:
        self._pending.end(coordinates, mark, now)

    def settle_held(self, held: DataFrame | None, mark: Mark, now: datetime) -> None:
        """Settles parked records that an earlier attempt at the same batch had parked and this one has written."""
        waiting = self.waiting()
        if waiting is not None and held is not None:
            self.settle(waiting.join(held, COORDINATES, "left_semi"), mark, now)

    def remember_oldest(self, waiting: DataFrame) -> None:
        self._pending.remember_oldest(waiting)

    def expire(self, outcome: DataFrame, now: datetime) -> DataFrame:
        """Outcomes that wait no longer, with their reason: those that the sink refuses, and those that waited too long."""
        late = F.col("parked_at") <= F.lit(now - self._wait_for)
        is_refused = F.col("_reason") == Reason.SINK_REJECTED.value
        expired = {"_reason": F.lit(Reason.NO_REFERENCE.value), "_detail": F.lit("wait_for has passed")}
        told = {name: F.when(is_refused, F.col(name)).otherwise(said) for name, said in expired.items()}
        return outcome.filter(is_refused | (F.col("_reason").isNotNull() & late)).withColumns(told)


def _parked(rows: DataFrame) -> DataFrame:
    return rows.select(
        F.col("_key").alias("key"),
        F.col("_value").alias("value"),
        F.col("_headers").alias("headers"),
        *COORDINATES,
        "_timestamp",
    )
