"""Rows into Kafka topics, at least once: `core.sinks.messages` says what a record looks like.

A batch in doubt leaves out what the topics hold of it already. What a task sends that Spark runs again, or a write that fails
half-way, can be there twice, under the same `event_id`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core import kafka, oversize
from jobs.core.config import Kafka
from jobs.core.config import KafkaSink as Target
from jobs.core.errors import SinkFailed
from jobs.core.failures import words
from jobs.core.session import overridden
from jobs.core.sinks import Mark, Refusal
from jobs.core.sinks.messages import coordinates, header, sent
from jobs.core.sources import COORDINATES

SAFE = {  # what the promise rests on
    "kafka.acks": "all",
    "kafka.enable.idempotence": "true",
    "kafka.max.request.size": str(64 << 20),  # the broker's limit decides what is too large, not this client's
}
V1_SOURCES = "spark.sql.sources.useV1SourceList"


class KafkaSink:
    """One topic, or several that a column names."""

    def __init__(
        self, spark: SparkSession, broker: Kafka, job: str, target: Target, since: Callable[[], datetime | None]
    ) -> None:
        """`since`: before then no row was written without a record in the ledger. Raises DependencyMissing."""
        kafka.check(spark, broker, target.names)
        self._spark, self._broker, self._job, self._target, self._since = spark, broker, job, target, since
        self._options = kafka.spark_options(broker)
        self.name = f"topic {', '.join(target.names)} at {broker.bootstrap_servers}"

    def append(self, rows: DataFrame, mark: Mark) -> None:
        """Sends a record for each row, in one action. Raises SinkFailed, whose cause says whether another try may help."""
        write(sent(rows, self._job, self._target), self._options, self.name, mark.batch_id)

    def held(self) -> DataFrame | None:
        """What came in since the ledger's last record; all of it where that is not enough."""
        since = self._since()
        return self._coordinates({} if since is None else kafka.since(since))

    def records(self) -> DataFrame | None:
        return self._coordinates({})

    def refused(self, rows: DataFrame, mark: Mark, most: int) -> list[Refusal]:
        """Records larger than their topic takes, in one pass."""
        limits = {topic: kafka.largest_record(self._spark, self._broker, topic) for topic in self._target.names}
        limit = F.create_map(*(F.lit(part) for pair in limits.items() for part in pair))[F.col("topic")]
        heavy = sent(rows, self._job, self._target).withColumns({"bytes": oversize.weight(), "limit": limit})
        found = (
            heavy.filter("bytes > limit").select(*coordinates(), "topic", "bytes", "limit").limit(most + 1).collect()
        )
        detail = "topic {} takes records of {:,} bytes, this one has about {:,}"
        return sorted(Refusal(row[0], row[1], row[2], detail.format(row[3], row[5], row[4])) for row in found)

    def _coordinates(self, start: dict[str, str]) -> DataFrame:
        """Of the records of this job, each once."""
        reader = self._spark.read.format("kafka").options(**self._options).option("includeHeaders", True)
        found = reader.option("subscribe", ",".join(self._target.names)).options(**start).load()
        own = found.filter(header("job") == self._job)
        return own.select(*coordinates()).filter("_offset IS NOT NULL").dropDuplicates(COORDINATES)


def write(records: DataFrame, options: Mapping[str, str], name: str, batch_id: int) -> None:
    """SENT into its topics, in one action. Raises SinkFailed, whose cause says whether another try may help."""
    try:
        with overridden(records.sparkSession, V1_SOURCES, _without_kafka(records.sparkSession)):
            records.write.format("kafka").mode("append").options(**options).options(**SAFE).save()
    except (Py4JJavaError, PySparkException) as failure:
        raise SinkFailed(name, batch_id, words(failure)) from failure


def _without_kafka(spark: SparkSession) -> str:
    """Spark's first way to write to Kafka, which it still prefers, never reports what was observed on the way."""
    named = str(spark.conf.get(V1_SOURCES)).split(",")
    return ",".join(name for name in named if name != "kafka")
