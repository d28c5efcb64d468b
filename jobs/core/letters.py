"""Dead letters read back: those of one job, from the topic or the table where it sends them.

LETTER    `_topic, _partition, _offset, _timestamp` of the record, key, value, headers as it had them; reason, detail, job,
          attempt, rejected_at; `sent`, the headers of the dead letter
LISTED    topic, partition, offset, timestamp, reason, detail, attempt, rejected_at, bytes
SHOWN     the same without bytes, then job, key, value, headers
A record that was redriven and rejected again has a dead letter for each attempt, and a batch that ran again may have sent
one twice: `current` keeps the newest of each record. A record may have headers of these names itself: ours come last.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from jobs.core import kafka
from jobs.core.config import JobConfig, Letters
from jobs.core.dead_letters import DEAD_LETTER, FIRST_ADDED, spring_headers
from jobs.core.kafka import Positions
from jobs.core.sinks.tables import DeltaTableSink
from jobs.core.sources import COORDINATES

WHY = ["reason", "detail", "attempt", "rejected_at"]
AGE = ["rejected_at", *COORDINATES]
RFC_3339 = "yyyy-MM-dd'T'HH:mm:ss.SSSXXX"
LATEST_MS = 253402300799999  # the end of the year 9999


@dataclass(frozen=True)
class Wanted:
    """Which dead letters are meant; by default all."""

    reasons: Sequence[str] = ()
    since: datetime | None = None
    limit: int | None = None


def read(spark: SparkSession, config: JobConfig) -> DataFrame:
    """LETTER of a job, several a record where it was rejected several times; also of its retry topics."""
    found, retried = within(spark, config, config.dead_letters), retry_topics(config)
    if not retried:
        return found
    return found.unionByName(of_job(dead_letter_topic(spark, config, ",".join(retried)), config))


def retry_topics(config: JobConfig) -> list[str]:
    """The topics whose letters are redriven by themselves, the first attempt's first."""
    given = config.dead_letters.retry if config.dead_letters else None
    return [one.topic for one in given.topics] if given else []


def retried_between(spark: SparkSession, config: JobConfig, start: Positions, end: Positions) -> DataFrame:
    """LETTER of the retry topics from some offsets up to others."""
    spans = {"startingOffsets": json.dumps(start), "endingOffsets": json.dumps(end)}
    return of_job(dead_letter_topic(spark, config, ",".join(end), **spans), config)


def of_job(letters: DataFrame, config: JobConfig) -> DataFrame:
    return letters.filter(F.col("job") == config.job)


def within(spark: SparkSession, config: JobConfig, place: Letters | None) -> DataFrame:
    """LETTER of a job in one place; dead letters, or late records."""
    if place and place.kafka:
        found = dead_letter_topic(spark, config, place.kafka.topic)
    else:
        table = DeltaTableSink(spark, str(place.delta.path)) if place and place.delta else None
        rows = table.rows() if table and table.exists() else spark.createDataFrame([], DEAD_LETTER)
        found = rows.withColumn("sent", spring_headers())
    return of_job(found, config)


def current(letters: DataFrame) -> DataFrame:
    """LETTER -> LETTER, of each record the one of its last attempt."""
    newest = Window.partitionBy(*COORDINATES).orderBy(F.desc("attempt"), F.desc("rejected_at"))
    return letters.withColumn("_nth", F.row_number().over(newest)).filter("_nth = 1").drop("_nth")


def chosen(letters: DataFrame, wanted: Wanted) -> DataFrame:
    """LETTER -> LETTER, the current ones that are meant, but for the limit."""
    found = current(letters)
    if wanted.reasons:
        found = found.filter(F.col("reason").isin(*wanted.reasons))
    return found.filter(F.col("rejected_at") >= F.lit(wanted.since)) if wanted.since else found


def oldest(letters: DataFrame, limit: int | None) -> DataFrame:
    """At most so many of them."""
    return letters if limit is None else letters.orderBy(*AGE).limit(limit)


def listed(letters: DataFrame, wanted: Wanted) -> DataFrame:
    """LETTER -> LISTED, oldest first."""
    slim = letters.select(*COORDINATES, "_timestamp", F.length("value").alias("bytes"), *WHY)
    return oldest(chosen(slim, wanted), wanted.limit).orderBy(*AGE).select(*shown(), "bytes")


