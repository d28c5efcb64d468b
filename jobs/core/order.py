"""Key order: while a record of a key waits, or is a dead letter, the later ones of that key do not pass it.

Behind a dead letter they become dead letters, too (KEY_BLOCKED), until it is redriven; behind one that waits they wait, too
(which record is behind which: `core.behind`). A dead letter is open until its record is judged anew and passes, or a redrive
has parked it for good.

BLOCKED   _key, _topic, _partition, _offset, _write, blocked_at     append-only
FREED     _topic, _partition, _offset, _write, freed_at, _seq       append-only; blocked minus freed is open
`_write` tells the tries at a batch apart: one that fails after this was written does not undo what the next one finds. What
waits is in `core.parking`'s own log.
Which records fail has to be known before any is written, so a batch is judged twice in this mode. While no key is held up, that
is all it costs; while one is, the logs are read once a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.behind import blocked, dead, heads, waiting_behind, waits
from jobs.core.config import JobConfig
from jobs.core.lease import Lease
from jobs.core.pending import Names, Pending
from jobs.core.sinks import Mark
from jobs.core.sources import COORDINATES


class Held(NamedTuple):
    """Of one log, for one batch: what is pending, persisted, and which keys are held up from where on."""

    open: DataFrame | None = None
    heads: DataFrame | None = None  # HEADS


NONE = Held()


@dataclass(frozen=True)
class Blocking:
    """What holds for one batch: which keys are held up, by dead letters and by what waits."""

    letters: Held = NONE
    waiting: Held = NONE

    @property
    def open(self) -> DataFrame | None:
        """BLOCKED."""
        return self.letters.open

    def judge(self, outcome: DataFrame) -> DataFrame:
        """DECODED with attempts -> the same: rows behind another one of their key get a reason."""
        rest = outcome if self.letters.heads is None else blocked(outcome, self.letters.heads)
        return rest if self.waiting.heads is None else waiting_behind(rest, self.waiting.heads)


NOTHING = Blocking()


class Holding:
    """What holds keys up, by one log, which is looked at while it has anything."""

    def __init__(self, pending: Pending, key: str) -> None:
        self.pending, self._key = pending, key
        self.may_be = True  # whether anything is pending: not known before the first look

    @contextmanager
    def within(self, judged: DataFrame, failed: DataFrame) -> Iterator[Held]:
        """For a batch of which these records are judged now, and these hold their keys up, whatever the key's others do."""
        with self.open() as found:
            earlier = None if found is None else found.join(judged, COORDINATES, "left_anti")
            kept = heads(failed, earlier).persist()
            try:
                yield Held(found, None if kept.isEmpty() else kept)
            finally:
                kept.unpersist()

    @contextmanager
    def open(self) -> Iterator[DataFrame | None]:
        """What is pending, persisted; None where nothing is."""
        found = self.pending.rows() if self.may_be else None
        kept = None if found is None else found.withColumnRenamed(self._key, "_key").persist()
        try:
            self.may_be = kept is not None and not kept.isEmpty()
            if kept is not None and self.may_be:
                self.pending.remember_oldest(kept)
            yield kept if self.may_be else None
        finally:
            if kept is not None:
                kept.unpersist()


class KeyOrder:
    """What holds the keys of one job up: its open dead letters, what waits, or both."""

    def __init__(self, letters: Pending | None, waiting: Pending | None = None, sorts: bool = False) -> None:
        """`sorts` where the sink keeps the order in which rows come."""
        self.letters = Holding(letters, "_key") if letters else None
        self.waiting = Holding(waiting, "key") if waiting else None
        self._sorts = sorts

    @contextmanager
    def within(self, judged: DataFrame, failed: DataFrame) -> Iterator[Blocking]:
        """For a batch of which these records are judged now, and these fail, whatever their key's others do."""
        kept = failed.select("_key", *COORDINATES, "_reason").persist()
        try:
            with (
                _within(self.letters, judged, dead(kept)) as letters,
                _within(self.waiting, judged, waits(kept)) as rest,
            ):
                yield Blocking(letters, rest)
        finally:
            kept.unpersist()

    def record(self, blocking: Blocking, judged: DataFrame, failed: DataFrame, mark: Mark, now: datetime) -> None:
        """Of the records that were judged, those that failed are open, and no others."""
        if self.waiting:
            self.waiting.may_be = True
        if self.letters is None:
            return
        begun = dead(failed).filter("_key IS NOT NULL").select("_key", *COORDINATES)
        self.letters.pending.begin(begun, mark, now)
        if blocking.open is not None:
            self.letters.pending.end(blocking.open.join(judged, COORDINATES, "left_semi"), mark, now)
        self.letters.may_be = True

    def in_turn(self, outcome: DataFrame) -> DataFrame:
        """What becomes of all that waits, if each had no key -> what does; nothing passes what waits on, or is given up."""
        rest = blocked(outcome, heads(dead(outcome))) if self.letters else outcome
        return waiting_behind(rest, heads(waits(outcome))) if self.waiting else rest

    def lined_up(self, outcome: DataFrame) -> DataFrame:
        """The same rows as the sink should have them: those of one key together, in their order."""
        if not self._sorts:
            return outcome
        own = F.coalesce("_key", F.encode(F.concat_ws("/", *COORDINATES), "UTF-8"))
        return outcome.repartition(own).sortWithinPartitions(*COORDINATES)

    def given_up(self, judged: DataFrame, failed: DataFrame, mark: Mark, now: datetime) -> None:
        """The same as `record`, of records that waited."""
        with self.letters.open() if self.letters else nullcontext() as found:
            self.record(Blocking(Held(found)), judged, failed, mark, now)

    def free(self, letters: DataFrame, mark: Mark, now: datetime) -> None:
        """Rows with coordinates: given up for good, their keys go on without them. May be called beside a running job."""
        found = self.letters.pending.rows() if self.letters else None
        if self.letters and found is not None:
            self.letters.pending.end(found.join(letters, COORDINATES, "left_semi"), mark, now)


def key_order(
    spark: SparkSession, config: JobConfig, lease: Lease | None, waiting: Pending | None = None
) -> KeyOrder | None:
    """As the config says, with the log of what waits where that has an order; None where keys have none."""
    given = config.dead_letters.key_order if config.dead_letters else None
    letters = Pending(spark, str(given.path), Names("blocked", "freed"), lease) if given else None
    return KeyOrder(letters, waiting, config.sink.kafka is not None) if letters or waiting else None


def _within(holding: Holding | None, judged: DataFrame, failed: DataFrame) -> AbstractContextManager[Held]:
    return holding.within(judged, failed) if holding else nullcontext(NONE)
