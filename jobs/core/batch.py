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
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, Protocol

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.observation import Observation

from jobs.core import classify, doubt, poison
from jobs.core.checkpoint import Checkpoint
from jobs.core.classify import Transform
from jobs.core.clock import Clock, utc_now
from jobs.core.dead_letters import ATTEMPT
from jobs.core.failures import BeginAnew
from jobs.core.judged import Judged
from jobs.core.ledger import Books, Counts, Entry
from jobs.core.order import KeyOrder
from jobs.core.outlets import Outlets, Phase, untimed
from jobs.core.reasons import LATE, WAITING
from jobs.core.redriven import Again, Redrive
from jobs.core.session import overridden
from jobs.core.sinks import Mark, Refusal
from jobs.core.told import Told

# Adaptive execution drops a join whose one side turns out empty, and with it what `observe` counted below it.
NOT_ADAPTIVE = ("spark.sql.adaptive.enabled", "false")
# What is kept for a second pass is read once or twice: to pack it costs more than that.
NOT_PACKED = ("spark.sql.inMemoryColumnarStorage.compressed", "false")
log = logging.getLogger(__name__)
Prepare = Callable[[datetime], None]  # comes before each try at a batch, and is told its time
Dropped = Literal["filtered", "duplicate"]  # what good records are that a transform leaves out


def unprepared(now: datetime) -> None:
    """For a transform that needs nothing."""


@dataclass(frozen=True)
class Try:
    """One try at one batch: its records, judged at one time."""

    records: DataFrame
    mark: Mark
    now: datetime
    transform: Transform


class Planned(Protocol):
    """What a query's plan does ahead of its batches, which then bring DECODED, and what it keeps in its state."""

    def tell(self, batch: Told) -> None:
        """The plan what it has to know of a batch that is about to run."""

    def beside(self) -> Column:
        """Of DECODED, whether a row is a rejected record of another stream."""


