"""One micro-batch: decode once, strictly; write the good rows and count in the same pass; then, only if something was
rejected, the rejected ones; the ledger's record last. Rows that the sink refuses are rejected, too (`core.poison`).

If the process dies in between, the same batch runs again over the same offsets. A batch that the ledger holds is skipped.
For the one in doubt (planned, and not in the ledger) the rows that the sink already holds are found by their coordinates and
left alone, so the outcome is the same even if the reference table has moved on meanwhile.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.observation import Observation

from jobs.core import classify, dead_letters, doubt, poison
from jobs.core.checkpoint import Checkpoint
from jobs.core.classify import Transform
from jobs.core.ledger import Books, Counts, Entry
from jobs.core.parking import Parking
from jobs.core.reasons import WAITING
from jobs.core.sinks import Mark, Sink
from jobs.core.sources import COORDINATES

ADAPTIVE = "spark.sql.adaptive.enabled"
Clock = Callable[[], datetime]
log = logging.getLogger(__name__)


@contextmanager
def _untimed(phase: str) -> Iterator[None]:
    yield


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass
class Outlets:
    """Where the rows of a batch go."""

    good: Sink
    dead: Sink | None
    parked: Parking | None
    max_refused: int = 1_000

    @property
    def refusable(self) -> int:
        """How many rows of a batch the sink may refuse: none where they have no place to go to."""
        return self.max_refused if self.dead else 0


@dataclass
class MicroBatch:
    """What runs for each batch; state is only what the next batch may be spared."""

    job: str
    checkpoint: Checkpoint
    ledger: Books
    outlets: Outlets
    decode: classify.Decode
    transform: Transform
    clock: Clock = utc_now
    note: Callable[[], dict[str, str]] = field(default=dict)
    in_doubt: bool = False  # whether the next batch was planned by an earlier run that may have written some of it
    doubt: dict[str, str] = field(default_factory=dict)  # after a recovery: until where every batch is in doubt
    phase: Callable[[str], AbstractContextManager[None]] = _untimed  # times a part of a batch, by name
    _rejecting: bool = False  # whether the last batch rejected something: then the next one is kept for a second pass

    def run(self, records: DataFrame, batch_id: int) -> None:
        """Handles one batch, or nothing if the ledger already holds it; after a failure it may be called again."""
        mark = self._mark(batch_id)
        after = doubt.lasting(self.doubt, mark.end)
        if not self.ledger.holds(mark.query_id, batch_id):
            with not_adaptive(records.sparkSession):
                self._attempt(records, mark)
        self.doubt, self.in_doubt = after, bool(after)

    def _attempt(self, records: DataFrame, mark: Mark) -> None:
        """The batch with the rows that the sink takes."""
        now, good = self.clock(), self.outlets.good
        poison.until_taken(
            self.transform,
            lambda transform: self._try(records, mark, now, transform),
            lambda transform, most: good.refused(self._fresh(records, mark, now, transform), mark, most),
            self.outlets.refusable,
            mark.batch_id,
        )

    def _fresh(self, records: DataFrame, mark: Mark, now: datetime, transform: Transform) -> DataFrame:
        """Good rows that the sink does not hold."""
        decoded = self.decode(records, now, False)
        return classify.good(transform(_without(decoded.filter("_reason IS NULL"), self._held(mark))))

    def _try(self, records: DataFrame, mark: Mark, now: datetime, transform: Transform) -> None:
        try:
            entry = self._write(records, mark, now, transform)
            with self.phase("ledger"):
                self.ledger.append(entry)
        except BaseException:
            self.in_doubt = True
            raise

    def _mark(self, batch_id: int) -> Mark:
        query_id = self.checkpoint.query_id()
        start, end = (
            json.dumps(read(batch_id), sort_keys=True) for read in (self.checkpoint.start, self.checkpoint.end)
        )
        return Mark(self.job, str(query_id), batch_id, start, end)

    def _write(self, records: DataFrame, mark: Mark, now: datetime, transform: Transform) -> Entry:
        keep = self._rejecting
        decoded = self.decode(records, now, keep)
        if keep:
            decoded = decoded.persist()
        try:
            counts = self._good(decoded, mark, transform)
            missing = counts.read - counts.written - counts.filtered
            again = decoded if keep else self.decode(records, now, True)
            reasons = self._rejects(again, mark, now, transform) if missing else {}
            if self.in_doubt and self.outlets.parked:
                self.outlets.parked.settle_held(self.outlets.good.held(), mark, now)
        finally:
            if keep:
                decoded.unpersist()
        self._rejecting = missing > 0
        return self._entry(mark, counts, missing, reasons, now)

    def _good(self, decoded: DataFrame, mark: Mark, transform: Transform) -> Counts:
        """Writes what is good; counts what was read, written and filtered in the same pass."""
        seen, done = Observation(), Observation()
        held = self._held(mark)
        already = decoded.filter("_reason IS NULL").join(held, COORDINATES, "left_semi").count() if held else 0
        read = decoded.observe(seen, F.count(F.lit(1)).alias("read"), F.count("_reason").alias("rejected"))
        outcome = transform(_without(read.filter("_reason IS NULL"), held))
        counted = outcome.observe(done, F.count(F.lit(1)).alias("total"), F.count("_reason").alias("rejected"))
        with self.phase("write"):
            self.outlets.good.append(classify.good(counted), mark)
        before, after = seen.get, done.get
        filtered = before["read"] - before["rejected"] - already - after["total"]
        return Counts(before["read"], already + after["total"] - after["rejected"], filtered)

    def _held(self, mark: Mark) -> DataFrame | None:
        """Coordinates of what the sink already holds of a batch in doubt."""
        unsure = bool(self.doubt) or (self.in_doubt and not self.ledger.atomic)
        held = self.outlets.good.held() if unsure else None
        return None if held is None else mark.narrow(held)

    def _rejects(self, decoded: DataFrame, mark: Mark, now: datetime, transform: Transform) -> dict[str, int]:
        """Parks the waiting and writes the rest as dead letters; counts by reason."""
        fresh = _without(decoded.filter("_reason IS NULL"), self._held(mark))
        failed = classify.rejected(decoded).unionByName(classify.rejected(transform(fresh))).persist()
        try:
            reasons = {row["_reason"]: row["count"] for row in failed.groupBy("_reason").count().collect()}
            waiting, dead = failed.filter(F.col("_reason") == WAITING), failed.filter(F.col("_reason") != WAITING)
            if self.outlets.parked and WAITING in reasons:
                self.outlets.parked.park(waiting, mark, now, self.in_doubt)
            if self.outlets.dead and reasons.keys() - {WAITING}:
                with self.phase("dead_letters"):
                    dead_letters.send(self.outlets.dead, dead_letters.letters(dead, self.job), mark, self.in_doubt)
        finally:
            failed.unpersist()
        return reasons

    def _entry(self, mark: Mark, counts: Counts, missing: int, reasons: dict[str, int], now: datetime) -> Entry:
        parked = reasons.pop(WAITING, 0)
        whole = Counts(counts.read, counts.written, counts.filtered, sum(reasons.values()), parked)
        if not whole.balanced():
            raise RuntimeError(
                f"batch {mark.batch_id} does not add up: {whole}, {missing} were rejected on the first pass"
            )
        place = (mark.job, mark.query_id, mark.batch_id, mark.start, mark.end)
        note = {**self.note(), **doubt.lasting(self.doubt, mark.end)}
        return Entry("batch", *place, whole, now.isoformat(), reasons, note)


def _without(rows: DataFrame, held: DataFrame | None) -> DataFrame:
    return rows if held is None else rows.join(held, COORDINATES, "left_anti")


@contextmanager
def not_adaptive(spark: SparkSession) -> Iterator[None]:
    """Adaptive execution drops a join whose one side turns out empty, and with it what `observe` counted below it."""
    before = spark.conf.get(ADAPTIVE)
    spark.conf.set(ADAPTIVE, "false")
    try:
        yield
    finally:
        spark.conf.set(ADAPTIVE, str(before))
