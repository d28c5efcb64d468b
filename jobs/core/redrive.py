"""Dead letters sent once more: into the redrive topic, which the job reads, or parked for good after enough attempts.

What is sent has the record's key, value and own headers byte for byte, and headers with its first coordinates and the number
of the attempt to come; those of one key are sent in their first order. A parked one is the dead letter as it was, all headers
included. A dead letter that either topic has already, by coordinates and attempt, is not sent again: so a redrive may be
repeated, or cut short and run again, and the job may run meanwhile. Two redrives at the same time may send a letter twice,
which the job then leaves out.

Nothing that grows with the data comes to the driver.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core import kafka, letters, oversize
from jobs.core.clock import utc_now
from jobs.core.config import JobConfig, Kafka, Redrive
from jobs.core.dead_letters import IDENTITY, REQUEST_BYTES, redriven_headers
from jobs.core.errors import ConfigError, Problem
from jobs.core.letters import Wanted
from jobs.core.order import key_order
from jobs.core.reasons import Reason
from jobs.core.sinks import Mark
from jobs.core.sources import COORDINATES

SENT = "key BINARY, value BINARY, headers ARRAY<STRUCT<key: STRING, value: BINARY>>"
PIECES_A_SECOND = 10
Batches = Iterator[pa.RecordBatch]


@dataclass(frozen=True)
class Done:
    """How many dead letters went where, or would go."""

    redriven: int
    parked: int
    already: int  # of those that are meant, what was sent before


def redrive(
    spark: SparkSession, config: JobConfig, wanted: Wanted, rate: int | None = None, dry_run: bool = False
) -> Done:
    """Sends what is meant and was not sent before. Raises ConfigError, DependencyMissing."""
    given = settings(config)
    assert config.kafka, "a source in kafka comes with a broker"
    kafka.check(spark, config.kafka, [given.topic, given.parking_topic])
    meant, known = letters.chosen(letters.read(spark, config), wanted), sent(spark, config, given)
    already = meant.join(known, IDENTITY, "left_semi").count()
    pending = letters.oldest(meant.join(known, IDENTITY, "left_anti"), wanted.limit).persist()
    try:
        again, parked = by_attempt(pending, given)
        done = Done(again.count(), parked.count(), already)
        if not dry_run:
            send(again, redriven_headers(), config.kafka, given.topic, rate)
            send(parked, F.col("sent"), config.kafka, given.parking_topic, rate)
            _give_up(spark, config, given)
    finally:
        pending.unpersist()
    return done


def _give_up(spark: SparkSession, config: JobConfig, given: Redrive) -> None:
    """The keys of what is parked go on without it, also of what a redrive has parked that was cut short."""
    order = key_order(spark, config, None)
    if order:
        order.free(
            _known(spark, config, given.parking_topic), Mark(config.job, "redrive", -1, "redrive", "redrive"), utc_now()
        )


def settings(config: JobConfig) -> Redrive:
    """Raises ConfigError for a job without a redrive topic."""
    given = config.dead_letters.redrive if config.dead_letters else None
    if given is None:
        wrong = "required for a redrive: topic and parking_topic, which the job's source does not read"
        raise ConfigError(Problem("dead_letters.redrive", "", wrong, config.job))
    return given


def send(rows: DataFrame, headers: Column, broker: Kafka, topic: str, rate: int | None = None) -> None:
    """LETTER -> topic, those of one key in order; a rate (records a second) makes it one task's work."""
    spread = rows.coalesce(1) if rate else rows.repartition("key")
    ready = spread.sortWithinPartitions(*COORDINATES).select("key", "value", headers.alias("headers"))
    paced = ready.mapInArrow(pacer(rate), SENT) if rate else ready
    writer = paced.write.format("kafka").options(**kafka.spark_options(broker))
    writer.option("kafka.max.request.size", REQUEST_BYTES).option("topic", topic).save()


def pacer(
    rate: int, now: Callable[[], float] = time.monotonic, pause: Callable[[float], None] = time.sleep
) -> Callable[[Batches], Batches]:
    """Lets so many rows a second pass."""

    def pace(batches: Batches) -> Batches:
        due, step = now(), max(1, rate // PIECES_A_SECOND)
        for piece in (batch.slice(at, step) for batch in batches for at in range(0, batch.num_rows, step)):
            pause(max(0.0, due - now()))
            due = max(due, now()) + piece.num_rows / rate
            yield piece

    return pace


def by_attempt(rows: DataFrame, given: Redrive) -> tuple[DataFrame, DataFrame]:
    """Those that may be tried again, and those that were tried often enough, or lost the end of their value.

    What only followed another one was not tried.
    """
    is_cut = F.exists("sent", lambda header: header["key"] == oversize.SHA256)
    was_tried = F.col("reason") != Reason.KEY_BLOCKED.value
    is_left = ((F.col("attempt") < given.max_attempts) | ~was_tried) & ~is_cut
    return rows.filter(is_left), rows.filter(~is_left)


def sent(spark: SparkSession, config: JobConfig, given: Redrive, since: datetime | None = None) -> DataFrame:
    """Coordinates and attempt of each dead letter that was redriven or parked, since a time if one is given; retention may
    have forgotten some.
    """
    options = {} if since is None else kafka.since(since)
    again = _known(spark, config, given.topic, **options).withColumn("attempt", F.col("attempt") - 1)
    return again.unionByName(_known(spark, config, given.parking_topic, **options))


def _known(spark: SparkSession, config: JobConfig, topic: str, **options: str) -> DataFrame:
    ours = letters.topic_records(spark, config, topic, **options).select(letters.added("headers").alias("ours"))
    own = ours.filter(letters.text("ours", "patterns-job") == config.job)
    return own.select(*letters.origin("ours"), letters.attempt("ours").alias("attempt")).select(*IDENTITY)
