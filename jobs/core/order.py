"""Key order: once a key has a dead letter, its later records become dead letters, too, until it is redriven.

A record is later than another one of its key if it stands behind it in its partition. In another partition, where a key only
gets by new partitions, a record that is read for the first time is later than any dead letter. Records without a key have
no order. A dead letter is open until its record is judged anew and passes, or a redrive has parked it for good.

BLOCKED   _key, _topic, _partition, _offset, _write, blocked_at     append-only
FREED     _topic, _partition, _offset, _write, freed_at, _seq       append-only; blocked minus freed is open
`_write` tells the tries at a batch apart: one that fails after this was written does not undo what the next one finds.
Which records are rejected has to be known before any is written, so a batch is judged twice in this mode. While no key has an
open dead letter, that is all it costs; while one has, both tables are read once a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.config import JobConfig
from jobs.core.dead_letters import ATTEMPT
from jobs.core.lease import Lease
from jobs.core.pending import Names, Pending
from jobs.core.reasons import LATE, WAITING, Reason
from jobs.core.sinks import Mark
from jobs.core.sources import COORDINATES

HEADS = "_heads"  # of a key: the first of its dead letters in each partition


@dataclass(frozen=True)
class Blocking:
    """What holds for one batch: which dead letters are open, and which keys are blocked from where on."""

    open: DataFrame | None  # BLOCKED
    heads: DataFrame | None  # `_key`, `_heads`

    def judge(self, outcome: DataFrame) -> DataFrame:
        """DECODED with attempts -> the same: rows behind a dead letter of their key get a reason."""
        return outcome if self.heads is None else blocked(outcome, self.heads)


NOTHING = Blocking(None, None)


class KeyOrder:
    """The open dead letters of one job."""

    def __init__(self, pending: Pending) -> None:
        self._pending = pending
        self.is_open = True  # whether there may be any: not known before the first look

    @contextmanager
    def within(self, judged: DataFrame, failed: DataFrame) -> Iterator[Blocking]:
        """For a batch of which these records are judged now, and these fail, whatever their key's others do."""
        found = self._open()
        earlier = found.join(judged, COORDINATES, "left_anti") if found is not None else None
        kept = heads(dead(failed), earlier).persist()
        try:
            yield Blocking(found, None if kept.isEmpty() else kept)
        finally:
            kept.unpersist()
            if found is not None:
                found.unpersist()

    def record(self, blocking: Blocking, judged: DataFrame, failed: DataFrame, mark: Mark, now: datetime) -> None:
        """Of the records that were judged, those that failed are open, and no others."""
        blocked = dead(failed).filter("_key IS NOT NULL").select("_key", *COORDINATES)
        self._pending.begin(blocked, mark, now)
        if blocking.open is not None:
            self._pending.end(blocking.open.join(judged, COORDINATES, "left_semi"), mark, now)
        self.is_open = True

    def free(self, letters: DataFrame, mark: Mark, now: datetime) -> None:
        """Rows with coordinates: given up for good, their keys go on without them. May be called beside a running job."""
        found = self._pending.rows()
        if found is not None:
            self._pending.end(found.join(letters, COORDINATES, "left_semi"), mark, now)

    def _open(self) -> DataFrame | None:
        """BLOCKED that is open, persisted; None where there is none."""
        found = self._pending.rows() if self.is_open else None
        if found is None:
            self.is_open = False
            return None
        kept = found.persist()
        self.is_open = not kept.isEmpty()
        if self.is_open:
            self._pending.remember_oldest(kept)
            return kept
        kept.unpersist()
        return None


def key_order(spark: SparkSession, config: JobConfig, lease: Lease | None) -> KeyOrder | None:
    """As the config says; None where keys have no order."""
    given = config.dead_letters.key_order if config.dead_letters else None
    if given is None:
        return None
    return KeyOrder(Pending(spark, str(given.path), Names("blocked", "freed"), lease))


def dead(failed: DataFrame) -> DataFrame:
    """Of rejected rows those that become dead letters."""
    return failed.filter(~F.col("_reason").isin(WAITING, LATE))


def heads(failed: DataFrame, earlier: DataFrame | None) -> DataFrame:
    """Rows that block their keys -> `_key`, `_heads ARRAY<STRUCT<topic, partition, offset>>`."""
    new = failed.select("_key", *COORDINATES)
    every = new if earlier is None else new.unionByName(earlier.select("_key", *COORDINATES))
    first = (
        every.filter("_key IS NOT NULL").groupBy("_key", "_topic", "_partition").agg(F.min("_offset").alias("_offset"))
    )
    place = F.struct(*(F.col(name).alias(name[1:]) for name in COORDINATES))
    return first.groupBy("_key").agg(F.sort_array(F.collect_list(place)).alias(HEADS))


def blocked(outcome: DataFrame, heads: DataFrame) -> DataFrame:
    """DECODED with attempts, heads -> DECODED with attempts."""
    joined = outcome.join(heads, "_key", "left")
    before = F.get(F.filter(HEADS, _is_before), F.lit(0))
    is_blocked = F.col("_reason").isNull() & before.isNotNull()
    place = F.format_string(
        "behind the dead letter of topic %s, partition %d, offset %d",
        before["topic"],
        before["partition"],
        before["offset"],
    )
    reason = F.when(is_blocked, F.lit(Reason.KEY_BLOCKED.value)).otherwise(F.col("_reason"))
    detail = F.when(is_blocked, place).otherwise(F.col("_detail"))
    return joined.withColumns({"_reason": reason, "_detail": detail}).select(*outcome.columns)


def _is_before(head: Column) -> Column:
    is_here = (head["topic"] == F.col("_topic")) & (head["partition"] == F.col("_partition"))
    return F.when(is_here, head["offset"] < F.col("_offset")).otherwise(F.col(ATTEMPT) == 1)
