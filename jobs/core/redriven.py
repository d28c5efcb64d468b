"""Records that were dead letters and come again, by the redrive topic: under their first coordinates, and written once.

A record of the redrive topic takes topic, partition, offset, timestamp and attempt from the headers that a redrive gave it.
Headers are believed in that topic alone, and there only if they are whole and of this job; a record without them is a
record of the redrive topic. What the sink holds already is a duplicate, and so is what the batch itself has, or has twice;
where a sink can't say, or replaces rows, what the redrive topic has had before at the same attempt.

A batch that runs again can't tell what it wrote from what was there before it. So how many were there is noted beside the
checkpoint before anything is written. After a recovery, what the sink holds is a duplicate: it was counted where it was
first read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame, Row, SparkSession, Window
from pyspark.sql import functions as F

from jobs.core import letters
from jobs.core.config import JobConfig
from jobs.core.dead_letters import ATTEMPT
from jobs.core.doubt import positions
from jobs.core.files import Folder
from jobs.core.parking import expired
from jobs.core.reasons import WAITING
from jobs.core.sinks import Mark, Sink
from jobs.core.sources import COORDINATES

NOTES = "redriven"  # a folder of the checkpoint; Spark passes over it
ORDER = "_order"  # of records that stand for one and the same


@dataclass(frozen=True)
class Again:
    """The rows of one batch, without duplicates, and what of them came again; by default, nothing."""

    rows: DataFrame
    taken: DataFrame | None = None  # `_topic, _partition, _offset, _attempt`
    duplicate: int = 0
    already: int = 0  # what an earlier attempt at this batch wrote
    handled: DataFrame | None = None  # `_topic, _partition, _offset` of what came again and is settled by this batch

    @property
    def judged(self) -> DataFrame:
        """Coordinates of all records that the batch stands for; without those that were handled before it."""
        own = self.rows.select(*COORDINATES)
        return own if self.handled is None else own.unionByName(self.handled)

    def tried(self, outcome: DataFrame) -> DataFrame:
        """Rows of this batch -> with `_attempt`. What came again does not wait: a record is parked once."""
        if self.taken is None:
            return outcome.withColumn(ATTEMPT, F.lit(1))
        known = outcome.join(self.taken, COORDINATES, "left").withColumn(ATTEMPT, F.coalesce(ATTEMPT, F.lit(1)))
        waits = (F.col(ATTEMPT) > 1) & (F.col("_reason") == WAITING)
        return known.withColumn("_reason", F.when(waits, expired(known)).otherwise(F.col("_reason")))


@dataclass(frozen=True)
class Redrive:
    """How dead letters of one job come again."""

    job: str
    topic: str
    notes: Folder
    records: Callable[[], DataFrame]  # all that the redrive topic holds

    def within(self, mark: Mark) -> bool:
        """Whether a batch reads anything from the redrive topic."""
        start, end = positions(mark.start) or {}, positions(mark.end) or {}
        return any(offset > start.get(place, 0) for place, offset in end.items() if place[0] == self.topic)

    @contextmanager
    def sorted(self, decoded: DataFrame, mark: Mark, sink: Sink) -> Iterator[Again]:
        """DECODED with every record's headers -> what of it is to be handled. `decoded` should be persisted."""
        rows = first_coordinates(decoded, self.topic, self.job)
        own, came = rows.filter(F.col(ATTEMPT) == 1), rows.filter(F.col(ATTEMPT) > 1)
        once = distinct(came).join(own, COORDINATES, "left_anti")
        ends = _ends(once)
        held = self._there(once, sink, mark, ends).persist()
        try:
            there = held.count()
            before = self._before(mark, there)
            fresh = once.join(held, COORDINATES, "left_anti")
            taken = fresh.select(*COORDINATES, ATTEMPT)
            rows = own.unionByName(fresh).drop(ATTEMPT, ORDER)
            duplicate = came.count() - sum(row["n"] for row in ends) + before
            # What the sink holds has passed; what the redrive topic had before may have been rejected since.
            handled = (fresh if sink.held() is None else once).select(*COORDINATES)
            yield Again(rows, taken, duplicate, there - before, handled)
        finally:
            held.unpersist()

    def _there(self, once: DataFrame, sink: Sink, mark: Mark, ends: list[Row]) -> DataFrame:
        """Coordinates of those that were handled before."""
        held = sink.held()
        if held is None:
            return once.join(self._earlier(mark), [*COORDINATES, ATTEMPT], "left_semi").select(*COORDINATES)
        near = held.filter(reduce(Column.__or__, map(_between, ends), F.lit(False)))
        return once.select(*COORDINATES).join(near, COORDINATES, "left_semi")

    def _earlier(self, mark: Mark) -> DataFrame:
        """Coordinates and attempt of what came before the batch."""
        start = {int(place[1]): at for place, at in (positions(mark.start) or {}).items() if place[0] == self.topic}
        inside = [(F.col("partition") == partition) & (F.col("offset") < at) for partition, at in start.items()]
        records = self.records().filter(reduce(Column.__or__, inside, F.lit(False)))
        ours = records.select(letters.added("headers").alias("ours"))
        return ours.select(*letters.origin("ours"), letters.attempt("ours").alias(ATTEMPT)).drop("_timestamp")

    def _before(self, mark: Mark, there: int) -> int:
        """How many of them the sink held before the first attempt at the batch."""
        name = f"{mark.query_id}-{mark.batch_id}"
        if self.notes.exists(name):
            return int(self.notes.read(name))
        for earlier in self.notes.list():
            self.notes.delete(earlier.name)
        self.notes.write(name, str(there))
        return there


