"""A release: parked records tried again, as one ledger record of its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.observation import Observation

from jobs.core import behind, classify, dead_letters, poison
from jobs.core.batch import MicroBatch
from jobs.core.classify import Transform
from jobs.core.dead_letters import ATTEMPT
from jobs.core.ledger import RELEASE, Counts, Entry
from jobs.core.parking import Parking
from jobs.core.pending import IDENTITY, WRITE
from jobs.core.sinks import Mark
from jobs.core.sources import COORDINATES

FIRST = timedelta(seconds=1)  # the shortest pause
SHARE = 10  # while more is parked, a release has no more than its tenth of the time


@dataclass(frozen=True)
class Tried:
    """When what waits was tried last, with what, after how many had been parked, and when to try again all the same."""

    at: datetime
    note: dict[str, str]
    parked: int
    waited: bool  # whether anything did
    pause: timedelta
    took: timedelta


class Release:
    """Tries parked records again: after each refresh, and with pauses that double while nothing comes of it."""

    def __init__(self, batch: MicroBatch, parking: Parking) -> None:
        self._batch, self._parking = batch, parking
        self._in_doubt = True  # the first release of a run may follow one that was cut short
        self._tried: Tried | None = None

    def reopen(self) -> None:
        """Takes back what a release settled that was cut short. Has to come before anything else is written."""
        self._parking.reopen(self._batch.ledger.written(), self._mark())

    def tick(self) -> None:
        """May be called again after a failure."""
        if self._batch.in_doubt or not self._due():
            return
        if self._in_doubt:
            self.reopen()
        now, note, parked = self._batch.clock(), self._batch.note(), self._batch.parked
        waiting, before = self._parking.waiting(), self._batch.ledger.next
        waits = waiting is not None and self._try(waiting, now)
        moved = self._batch.ledger.next != before
        pause = self._pause(moved) if waits else self._parking.patience
        self._tried = Tried(now, note, parked, waits, pause, self._batch.clock() - now)

    def _pause(self, moved: bool) -> timedelta:
        """Until what waits is tried again; the pause in which nothing waited is no beginning."""
        last = self._tried
        again = 2 * last.pause if last and last.waited and not moved else FIRST
        return min(again, self._parking.patience)

    def _due(self) -> bool:
        """At the start, after a refresh, when the pause is over, and soon after more was parked: that takes all that waits."""
        last = self._tried
        if last is None or last.note != self._batch.note():
            return True
        soon = min(max(FIRST, SHARE * last.took), self._parking.patience)
        pause = last.pause if last.parked == self._batch.parked else soon
        return self._batch.clock() - last.at >= pause

    def _try(self, waiting: DataFrame, now: datetime) -> bool:
        """Whether anything waited."""
        kept = waiting.persist()
        try:
            waits = kept.count() > 0
            if waits:
                self._release(kept, now)
            self._parking.remember_oldest(kept)
        finally:
            kept.unpersist()
        self._in_doubt = False
        return waits

    def _release(self, waiting: DataFrame, now: datetime) -> None:
        """What is left of it once the sink has said which rows it refuses."""
        mark, batch = self._mark(), self._batch
        batch.prepare(now)
        already, fresh = self._split(waiting)
        self._in_doubt = True
        poison.until_taken(
            batch.transform,
            lambda transform: self._settle(already, self._again(fresh, now, transform), mark, now),
            lambda transform, most: batch.outlets.good.refused(_hits(self._again(fresh, now, transform)), mark, most),
            batch.outlets.refusable,
            mark.batch_id,
        )

    def _settle(self, already: DataFrame, outcome: DataFrame, mark: Mark, now: datetime) -> None:
        """What is settled holds once the ledger's record is there, which comes last, or with the rows."""
        outcome, ledger = outcome.persist(), self._batch.ledger
        try:
            told = self._in_turn(self._parking.judge(outcome, now))
            hits, dead = told.filter("_reason IS NULL"), behind.dead(told)
            reasons = {row["_reason"]: row["count"] for row in dead.groupBy("_reason").count().collect()}
            written, lost = hits.count(), sum(reasons.values())
            done = already.count() + written
            if done or lost:
                over = [rows.select(*IDENTITY, "parked_at") for rows in (already, hits, dead)]
                self._parking.settle(reduce(DataFrame.unionByName, over), mark, now, ledger.next)
                if written:
                    self._write(hits, written, mark)
                if lost:
                    self._give_up(dead, mark)
                if self._batch.order:
                    self._batch.order.given_up(outcome.select(*COORDINATES), dead, mark, now)
                counts = Counts(0, done, 0, lost, -(done + lost))
                with self._batch.phase("ledger"):
                    ledger.append(_entry(mark, counts, reasons, now, self._batch.note()))
        finally:
            outcome.unpersist()

    def _in_turn(self, outcome: DataFrame) -> DataFrame:
        return self._batch.order.in_turn(outcome) if self._batch.order else outcome

    def _split(self, waiting: DataFrame) -> tuple[DataFrame, DataFrame]:
        """What a release that was cut short has written already, and the rest."""
        unsure = self._in_doubt and not self._batch.ledger.atomic
        held = self._batch.outlets.good.held() if unsure else None
        if held is None:
            return waiting.limit(0), waiting
        return waiting.join(held, COORDINATES, "left_semi"), waiting.join(held, COORDINATES, "left_anti")

    def _again(self, waiting: DataFrame, now: datetime, transform: Transform) -> DataFrame:
        plain = {"_topic": "topic", "_partition": "partition", "_offset": "offset", "_timestamp": "timestamp"}
        outcome = transform(self._batch.decode(waiting.withColumnsRenamed(plain), now, True)).withColumn(
            ATTEMPT, F.lit(1)
        )
        return outcome.join(waiting.select(*IDENTITY, "parked_at"), COORDINATES)

    def _write(self, hits: DataFrame, count: int, mark: Mark) -> None:
        """They may have been made anew, with a machine that is lost, and from answers that came later."""
        seen, batch = Observation(), self._batch
        counted = hits.observe(seen, F.count(F.lit(1)).alias("rows"))
        with batch.phase("write"):
            batch.outlets.good.append(_hits(batch.order.lined_up(counted) if batch.order else counted), mark)
        if seen.get["rows"] != count:
            raise RuntimeError(f"a release does not add up: {seen.get['rows']} rows were written, {count} were settled")

    def _give_up(self, dead: DataFrame, mark: Mark) -> None:
        if self._batch.outlets.dead:
            letters = dead_letters.letters(dead, self._batch.job)
            with self._batch.phase("dead_letters"):
                dead_letters.send(self._batch.outlets.dead, letters, mark)

    def _mark(self) -> Mark:
        last = self._batch.ledger.last_batch
        query_id = str(self._batch.checkpoint.query_id())
        return Mark(self._batch.job, query_id, last.batch_id if last else -1, "release", "release")


def _hits(outcome: DataFrame) -> DataFrame:
    """What the sink gets of a release."""
    return classify.good(outcome.drop(WRITE, "parked_at"))


def _entry(mark: Mark, counts: Counts, reasons: dict[str, int], now: datetime, note: dict[str, str]) -> Entry:
    place = (mark.job, mark.query_id, mark.batch_id, mark.start, mark.end)
    return Entry(RELEASE, *place, counts, now.isoformat(), reasons, note)
