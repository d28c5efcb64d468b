"""Records that wait: parked as they were read, tried again (`core.release`) until `wait_for` has passed.

PARKED   key, value, headers, _topic, _partition, _offset, _timestamp, detail, _write, parked_at       append-only
SETTLED  _topic, _partition, _offset, _write, settled_at, _seq              append-only; parked minus settled waits
A release settles, then writes the rows that now have a reference and sends the expired ones to the dead letters, and last
comes its record in the ledger, whose number each settled row has. If it is cut short before that, the next one takes back what
it has settled, and finds by coordinates what the sink already holds. A batch that runs again parks anew what waits now, and
settles what its earlier attempts have parked. The two logs are `core.pending`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.lease import Lease
from jobs.core.pending import WRITE, Names, Pending
from jobs.core.reasons import INSTEAD, WAITING, Reason
from jobs.core.sinks import Mark
from jobs.core.sources import COORDINATES


@dataclass(frozen=True)
class Wait:
    """Where records wait, and how long."""

    path: str
    wait_for: timedelta
    key_order: bool = False  # whether a key's later records wait behind it


class Parking:
    """The parked log at one path and its settlements beside it."""

    def __init__(self, spark: SparkSession, path: str, wait_for: timedelta, lease: Lease | None = None) -> None:
        self.pending = Pending(spark, path, Names("parked", "settled"), lease)
        self._wait_for = wait_for

    @property
    def patience(self) -> timedelta:
        """How long not to look at what waits at most: none waits much longer than it may."""
        return self._wait_for / 4

    def park(self, rows: DataFrame, mark: Mark, now: datetime, again: DataFrame | None = None) -> None:
        """Rejected rows -> PARKED. `again` are the coordinates of a batch of which an earlier attempt may have parked some."""
        earlier = self.pending.rows() if again is not None else None
        write = self.pending.begin(_parked(rows), mark, now)
        if earlier is not None and again is not None:
            before = earlier.filter(F.col(WRITE) != write).join(again, COORDINATES, "left_semi")
            self.pending.end(before, mark, now)

    def waiting(self, recorded: int | None = None) -> DataFrame | None:
        """PARKED without what is settled, by the records up to a number if one is given; None where nothing was ever parked."""
        return self.pending.rows(recorded)

    def settle(self, rows: DataFrame, mark: Mark, now: datetime, seq: int) -> None:
        """Rows of what waits are settled, once the ledger's record of this number is written."""
        self.pending.end(rows, mark, now, seq)

    def reopen(self, recorded: int, mark: Mark) -> None:
        """What a release settled whose record was not written waits again; `recorded` is the number of the last that was."""
        self.pending.reopen(recorded, mark)

    def remember_oldest(self, waiting: DataFrame) -> None:
        self.pending.remember_oldest(waiting)

    def judge(self, outcome: DataFrame, now: datetime) -> DataFrame:
        """Outcomes of what waits, tried again -> with the reason of what waits no longer, as its time is up.

        A row with any other reason does not wait, as it would not have waited when it came.
        """
        expires = (F.col("_reason") == WAITING) & (F.col("parked_at") <= F.lit(now - self._wait_for))
        waited = F.concat_ws(": ", F.lit("wait_for has passed"), "_detail")
        told = {"_reason": expired(outcome), "_detail": waited}
        return outcome.withColumns(
            {name: F.when(expires, instead).otherwise(F.col(name)) for name, instead in told.items()}
        )


def expired(outcome: DataFrame) -> Column:
    """The reason of rows that would wait, and may not any more."""
    given = [F.col(INSTEAD)] if INSTEAD in outcome.columns else []
    return F.coalesce(*given, F.lit(Reason.NO_REFERENCE.value))


def _parked(rows: DataFrame) -> DataFrame:
    return rows.select(
        F.col("_key").alias("key"),
        F.col("_value").alias("value"),
        F.col("_headers").alias("headers"),
        *COORDINATES,
        "_timestamp",
        F.col("_detail").alias("detail"),
    )
