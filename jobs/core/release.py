"""A release: parked records tried again, as one ledger record of its own."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.core import classify, dead_letters
from jobs.core.batch import MicroBatch
from jobs.core.dead_letters import ATTEMPT
from jobs.core.ledger import Counts, Entry
from jobs.core.parking import Parking
from jobs.core.reasons import Reason
from jobs.core.sinks import Mark
from jobs.core.sources import COORDINATES


class Release:
    """Tries parked records again after each refresh, and now and then for the sake of those that expire."""

    def __init__(self, batch: MicroBatch, parking: Parking) -> None:
        self._batch, self._parking = batch, parking
        self._in_doubt = True  # the first release of a run may follow one that was cut short
        self._tried: tuple[datetime, dict[str, str]] | None = None

    def tick(self) -> None:
        if self._batch.in_doubt or not self._due():
            return
        self._tried = (self._batch.clock(), self._batch.note())
        waiting = self._parking.waiting()
        if waiting is not None:
            self._try(waiting)

    def _due(self) -> bool:
        """At the start, after a refresh, and four times within `wait_for`."""
        if self._tried is None:
            return True
        when, note = self._tried
        return note != self._batch.note() or self._batch.clock() - when >= self._parking.patience

    def _try(self, waiting: DataFrame) -> None:
        kept = waiting.persist()
        try:
            if kept.count():
                self._release(kept, self._batch.clock())
            self._parking.remember_oldest(kept)
        finally:
            kept.unpersist()
        self._in_doubt = False

    def _release(self, waiting: DataFrame, now: datetime) -> None:
        mark = self._mark()
        already, fresh = self._split(waiting)
        outcome = self._again(fresh, now).persist()
        try:
            hits, expired = outcome.filter("_reason IS NULL"), self._parking.expire(outcome, now)
            counts = self._write(hits, expired, mark, already.count())
            if counts.parked:
                done = already.select(*COORDINATES).union(hits.select(*COORDINATES)).union(expired.select(*COORDINATES))
                self._parking.settle(done, mark, now)
                self._batch.ledger.append(_entry(mark, counts, now, self._batch.note()))
        finally:
            outcome.unpersist()

    def _split(self, waiting: DataFrame) -> tuple[DataFrame, DataFrame]:
        """What a release that was cut short has written already, and the rest."""
        held = self._batch.outlets.good.held() if self._in_doubt else None
        if held is None:
            return waiting.limit(0), waiting
        return waiting.join(held, COORDINATES, "left_semi"), waiting.join(held, COORDINATES, "left_anti")

    def _again(self, waiting: DataFrame, now: datetime) -> DataFrame:
        plain = {"_topic": "topic", "_partition": "partition", "_offset": "offset", "_timestamp": "timestamp"}
        outcome = self._batch.transform(self._batch.decode(waiting.withColumnsRenamed(plain), now, True))
        return outcome.join(waiting.select(*COORDINATES, "parked_at"), COORDINATES)

    def _write(self, hits: DataFrame, expired: DataFrame, mark: Mark, already: int) -> Counts:
        written, lost = hits.count(), expired.count()
        if written:
            self._batch.outlets.good.append(classify.good(hits.drop("parked_at")), mark)
        if lost and self._batch.outlets.dead:
            dead_letters.send(
                self._batch.outlets.dead,
                dead_letters.letters(expired.withColumn(ATTEMPT, F.lit(1)), self._batch.job),
                mark,
            )
        return Counts(0, written + already, 0, lost, -(written + already + lost))

    def _mark(self) -> Mark:
        last = self._batch.ledger.last_batch
        query_id = str(self._batch.checkpoint.query_id())
        return Mark(self._batch.job, query_id, last.batch_id if last else -1, "release", "release")


def _entry(mark: Mark, counts: Counts, now: datetime, note: dict[str, str]) -> Entry:
    place = (mark.job, mark.query_id, mark.batch_id, mark.start, mark.end)
    reasons = {Reason.NO_REFERENCE.value: counts.dead_letters} if counts.dead_letters else {}
    return Entry("release", *place, counts, now.isoformat(), reasons, note)