def is_in_doubt(checkpoint: Checkpoint, ledger: Books) -> bool:
    """Whether a batch was planned that the ledger does not hold."""
    planned = checkpoint.planned()
    known = ledger.last_batch.batch_id if ledger.last_batch else -1
    return bool(planned) and planned[-1] > known


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
    prepare: Prepare = unprepared
    dropped: Dropped = "filtered"
    looks_ahead: bool = False  # whether the transform reads its events before it gives any
    in_doubt: bool = False  # whether the next batch was planned by an earlier run that may have written some of it
    doubt: dict[str, str] = field(default_factory=dict)  # after a recovery: until where every batch is in doubt
    phase: Phase = untimed
    redrive: Redrive | None = None
    order: KeyOrder | None = None
    planned: Planned | None = None
    parked: int = 0  # records since the start; those that were judged twice count twice
    _rejecting: bool = False  # whether the last batch rejected something: then the next one is kept for a second pass
    _newest: int | None = None  # event time of the batch in hand, by its first pass

    def look_again(self) -> None:
        """Whether the next batch was planned already: the query is started again, which may have failed anywhere."""
        self.in_doubt = self.in_doubt or is_in_doubt(self.checkpoint, self.ledger)

    def run(self, records: DataFrame, batch_id: int) -> None:
        """Handles one batch, or nothing if the ledger already holds it; after a failure it may be called again."""
        mark = self._mark(batch_id)
        after = doubt.lasting(self.doubt, mark.end)
        if not self.ledger.holds(mark.query_id, batch_id):
            session = records.sparkSession
            with overridden(session, *NOT_ADAPTIVE), overridden(session, *NOT_PACKED):
                self._attempt(records, mark)
        self.doubt, self.in_doubt = after, bool(after)

    def _attempt(self, records: DataFrame, mark: Mark) -> None:
        """The batch with the rows that the sink takes."""
        one = Try(records, mark, self.clock(), self.transform)
        if self.planned:
            self.planned.tell(Told(one.now, self.checkpoint.watermark_ms(mark.batch_id)))
        self.prepare(one.now)
        poison.until_taken(
            self.transform,
            lambda transform: self._try(replace(one, transform=transform)),
            lambda transform, most: self._refused(replace(one, transform=transform), most),
            self.outlets.refusable,
            mark.batch_id,
        )

    def _try(self, one: Try) -> None:
        try:
            entry = self._write(one)
            with self.phase("ledger"):
                self.ledger.append(entry)
        except BaseException:
            self.in_doubt = True
            raise

    def _refused(self, one: Try, most: int) -> list[Refusal]:
        """Of the good rows that the sink does not hold, those that it refuses."""
        with self._judged(one, self._keep(one)) as judged:
            return self.outlets.good.refused(classify.good(judged.outcome(judged.fresh(judged.good()))), one.mark, most)

    def _mark(self, batch_id: int) -> Mark:
        query_id = self.checkpoint.query_id()
        start, end = (
            json.dumps(read(batch_id), sort_keys=True) for read in (self.checkpoint.start, self.checkpoint.end)
        )
        return Mark(self.job, str(query_id), batch_id, start, end)

    def _write(self, one: Try) -> Entry:
        keep = self._rejecting or self._keep(one)
        with self._judged(one, keep) as judged:
            counts = self._good(judged, one)
            missing = counts.read - counts.written - counts.filtered - counts.duplicate
            may_wait = self.in_doubt and self.outlets.parked is not None
            reasons, rejected_again = dict[str, int](), 0
            if missing or may_wait or judged.blocking.open is not None:
                whole = judged if keep else replace(judged, again=Again(self._decoded(one, True)))
                reasons, rejected_again = self._rejects(whole, one)
        self._rejecting = missing > 0
        return self._entry(one, replace(counts, rejected_again=rejected_again), missing, reasons)

    def _keep(self, one: Try) -> bool:
        """Whether there will be a second pass for the raw records, whatever the first one finds, or may be no other."""
        return self.planned is not None or self.order is not None or self._redrive(one) is not None

    def _redrive(self, one: Try) -> Redrive | None:
        """Where a batch has read records that come again."""
        return self.redrive if self.redrive and self.redrive.within(one.mark) else None

    @contextmanager
    def _judged(self, one: Try, keep: bool) -> Iterator[Judged]:
        """Where keys have an order, which of them are blocked is known."""
        with self._sorted(one, keep) as again:
            judged = Judged(again, one.transform, self._held(one.mark))
            if self.order is None:
                yield judged
                return
            with self.order.within(again.judged, judged.failed()) as blocking:
                yield replace(judged, blocking=blocking)

    @contextmanager
    def _sorted(self, one: Try, keep: bool) -> Iterator[Again]:
        """The batch's records, decoded, without duplicates of those that come again; kept for a second pass, or not.

        A transform that looks ahead needs the events twice, but not the raw records: they would be most of what is kept.
        """
        decoded, redrive, twice = self._decoded(one, keep), self._redrive(one), keep or self.looks_ahead
        if twice:
            decoded = decoded.persist()
        try:
            good = self.outlets.good
            with redrive.sorted(decoded, one.mark, good) if redrive else nullcontext(Again(decoded)) as again:
                yield again
        finally:
            if twice:
                decoded.unpersist()

    def _decoded(self, one: Try, keep: bool) -> DataFrame:
        """DECODED, late records among the rejected; batches cut anew after a recovery leave alone what the sink holds."""
        decoded = self.decode(one.records, one.now, keep)
        late = self.outlets.late
        if late is None:
            return decoded
        return late.judge(decoded, self.ledger.last_batch, self._held(one.mark) if self.doubt else None)

    def _good(self, judged: Judged, one: Try) -> Counts:
        """Writes what is good; counts what was read, written and filtered in the same pass."""
        again, seen, left, done = judged.again, Observation(), Observation(), Observation()
        newest = [self.outlets.late.newest().alias("newest")] if self.outlets.late else []
        beside = [F.count_if(self.planned.beside()).alias("beside")] if self.planned else []
        told = [F.count(F.lit(1)).alias("read"), F.count("_reason").alias("rejected"), *newest, *beside]
        read = again.rows.observe(seen, *told)
        fresh = judged.fresh(read.filter("_reason IS NULL"))
        outcome = judged.outcome(fresh.observe(left, F.count(F.lit(1)).alias("fresh")) if judged.held else fresh)
        redriven = F.count_if((F.col(ATTEMPT) > 1) & F.col("_reason").isNull()).alias("redriven")
        counted = outcome.observe(
            done, F.count(F.lit(1)).alias("total"), F.count("_reason").alias("rejected"), redriven
        )
        with self.phase("write"):
            lined_up = self.order.lined_up(counted) if self.order else counted
            self.outlets.good.append(classify.good(lined_up), one.mark)
        before, after = seen.get, done.get
        self._newest = before.get("newest")
        good = before["read"] - before["rejected"]
        already = good - left.get["fresh"] if judged.held else 0
        counts = Counts(
            before["read"] + again.already + again.duplicate,
            already + again.already + after["total"] - after["rejected"],
            duplicate=again.duplicate,
            redriven=again.already + after["redriven"],
            beside=before.get("beside", 0),
        )
        self._plausible(counts, one.mark)
        left_out = {self.dropped: getattr(counts, self.dropped) + good - already - after["total"]}
        return replace(counts, **left_out)

    def _plausible(self, counts: Counts, mark: Mark) -> None:
        """Where a machine is lost, Spark makes a part of a batch anew, and counts it again. Raises BeginAnew."""
        most = None if self.planned else mark.records()
        if most is not None and counts.read > most:
            raise BeginAnew(f"{counts.read} records were counted, where there are {most}")

    def _held(self, mark: Mark) -> DataFrame | None:
        """Coordinates of what the sink already holds of a batch in doubt; a plan's state may bring records of earlier ones."""
        unsure = bool(self.doubt) or (self.in_doubt and not self.ledger.atomic)
        held = self.outlets.good.held() if unsure else None
        return held if held is None or self.planned else mark.narrow(held)

    def _rejects(self, judged: Judged, one: Try) -> tuple[dict[str, int], int]:
        """Rejected records into their outlets. Counts by reason, and those that were dead letters before."""
        failed = judged.failed().persist()
        try:
            told = failed.groupBy("_reason").agg(F.count(F.lit(1)), F.count_if(F.col(ATTEMPT) > 1)).collect()
            reasons = {reason: count for reason, count, _ in told}
            again = judged.again.judged if self.in_doubt else None
            self.outlets.reject(failed, set(reasons), one.mark, one.now, again, self.phase)
            if self.order:
                self.order.record(judged.blocking, judged.again.judged, failed, one.mark, one.now)
        finally:
            failed.unpersist()
        return reasons, sum(repeated for *_, repeated in told)

    def _entry(self, one: Try, counts: Counts, missing: int, reasons: dict[str, int]) -> Entry:
        mark, parked, late = one.mark, reasons.pop(WAITING, 0), reasons.pop(LATE, 0)
        self.parked += parked
        fallen = sum(reasons.values()) - counts.rejected_again - counts.redriven
        whole = self._with_state(replace(counts, dead_letters=fallen, parked=parked, late=late), mark)
        if not whole.balanced():
            raise RuntimeError(
                f"batch {mark.batch_id} does not add up: {whole}, {missing} were rejected on the first pass"
            )
        place = (mark.job, mark.query_id, mark.batch_id, mark.start, mark.end)
        newest = self.outlets.late.noted(self.ledger.last_batch, self._newest) if self.outlets.late else {}
        note = {**self.note(), **doubt.lasting(self.doubt, mark.end), **newest}
        return Entry("batch", *place, whole, one.now.isoformat(), reasons, note)

    def _with_state(self, counts: Counts, mark: Mark) -> Counts:
        """What came out of a plan -> what went into it; the difference is in its state, or was."""
        came = mark.records() if self.planned else None
        if came is None:
            return counts
        own = counts.read - counts.beside
        return replace(counts, read=came + counts.beside, joining=came - own)
