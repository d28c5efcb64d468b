"""What a config may say about where a job writes: sinks, dead letters, late records."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from jobs.core import checks, checks_sinks
from jobs.core.connections import Findings, Settings
from jobs.core.reasons import Reason
from jobs.core.values import Bytes, Column, Count, DataPath, Duration, Line, Name, Sql, TableName, Topic


class DeltaSink(Settings):
    path: DataPath
    partition_by: list[Column] = Field(default_factory=list)


class ParquetSink(Settings):
    path: DataPath
    partition_by: list[Column] = Field(default_factory=list)


class Deletes(Settings):
    """Rows that take their key out of the table, instead of being written to it."""

    when: Sql  # an SQL expression over the rows that the sink gets
    drop: list[Column] = Field(default_factory=list)  # columns that are there for it alone, and not in the table


class PostgresSink(Settings):
    """A table that exists. Its ledger is in the same database."""

    table: TableName
    mode: Literal["append", "upsert"] = "append"
    key: list[Column] = Field(default_factory=list)  # upsert: the columns of a unique index
    version: Column | None = None  # upsert: a row with an older one never replaces a newer one
    delete: Deletes | None = None  # upsert
    work_mem: Bytes = Bytes("256MiB")  # for sorting a staged batch, where the server's own setting is less

    def findings(self) -> Findings:
        return checks_sinks.upsert(self)


class KafkaSink(Settings):
    """Topics that exist, with what stands where in a record."""

    topic: Topic | None = None
    topic_column: Column | None = None  # names a row's topic, one of `topics`
    topics: list[Topic] = Field(default_factory=list)
    key: list[Column] = Field(default_factory=list)  # one column: its text or bytes; several: a JSON object
    headers: dict[Line, Column] = Field(default_factory=dict)
    value: Column = "json"  # a column's text or bytes; json: all columns, as an object

    @property
    def names(self) -> list[str]:
        """Every topic that a row may go to."""
        return [self.topic] if self.topic else self.topics

    def findings(self) -> Findings:
        return checks_sinks.routes(self)


class ConsoleSink(Settings):
    rows: Count = 20


class MemorySink(Settings):
    name: Name


class Sink(Settings):
    """Exactly one of delta, parquet, postgres, kafka, console and memory."""

    delta: DeltaSink | None = None
    parquet: ParquetSink | None = None
    postgres: PostgresSink | None = None
    kafka: KafkaSink | None = None
    console: ConsoleSink | None = None
    memory: MemorySink | None = None
    max_refused: Count = 1_000  # rows of one batch that may become dead letters as the table refuses them

    def findings(self) -> Findings:
        return checks.one_of(self, "delta", "parquet", "postgres", "kafka", "console", "memory")


class KafkaDeadLetters(Settings):
    topic: Topic
    too_large: Literal["stop", "cut"] = "stop"  # a dead letter larger than the topic's max.message.bytes


class DeltaDeadLetters(Settings):
    path: DataPath


class Redrive(Settings):
    """Where `patterns dead-letters redrive` sends dead letters: the job reads `topic` beside its source's."""

    topic: Topic  # this job's own
    max_attempts: Count = 3  # the first reading counts
    parking_topic: Topic  # for a dead letter that was tried so often


class RetryTopic(Settings):
    topic: Topic  # this job's own
    after: Duration  # since a dead letter was sent to it


class Retries(Settings):
    """Dead letters that are redriven by themselves, each attempt after its own time; then they stay dead letters."""

    reasons: list[Reason] = Field(default_factory=lambda: [Reason.NO_REFERENCE])  # those that may pass by themselves
    topics: list[RetryTopic]  # the first attempt's first

    def findings(self) -> Findings:
        return checks_sinks.retries(self)


class Letters(Settings):
    """Exactly one of kafka and delta."""

    kafka: KafkaDeadLetters | None = None
    delta: DeltaDeadLetters | None = None

    def findings(self) -> Findings:
        return checks.one_of(self, "kafka", "delta")


class KeyOrder(Settings):
    """Later records of a key that has a dead letter follow it, until it is redriven."""

    path: DataPath  # where the job keeps which keys these are


class DeadLetters(Letters):
    redrive: Redrive | None = None
    retry: Retries | None = None
    key_order: KeyOrder | None = None

    def findings(self) -> Findings:
        return [*super().findings(), *checks_sinks.redrives(self)]