def at(letters: DataFrame, topic: str, partition: int, offset: int) -> Row | None:
    """SHOWN: the current dead letter of one record."""
    is_it = (F.col("_topic") == topic) & (F.col("_partition") == partition) & (F.col("_offset") == offset)
    return current(letters.filter(is_it)).select(*shown(), "job", "key", "value", "headers").first()


def counted(letters: DataFrame, wanted: Wanted) -> list[Row]:
    """reason, attempt, day, n: a row for each that there is."""
    slim = letters.select(*COORDINATES, "_timestamp", *WHY)
    day = F.date_format("rejected_at", "yyyy-MM-dd").alias("day")
    return (
        oldest(chosen(slim, wanted), wanted.limit)
        .groupBy("reason", "attempt", day)
        .agg(F.count(F.lit(1)).alias("n"))
        .collect()
    )


def shown() -> list[Column]:
    """topic, partition, offset, timestamp, reason, detail, attempt, rejected_at, with times as text."""
    place = [F.col(name).alias(name[1:]) for name in COORDINATES]
    when = {name: F.date_format(name, RFC_3339).alias(name.lstrip("_")) for name in ("_timestamp", "rejected_at")}
    return [*place, when["_timestamp"], *map(F.col, ("reason", "detail", "attempt")), when["rejected_at"]]


def dead_letter_topic(spark: SparkSession, config: JobConfig, topics: str, **options: str) -> DataFrame:
    """LETTER of all jobs that send their dead letters to a topic, or to one of several."""
    records = topic_records(spark, config, topics, **options).withColumn("ours", added("headers"))
    return records.select(
        *origin("ours"),
        "key",
        "value",
        own("headers").alias("headers"),
        text("ours", "patterns-reason").alias("reason"),
        text("ours", "kafka_dlt-exception-message").alias("detail"),
        text("ours", "patterns-job").alias("job"),
        attempt("ours").alias("attempt"),
        F.col("timestamp").alias("rejected_at"),
        F.col("headers").alias("sent"),
    ).filter(F.col("_topic").isNotNull())


def topic_records(spark: SparkSession, config: JobConfig, topics: str, **options: str) -> DataFrame:
    """All that a topic holds now, or several with a comma between them; or what Spark's options say of it."""
    assert config.kafka, "a topic comes with a broker"
    reader = spark.read.format("kafka").options(**kafka.spark_options(config.kafka)).option("includeHeaders", True)
    return reader.options(**options).option("subscribe", topics).load()


def origin(ours: str) -> list[Column]:
    """Where a record first came from, by the headers that we added; null where they don't say."""
    milliseconds = integer(ours, "kafka_dlt-original-timestamp", 8)
    return [
        text(ours, FIRST_ADDED).alias("_topic"),
        integer(ours, "kafka_dlt-original-partition", 4).try_cast("int").alias("_partition"),
        integer(ours, "kafka_dlt-original-offset", 8).alias("_offset"),
        F.when(milliseconds <= LATEST_MS, F.timestamp_millis(milliseconds)).alias("_timestamp"),
    ]


def own(headers: str) -> Column:
    """The headers that a record had before we added ours."""
    return F.slice(headers, F.lit(1), F.size(headers) - _count(headers))


def added(headers: str) -> Column:
    """The headers that we added, from the last FIRST_ADDED on."""
    return F.slice(headers, F.size(headers) - _count(headers) + 1, _count(headers))


def text(ours: str, name: str) -> Column:
    """A header as text; null where it is missing."""
    return _value(ours, name).cast("string")


def integer(ours: str, name: str, width: int) -> Column:
    """A header of so many bytes as a big-endian integer; null where it is none, or negative."""
    value = _value(ours, name)
    number = F.conv(F.right(F.hex(value), F.lit(2 * width)), 16, 10).try_cast("bigint")
    return F.when(F.length(value) == width, number)


def attempt(ours: str) -> Column:
    return text(ours, "patterns-attempt").try_cast("int")


def _value(ours: str, name: str) -> Column:
    return F.get(F.filter(ours, lambda header: header["key"] == name), F.lit(0))["value"]


def _count(headers: str) -> Column:
    """How many headers are ours: none of those before the last FIRST_ADDED."""
    names = F.reverse(F.transform(headers, lambda header: header["key"]))
    return F.array_position(names, FIRST_ADDED).cast("int")
