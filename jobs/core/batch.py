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
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.observation import Observation

from jobs.core import classify, dead_letters, doubt, poison
from jobs.core.checkpoint import Checkpoint
from jobs.core.classify import Transform
from jobs.core.dead_letters import ATTEMPT
from jobs.core.lateness import Lateness
from jobs.core.ledger import Books, Counts, Entry
from jobs.core.parking import Parking
from jobs.core.reasons import LATE, WAITING
from jobs.core.redriven import Again, Redrive
from jobs.core.session import overridden
from jobs.core.sinks import Mark, Refusal, Sink
from jobs.core.sources import COORDINATES

# Adaptive execution drops a join whose one side turns out empty, and with it what `observe` counted below it.
NOT_ADAPTIVE = ("spark.sql.adaptive.enabled", "false")
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
    max_refused: int = 1_000

    @property
    def refusable(self) -> int:
        """How many rows of a batch the sink may refuse: none where they have no place to go to."""
        return self.max_refused if self.dead else 0


@dataclass(frozen=True)
class Try:
    """One try at one batch: its records, judged at one time."""

    records: DataFrame
    mark: Mark
    now: datetime
    transform: Transform


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
    redrive: Redrive | None = None
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
        """The batch with the rows that the sink takes."""
        one = Try(records, mark, self.clock(), self.transform)
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
        redrive = self._redrive(one)
        with self._sorted(one, redrive is not None, redrive) as again:
            fresh = _without(again.rows.filter("_reason IS NULL"), self._held(one.mark))
            return self.outlets.good.refused(classify.good(again.tried(one.transform(fresh))), one.mark, most)

    def _mark(self, batch_id: int) -> Mark:
        query_id = self.checkpoint.query_id()
        start, end = (
            json.dumps(read(batch_id), sort_keys=True) for read in (self.checkpoint.start, self.checkpoint.end)
        )
        return Mark(self.job, str(query_id), batch_id, start, end)

    def _write(self, one: Try) -> Entry:
        redrive = self._redrive(one)
        keep = self._rejecting or redrive is not None
        with self._sorted(one, keep, redrive) as again:
            counts = self._good(again, one)
            missing = counts.read - counts.written - counts.filtered - counts.duplicate
            whole = again if keep else Again(self._decoded(one, True))
            reasons, rejected_again = self._rejects(whole, one) if missing else ({}, 0)
            if self.in_doubt and self.outlets.parked:
                self.outlets.parked.settle_held(self.outlets.good.held(), one.mark, one.now)
        self._rejecting = missing > 0
        return self._entry(one, replace(counts, rejected_again=rejected_again), missing, reasons)

    def _redrive(self, one: Try) -> Redrive | None:
        """Where a batch has read records that come again."""
        return self.redrive if self.redrive and self.redrive.within(one.mark) else None

    @contextmanager
    def _sorted(self, one: Try, keep: bool, redrive: Redrive | None) -> Iterator[Again]:
        """The batch's records, decoded, without duplicates of those that come again; kept for a second pass, or not."""
        decoded = self._decoded(one, keep)
        if keep:
            decoded = decoded.persist()
        try:
            good = self.outlets.good
            with redrive.sorted(decoded, one.mark, good) if redrive else nullcontext(Again(decoded)) as again:
                yield again
        finally:
            if keep:
                decoded.unpersist()

    def _decoded(self, one: Try, keep: bool) -> DataFrame:
        """DECODED, late records among the rejected; batches cut anew after a recovery leave alone what the sink holds."""
        decoded = self.decode(one.records, one.now, keep)
        late = self.outlets.late
        if late is None:
            return decoded
        return late.judge(decoded, self.ledger.last_batch, self._held(one.mark) if self.doubt else None)

    def _good(self, again: Again, one: Try) -> Counts:
        """Writes what is good; counts what was read, written and filtered in the same pass."""
        decoded, seen, done = again.rows, Observation(), Observation()
        held = self._held(one.mark)
        already = decoded.filter("_reason IS NULL").join(held, COORDINATES, "left_semi").count() if held else 0
        newest = [self.outlets.late.newest().alias("newest")] if self.outlets.late else []
        read = decoded.observe(seen, F.count(F.lit(1)).alias("read"), F.count("_reason").alias("rejected"), *newest)
        outcome = again.tried(one.transform(_without(read.filter("_reason IS NULL"), held)))
        redriven = F.count_if((F.col(ATTEMPT) > 1) & F.col("_reason").isNull()).alias("redriven")
        counted = outcome.observe(
            done, F.count(F.lit(1)).alias("total"), F.count("_reason").alias("rejected"), redriven
        )
        with self.phase("write"):
            self.outlets.good.append(classify.good(counted), one.mark)
        before, after = seen.get, done.get
        self._newest = before.get("newest")
        filtered = before["read"] - before["rejected"] - already - after["total"]
        return Counts(
            before["read"] + again.already + again.duplicate,
            already + again.already + after["total"] - after["rejected"],
            filtered,
            duplicate=again.duplicate,
            redriven=again.already + after["redriven"],
        )

    def _held(self, mark: Mark) -> DataFrame | None:
        """Coordinates of what the sink already holds of a batch in doubt."""
        unsure = bool(self.doubt) or (self.in_doubt and not self.ledger.atomic)
        held = self.outlets.good.held() if unsure else None
        return None if held is None else mark.narrow(held)

    def _rejects(self, again: Again, one: Try) -> tuple[dict[str, int], int]:
        """Parks the waiting, puts the late aside and writes the rest as dead letters.

        Counts by reason, and those that were dead letters before.
        """
        fresh = _without(again.rows.filter("_reason IS NULL"), self._held(one.mark))
        failed = classify.rejected(again.rows).unionByName(classify.rejected(one.transform(fresh)))
        failed = again.tried(failed).persist()
        try:
            told = failed.groupBy("_reason").agg(F.count(F.lit(1)), F.count_if(F.col(ATTEMPT) > 1)).collect()
            self._send(failed, {reason for reason, *_ in told}, one)
        finally:
            failed.unpersist()
        return {reason: count for reason, count, _ in told}, sum(repeated for *_, repeated in told)

    def _send(self, failed: DataFrame, reasons: set[str], one: Try) -> None:
        waiting, late = (failed.filter(F.col("_reason") == apart) for apart in (WAITING, LATE))
        dead = failed.filter(~F.col("_reason").isin(WAITING, LATE))
        if self.outlets.parked and WAITING in reasons:
            self.outlets.parked.park(waiting, one.mark, one.now, self.in_doubt)
        if self.outlets.late and LATE in reasons:
            dead_letters.send(self.outlets.late.to, dead_letters.letters(late, self.job), one.mark, self.in_doubt)
        if self.outlets.dead and reasons - {WAITING, LATE}:
            with self.phase("dead_letters"):
                dead_letters.send(self.outlets.dead, dead_letters.letters(dead, self.job), one.mark, self.in_doubt)

    def _entry(self, one: Try, counts: Counts, missing: int, reasons: dict[str, int]) -> Entry:
        mark, parked, late = one.mark, reasons.pop(WAITING, 0), reasons.pop(LATE, 0)
        fallen = sum(reasons.values()) - counts.rejected_again - counts.redriven
        whole = replace(counts, dead_letters=fallen, parked=parked, late=late)
        if not whole.balanced():
            raise RuntimeError(
                f"batch {mark.batch_id} does not add up: {whole}, {missing} were rejected on the first pass"
            )
        place = (mark.job, mark.query_id, mark.batch_id, mark.start, mark.end)
        newest = self.outlets.late.noted(self.ledger.last_batch, self._newest) if self.outlets.late else {}
        note = {**self.note(), **doubt.lasting(self.doubt, mark.end), **newest}
        return Entry("batch", *place, whole, one.now.isoformat(), reasons, note)


def _without(rows: DataFrame, held: DataFrame | None) -> DataFrame:
    return rows if held is None else rows.join(held, COORDINATES, "left_anti")
