"""A release: parked records tried again, as one ledger record of its own."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.core import classify, dead_letters, poison
from jobs.core.batch import MicroBatch
from jobs.core.classify import Transform
from jobs.core.dead_letters import ATTEMPT
from jobs.core.ledger import Counts, Entry
from jobs.core.parking import Parking
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
        """What is left of it once the sink has said which rows it refuses."""
        mark, batch = self._mark(), self._batch
        already, fresh = self._split(waiting)
        poison.until_taken(
            batch.transform,
            lambda transform: self._settle(already, self._again(fresh, now, transform), mark, now),
            lambda transform, most: batch.outlets.good.refused(_hits(self._again(fresh, now, transform)), mark, most),
            batch.outlets.refusable,
            mark.batch_id,
        )

    def _settle(self, already: DataFrame, outcome: DataFrame, mark: Mark, now: datetime) -> None:
        outcome = outcome.persist()
        try:
            dead = self._parking.expire(outcome, now)
            reasons = {row["_reason"]: row["count"] for row in dead.groupBy("_reason").count().collect()}
            counts = self._write(_hits(outcome), dead, mark, already.count(), sum(reasons.values()))
            if counts.parked:
                hits = outcome.filter("_reason IS NULL")
                done = already.select(*COORDINATES).union(hits.select(*COORDINATES)).union(dead.select(*COORDINATES))
                self._parking.settle(done, mark, now)
                self._batch.ledger.append(_entry(mark, counts, reasons, now, self._batch.note()))
        finally:
            outcome.unpersist()

    def _split(self, waiting: DataFrame) -> tuple[DataFrame, DataFrame]:
        """What a release that was cut short has written already, and the rest."""
        held = self._batch.outlets.good.held() if self._in_doubt else None
        if held is None:
            return waiting.limit(0), waiting
        return waiting.join(held, COORDINATES, "left_semi"), waiting.join(held, COORDINATES, "left_anti")

    def _again(self, waiting: DataFrame, now: datetime, transform: Transform) -> DataFrame:
        plain = {"_topic": "topic", "_partition": "partition", "_offset": "offset", "_timestamp": "timestamp"}
        outcome = transform(self._batch.decode(waiting.withColumnsRenamed(plain), now, True))
        return outcome.join(waiting.select(*COORDINATES, "parked_at"), COORDINATES)

    def _write(self, hits: DataFrame, dead: DataFrame, mark: Mark, already: int, lost: int) -> Counts:
        written = hits.count()
        if written:
            self._batch.outlets.good.append(hits, mark)
        if lost and self._batch.outlets.dead:
            letters = dead_letters.letters(dead.withColumn(ATTEMPT, F.lit(1)), self._batch.job)
            dead_letters.send(self._batch.outlets.dead, letters, mark)
        return Counts(0, written + already, 0, lost, -(written + already + lost))

    def _mark(self) -> Mark:
        last = self._batch.ledger.last_batch
        query_id = str(self._batch.checkpoint.query_id())
        return Mark(self._batch.job, query_id, last.batch_id if last else -1, "release", "release")


def _hits(outcome: DataFrame) -> DataFrame:
    """What the sink gets of a release."""
    return classify.good(outcome.drop("parked_at"))


def _entry(mark: Mark, counts: Counts, reasons: dict[str, int], now: datetime, note: dict[str, str]) -> Entry:
    place = (mark.job, mark.query_id, mark.batch_id, mark.start, mark.end)
    return Entry("release", *place, counts, now.isoformat(), reasons, note)
