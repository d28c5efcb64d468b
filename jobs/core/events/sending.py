"""OUTGOING into a topic, at least once: each event under its own id, in the header `event_id`, with its stream as the key.

A step's events of one stream are sent by one task, in order. Where that fails half-way the topic has some of them; sent again,
all of them are there, in order.
"""

from __future__ import annotations

from contextlib import suppress

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core import kafka, oversize
from jobs.core.checks_sinks import EVENT_ID
from jobs.core.connections import Kafka
from jobs.core.errors import DependencyMissing, SinkFailed
from jobs.core.events.outgoing import IN_ORDER
from jobs.core.failures import Kind, kind
from jobs.core.sinks import topics

EACH = 5_000  # events for which another task is worth its while


class EventTopic:
    """A topic that gets events."""

    def __init__(self, spark: SparkSession, broker: Kafka, topic: str) -> None:
        self._spark, self._broker, self.topic = spark, broker, topic
        self._options = kafka.spark_options(broker)
        self.name = f"topic {topic} at {broker.bootstrap_servers}"

    def check(self) -> None:
        """Raises DependencyMissing unless the broker answers and has the topic."""
        kafka.check(self._spark, self._broker, [self.topic])

    def id(self) -> str:
        """What makes it another topic than an earlier one of its name; empty where the broker has no ids.

        Raises DependencyMissing.
        """
        return kafka.standing(self._spark, self._broker, [self.topic]).ids.get(self.topic, "")

    def send(self, outgoing: DataFrame, events: int, step: int) -> None:
        """OUTGOING, of about so many events, in one action. Raises SinkFailed."""
        tasks = min(1 + events // EACH, self._spark.sparkContext.defaultParallelism)
        try:
            topics.write(sent(ordered(outgoing, tasks), self.topic), self._options, self.name, step)
        except SinkFailed as failure:
            if kind(failure) is Kind.DATA and (cause := self._too_large(outgoing)):
                raise SinkFailed(self.name, step, cause) from failure
            raise

    def _too_large(self, outgoing: DataFrame) -> str | None:
        """The first event that is larger than the topic takes, in words."""
        with suppress(DependencyMissing):  # or nobody may ask what it takes
            limit = kafka.largest_record(self._spark, self._broker, self.topic)
            heavy = sent(outgoing, self.topic, "stream_id", "stream_version", "event_id")
            found = heavy.withColumn("bytes", oversize.weight()).filter(F.col("bytes") > limit)
            if (event := found.orderBy("stream_id", "stream_version").first()) is not None:
                where = f"stream {event['stream_id']}, version {event['stream_version']}, event {event['event_id']}"
                remedy = "raise the topic's max.message.bytes, or leave the event out (--skip-events)"
                return f"{where} has about {event['bytes']:,} bytes, the topic takes {limit:,}: {remedy}"
        return None


def ordered(outgoing: DataFrame, tasks: int) -> DataFrame:
    """OUTGOING -> OUTGOING, in so many parts: a stream is in one of them, and each is in order."""
    return outgoing.repartition(tasks, "stream_id").sortWithinPartitions(*IN_ORDER)


def sent(outgoing: DataFrame, topic: str, *more: str) -> DataFrame:
    """OUTGOING -> SENT (`core.sinks.messages`), and columns that are kept."""
    name = F.struct(F.lit(EVENT_ID).alias("key"), F.col("event_id").cast("binary").alias("value"))
    return outgoing.select(
        F.lit(topic).alias("topic"),
        F.col("stream_id").cast("binary").alias("key"),
        F.col("value").cast("binary").alias("value"),
        F.array(name).alias("headers"),
        *more,
    )
