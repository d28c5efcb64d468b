"""One micro-batch: decode once, strictly; write the good rows and count in the same pass; then, only if something was
rejected, the rejected ones; the ledger's record last.

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

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.observation import Observation

from jobs.core import classify, dead_letters, doubt
from jobs.core.checkpoint import Checkpoint
from jobs.core.lateness import Lateness
from jobs.core.ledger import Books, Counts, Entry
from jobs.core.parking import Parking
from jobs.core.reasons import LATE, WAITING
from jobs.core.session import overridden
from jobs.core.sinks import Mark, Sink
from jobs.core.sources import COORDINATES

# Adaptive execution drops a join whose one side turns out empty, and with it what `observe` counted below it.
NOT_ADAPTIVE = ("spark.sql.adaptive.enabled", "false")
Transform = Callable[[DataFrame], DataFrame]
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
    late: Lateness | None = None


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
    _newest: int | None = None  # event time of the batch in hand, by its first pass

    def run(self, records: DataFrame, batch_id: int) -> None:
        """Handles one batch, or nothing if the ledger already holds it; after a failure it may be called again."""
        mark = self._mark(batch_id)
        after = doubt.lasting(self.doubt, mark.end)
        if not self.ledger.holds(mark.query_id, batch_id):
            with overridden(records.sparkSession, *NOT_ADAPTIVE):
                self._attempt(records, mark)
        self.doubt, self.in_doubt = after, bool(after)

    def _attempt(self, records: DataFrame, mark: Mark) -> None:
        try:
            entry = self._write(records, mark)
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

    def _write(self, records: DataFrame, mark: Mark) -> Entry:
        now, keep = self.clock(), self._rejecting
        decoded = self._decoded(records, mark, now, keep)
        if keep:
            decoded = decoded.persist()
        try:
            counts = self._good(decoded, mark)
            missing = counts.read - counts.written - counts.filtered
            reasons = (
                self._rejects(decoded if keep else self._decoded(records, mark, now, True), mark, now)
                if missing
                else {}
            )
            if self.in_doubt and self.outlets.parked:
                self.outlets.parked.settle_held(self.outlets.good.held(), mark, now)
        finally:
            if keep:
                decoded.unpersist()
        self._rejecting = missing > 0
        return self._entry(mark, counts, missing, reasons, now)

    def _decoded(self, records: DataFrame, mark: Mark, now: datetime, keep: bool) -> DataFrame:
        """DECODED, late records among the rejected; batches cut anew after a recovery leave alone what the sink holds."""
        decoded = self.decode(records, now, keep)
        late = self.outlets.late
        if late is None:
            return decoded
        return late.judge(decoded, self.ledger.last_batch, self._held(mark) if self.doubt else None)

    def _good(self, decoded: DataFrame, mark: Mark) -> Counts:
        """Writes what is good; counts what was read, written and filtered in the same pass."""
        seen, done = Observation(), Observation()
        held = self._held(mark)
        already = decoded.filter("_reason IS NULL").join(held, COORDINATES, "left_semi").count() if held else 0
        newest = [self.outlets.late.newest().alias("newest")] if self.outlets.late else []
        read = decoded.observe(seen, F.count(F.lit(1)).alias("read"), F.count("_reason").alias("rejected"), *newest)
        outcome = self.transform(_without(read.filter("_reason IS NULL"), held))
        counted = outcome.observe(done, F.count(F.lit(1)).alias("total"), F.count("_reason").alias("rejected"))
        with self.phase("write"):
            self.outlets.good.append(classify.good(counted), mark)
        before, after = seen.get, done.get
        self._newest = before.get("newest")
        filtered = before["read"] - before["rejected"] - already - after["total"]
        return Counts(before["read"], already + after["total"] - after["rejected"], filtered)

    def _held(self, mark: Mark) -> DataFrame | None:
        """Coordinates of what the sink already holds of a batch in doubt."""
        unsure = bool(self.doubt) or (self.in_doubt and not self.ledger.atomic)
        held = self.outlets.good.held() if unsure else None
        return None if held is None else mark.narrow(held)

    def _rejects(self, decoded: DataFrame, mark: Mark, now: datetime) -> dict[str, int]:
        """Parks the waiting, puts the late aside and writes the rest as dead letters; counts by reason."""
        fresh = _without(decoded.filter("_reason IS NULL"), self._held(mark))
        failed = classify.rejected(decoded).unionByName(classify.rejected(self.transform(fresh))).persist()
        try:
            reasons = {row["_reason"]: row["count"] for row in failed.groupBy("_reason").count().collect()}
            waiting, late = (failed.filter(F.col("_reason") == apart) for apart in (WAITING, LATE))
            dead = failed.filter(~F.col("_reason").isin(WAITING, LATE))
            if self.outlets.parked and WAITING in reasons:
                self.outlets.parked.park(waiting, mark, now, self.in_doubt)
            if self.outlets.late and LATE in reasons:
                dead_letters.send(self.outlets.late.to, dead_letters.letters(late, self.job), mark, self.in_doubt)
            if self.outlets.dead and reasons.keys() - {WAITING, LATE}:
                with self.phase("dead_letters"):
                    dead_letters.send(self.outlets.dead, dead_letters.letters(dead, self.job), mark, self.in_doubt)
        finally:
            failed.unpersist()
        return reasons

    def _entry(self, mark: Mark, counts: Counts, missing: int, reasons: dict[str, int], now: datetime) -> Entry:
        parked, late = reasons.pop(WAITING, 0), reasons.pop(LATE, 0)
        whole = Counts(counts.read, counts.written, counts.filtered, sum(reasons.values()), parked, late=late)
        if not whole.balanced():
            raise RuntimeError(
                f"batch {mark.batch_id} does not add up: {whole}, {missing} were rejected on the first pass"
            )
        place = (mark.job, mark.query_id, mark.batch_id, mark.start, mark.end)
        newest = self.outlets.late.noted(self.ledger.last_batch, self._newest) if self.outlets.late else {}
        note = {**self.note(), **doubt.lasting(self.doubt, mark.end), **newest}
        return Entry("batch", *place, whole, now.isoformat(), reasons, note)


def _without(rows: DataFrame, held: DataFrame | None) -> DataFrame:
    return rows if held is None else rows.join(held, COORDINATES, "left_anti")
