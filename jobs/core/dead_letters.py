"""Dead letters: rejected records, byte for byte, with where they came from and why.

DEAD_LETTER  key, value, headers as read; topic, partition, offset, timestamp of the record; reason, detail; job, attempt
In Kafka the record keeps its key, value and headers, and gains Spring Kafka's (`kafka_dlt-original-*`, integers big-endian,
`kafka_dlt-exception-*`) and ours (`patterns-reason`, `patterns-job`, `patterns-attempt`). A record's identity is its
coordinates: a batch that runs again may send it twice, and readers count it once.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core import kafka, oversize
from jobs.core.config import JobConfig, Kafka, Letters
from jobs.core.errors import DeadLettersRefused, DependencyMissing
from jobs.core.failures import Kind, kind, words
from jobs.core.lease import Lease
from jobs.core.sinks import Mark, Outlet
from jobs.core.sinks.tables import DeltaTableSink
from jobs.core.sources import COORDINATES

DEAD_LETTER = """
    _topic STRING, _partition INT, _offset BIGINT, _timestamp TIMESTAMP,
    key BINARY, value BINARY, headers ARRAY<STRUCT<key: STRING, value: BINARY>>,
    reason STRING, detail STRING, job STRING, attempt INT, rejected_at TIMESTAMP
"""
FIRST_ADDED = "kafka_dlt-original-topic"  # the last header of this name is the first one that is not the record's own
REQUEST_BYTES = 64 << 20  # the broker's limit decides what is too large, not this client's
IDENTITY = [*COORDINATES, "attempt"]  # of a dead letter
ATTEMPT = "_attempt"  # how often a record was tried: 1, and one more each time that it was redriven
EXCEPTION = "jobs.core.reasons."  # where Spring has a Java class name


class KafkaDeadLetters:
    """Sends dead letters to a topic, at least once; where there is a limit, cut to so many bytes."""

    def __init__(self, kafka_config: Kafka, topic: str, limit: int | None = None) -> None:
        self._kafka, self._topic, self._limit = kafka_config, topic, limit

    def append(self, rows: DataFrame, mark: Mark) -> None:
        """DEAD_LETTER -> topic. Raises DependencyMissing for a topic that was deleted, DeadLettersRefused."""
        sent = rows.select("key", "value", spring_headers().alias("headers"))
        fitting = sent if self._limit is None else oversize.cut(sent, self._limit)
        writer = fitting.write.format("kafka").options(**kafka.spark_options(self._kafka))
        try:
            writer.option("kafka.max.request.size", REQUEST_BYTES).option("topic", self._topic).save()
        except Exception as failure:
            self._explain(failure, rows)
            raise

    def _explain(self, failure: Exception, rows: DataFrame) -> None:
        """Raises what says it better, if anything does."""
        if kind(failure) is Kind.DATA:
            raise DeadLettersRefused(self._topic, _largest(rows), words(failure)) from None
        if kafka.lacks(rows.sparkSession, self._kafka, self._topic):
            address = f"{self._topic} on {self._kafka.bootstrap_servers}"
            raise DependencyMissing(kafka.TOPIC, address, "dead letters have no place to go to any more") from None

    def held(self) -> DataFrame | None:
        return None


class DeltaDeadLetters(DeltaTableSink):
    """Appends dead letters to a Delta table."""

    def held(self) -> DataFrame | None:
        """With the attempt: a record that was redriven and rejected again has several."""
        return self.rows().select(*IDENTITY) if self.exists() else None


def sink(spark: SparkSession, config: JobConfig, lease: Lease) -> Outlet | None:
    """Where this job's dead letters go. Raises DependencyMissing for a topic that is not there."""
    return outlet(spark, config, config.dead_letters, lease)