def redrive(spark: SparkSession, config: JobConfig, checkpoint: str) -> Redrive | None:
    """As the config says; None where nothing comes again."""
    given = config.dead_letters.redrive if config.dead_letters else None
    if given is None:
        return None
    topic, notes = given.topic, Folder(spark, f"{checkpoint}/{NOTES}")
    return Redrive(config.job, topic, notes, lambda: letters.topic_records(spark, config, topic))


def first_coordinates(decoded: DataFrame, topic: str, job: str) -> DataFrame:
    """DECODED -> DECODED with `_attempt` and `_order`; what came again is as it was when it was first read."""
    ours = decoded.withColumn("_ours", F.when(F.col("_topic") == topic, letters.added("_headers")))
    attempt, first = letters.attempt("_ours"), dict(zip([*COORDINATES, "_timestamp"], letters.origin("_ours")))
    whole = [(attempt > 1), letters.text("_ours", "patterns-job") == job, *(c.isNotNull() for c in first.values())]
    came = F.coalesce(reduce(Column.__and__, whole), F.lit(False))
    replaced = {
        **{name: F.when(came, column).otherwise(F.col(name)) for name, column in first.items()},
        "_headers": F.when(came, letters.own("_headers")).otherwise(F.col("_headers")),
        ATTEMPT: F.when(came, attempt).otherwise(F.lit(1)),
        ORDER: F.struct(-F.coalesce(F.when(came, attempt), F.lit(0)), "_partition", "_offset"),
    }
    return ours.withColumns(replaced).drop("_ours")


def distinct(came: DataFrame) -> DataFrame:
    """Of records with the same coordinates the one that was tried most, and was sent first."""
    nth = F.row_number().over(Window.partitionBy(*COORDINATES).orderBy(ORDER))
    return came.withColumn("_nth", nth).filter("_nth = 1").drop("_nth")


def _ends(rows: DataFrame) -> list[Row]:
    """How many there are of each partition, and between which offsets: for data skipping."""
    ends = F.count(F.lit(1)).alias("n"), F.min("_offset").alias("first"), F.max("_offset").alias("last")
    return rows.groupBy("_topic", "_partition").agg(*ends).collect()


def _between(end: Row) -> Column:
    topic, partition, _, first, last = end
    here: Column = (F.col("_topic") == topic) & (F.col("_partition") == partition)
    return here & F.col("_offset").between(first, last)