def outlet(spark: SparkSession, config: JobConfig, target: Letters | None, lease: Lease) -> Outlet | None:
    """A place for DEAD_LETTER. Raises DependencyMissing for a topic that is not there."""
    if target is None:
        return None
    if target.kafka:
        assert config.kafka, "dead letters in kafka come with a broker"
        topic = target.kafka.topic
        kafka.check(spark, config.kafka, [topic])
        limit = kafka.largest_record(spark, config.kafka, topic) if target.kafka.too_large == "cut" else None
        return KafkaDeadLetters(config.kafka, topic, limit)
    assert target.delta, "the config has exactly one place for dead letters"
    return DeltaDeadLetters(spark, target.delta.path, lease=lease)


def letters(rejected: DataFrame, job: str) -> DataFrame:
    """Rejected rows with their attempt -> DEAD_LETTER."""
    return rejected.select(
        "_topic",
        "_partition",
        "_offset",
        "_timestamp",
        F.col("_key").alias("key"),
        F.col("_value").alias("value"),
        F.col("_headers").alias("headers"),
        F.col("_reason").alias("reason"),
        F.col("_detail").alias("detail"),
        F.lit(job).alias("job"),
        F.col(ATTEMPT).alias("attempt"),
        F.current_timestamp().alias("rejected_at"),
    )


def send(place: Outlet, rows: DataFrame, mark: Mark, in_doubt: bool = False) -> None:
    """Writes DEAD_LETTER; a batch in doubt leaves out what is there already."""
    held = place.held() if in_doubt else None
    place.append(rows if held is None else rows.join(mark.narrow(held), IDENTITY, "left_anti"), mark)


def _largest(rows: DataFrame) -> str:
    row = rows.select(*COORDINATES, F.length("value").alias("bytes")).orderBy(F.desc("bytes")).first()
    assert row is not None, "dead letters were sent"
    return f"that of topic {row[0]}, partition {row[1]}, offset {row[2]} with a value of {row['bytes'] or 0:,} bytes"


def spring_headers() -> Column:
    """The record's own headers, then where it came from and why."""
    why = [
        _header("kafka_dlt-exception-fqcn", _bytes(F.concat(F.lit(EXCEPTION), F.col("reason")))),
        _header("kafka_dlt-exception-message", _bytes(F.coalesce(F.col("detail"), F.col("reason")))),
        _header("patterns-reason", _text("reason")),
    ]
    return _with(*_origin(), *why, *_tried(F.col("attempt")))


def redriven_headers() -> Column:
    """The record's own headers, then where it first came from and that it is tried once more."""
    return _with(*_origin(), *_tried(F.col("attempt") + 1))


def _with(*added: Column) -> Column:
    own = F.coalesce(F.col("headers"), F.array().cast("array<struct<key: string, value: binary>>"))
    return F.concat(own, F.array(*added))


def _origin() -> list[Column]:
    return [
        _header(FIRST_ADDED, _text("_topic")),
        _header("kafka_dlt-original-partition", _big_endian("_partition", 4)),
        _header("kafka_dlt-original-offset", _big_endian("_offset", 8)),
        _header("kafka_dlt-original-timestamp", _big_endian_of(F.unix_millis("_timestamp"), 8)),
        _header("kafka_dlt-original-timestamp-type", _bytes(F.lit("CreateTime"))),
    ]


def _tried(attempt: Column) -> list[Column]:
    return [_header("patterns-job", _text("job")), _header("patterns-attempt", _bytes(attempt.cast("string")))]


def _header(key: str, value: Column) -> Column:
    return F.struct(F.lit(key).alias("key"), value.alias("value"))


def _text(column: str) -> Column:
    return _bytes(F.col(column))


def _bytes(column: Column) -> Column:
    return column.cast("binary")


def _big_endian(column: str, width: int) -> Column:
    return _big_endian_of(F.col(column), width)


def _big_endian_of(column: Column, width: int) -> Column:
    return F.unhex(F.right(F.lpad(F.hex(column.cast("bigint")), 16, "0"), F.lit(2 * width)))
