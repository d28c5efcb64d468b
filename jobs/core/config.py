"""What a job's config may say, as frozen models: unknown keys, wrong types and unsafe values are errors.

`core.layers` reads the files, variables and arguments; the value types (durations, sizes, identifiers, secrets) are in
`core.values`. The same models give the JSON Schema for editors (`patterns schema`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from pydantic import Field, PrivateAttr

from jobs.core import checks, checks_sinks, monitoring, overlaps
from jobs.core.connections import Breaker, Findings, Kafka, KafkaSecurity, LeaseLimits, Postgres, Retry, Settings
from jobs.core.errors import ConfigError, Problem
from jobs.core.monitoring import ErrorBudget, Monitoring, Ready
from jobs.core.outputs import (
    ConsoleSink,
    DeadLetters,
    Deletes,
    DeltaDeadLetters,
    DeltaSink,
    KafkaDeadLetters,
    KafkaSink,
    KeyOrder,
    Letters,
    MemorySink,
    ParquetSink,
    PostgresSink,
    Redrive,
    Retries,
    RetryTopic,
    Sink,
)
from jobs.core.problems import Finding
from jobs.core.run_config import RunConfig
from jobs.core.values import (
    Bytes,
    Column,
    Count,
    DataPath,
    Duration,
    Line,
    Name,
    Offsets,
    Sql,
    TableName,
    Topic,
    Year,
)

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "Breaker",
    "ConsoleSink",
    "DeadLetters",
    "Deletes",
    "DeltaDeadLetters",
    "DeltaSink",
    "ErrorBudget",
    "Kafka",
    "KafkaDeadLetters",
    "KafkaSecurity",
    "KafkaSink",
    "KeyOrder",
    "LeaseLimits",
    "Letters",
    "MemorySink",
    "Monitoring",
    "ParquetSink",
    "Postgres",
    "PostgresSink",
    "Ready",
    "Redrive",
    "Retries",
    "Retry",
    "RetryTopic",
    "Settings",
    "Sink",
]  # part of a config, whatever module they stand in

Recover = Literal["from-ledger", "reprocess"]
Places = Mapping[tuple[str, ...], str | None]
Times = Literal["rfc3339", "epoch_s", "epoch_ms"]


class KafkaSource(Settings):
    topic: Topic | list[Topic] | None = None
    topic_pattern: Line | None = None
    starting_offsets: Offsets = "earliest"

    def findings(self) -> Findings:
        return checks.starting_point(self)


class PathSource(Settings):
    path: DataPath


class RateSource(Settings):
    rows_per_second: Count = 1


class Late(Settings):
    """Records whose event time lies so far behind the newest one go elsewhere."""

    max_lateness: Duration
    to: Letters


class Personal(Settings):
    """Fields of an event's `data` that are about a person: the log holds them sealed, until the person is forgotten."""

    subject: Line | None = None  # the field of `data` that names the person; without it the stream is one
    fields: list[Line] = Field(default_factory=list)  # all of `data` when empty


class Source(Settings):
    """Exactly one of kafka, delta, file and rate; kafka and file carry records to decode."""

    kafka: KafkaSource | None = None
    delta: PathSource | None = None
    file: PathSource | None = None
    rate: RateSource | None = None
    format: Literal["json", "csv", "raw", "avro", "event"] = "json"
    stream_field: Line | None = None  # event: the field of `data` that names the stream where the event does not
    personal: Personal | None = None  # event: what of `data` is sealed
    schema_: str | None = Field(None, alias="schema")  # DDL text, or a .ddl file beside the config
    required: list[Column] = Field(default_factory=list)
    nullable: Literal["implicit", "explicit"] = "implicit"
    unknown_fields: Literal["allow", "reject"] = "allow"
    timestamps: Times | dict[Column, Times] = "rfc3339"
    min_year: Year = 1970
    max_year: Year = 2200
    event_time: Column | None = None
    max_future: Duration = Duration("1h")
    late: Late | None = None  # without it no record is too late
    max_record_bytes: Bytes = Bytes("1MiB")
    constraints: dict[Name, Sql] = Field(default_factory=dict)  # name: SQL expression that must hold

    @property
    def decoded(self) -> bool:
        """Whether it brings records as bytes, and so has dead letters."""
        return self.kafka is not None or self.file is not None

    def findings(self) -> Findings:
        return [*checks.one_of(self, "kafka", "delta", "file", "rate"), *checks.source(self), *checks_sinks.late(self)]


class Keyed(Settings):
    """What has a row, or an answer, for each key."""

    key: Column | list[Column]

    @property
    def keys(self) -> list[str]:
        """Its columns."""
        return [self.key] if isinstance(self.key, str) else list(self.key)


class Jdbc(Keyed):
    table: TableName
    columns: list[Column] = Field(default_factory=list)  # all but the key when empty


class DeltaReference(Keyed):
    path: DataPath
    columns: list[Column] = Field(default_factory=list)


class Refresh(Settings):
    every: Duration = Duration("30s")
    watermark: Column | None = None  # reload only when max(watermark) or the row count has changed


class Loaded(Settings):
    """A table that is loaded as a whole; exactly one of jdbc and delta."""

    jdbc: Jdbc | None = None
    delta: DeltaReference | None = None
    refresh: Refresh = Refresh()
    max_staleness: Duration | None = None
    on_stale: Literal["fail", "serve"] = "fail"

    def findings(self) -> Findings:
        return [*checks.one_of(self, "jdbc", "delta"), *checks.staleness(self)]

    @property
    def keys(self) -> list[str]:
        table = self.jdbc or self.delta
        return table.keys if table else []

    @property
    def columns(self) -> list[str]:
        """Those that are named; empty where all are meant."""
        table = self.jdbc or self.delta
        return list(table.columns) if table else []


class Reference(Loaded):
    """A reference table, one row a key."""

    broadcast_max_rows: Count = 1_000_000


class Join(Settings):
    on: dict[Column, Column]  # stream column: reference column
    how: Literal["inner", "left"] = "left"
    on_miss: Literal["keep", "dead_letter", "wait"] = "keep"  # inner and keep: the miss is filtered, and counted
    wait_for: Duration | None = None
    parked: DataPath | None = None
    key_order: bool = False  # wait: whether later records of a key wait behind it; they do with dead_letters.key_order
    cast: dict[Column, str] = Field(
        default_factory=dict
    )  # stream column: type to compare it as; what is none is a miss

    def findings(self) -> Findings:
        return checks.misses(self)


class Repartition(Settings):
    by: list[Column] = Field(default_factory=list)
    count: Count | None = None

    def findings(self) -> Findings:
        return [] if self.by or self.count else [Finding((), "by, count, or both")]


class Scaling(Settings):
    max_offsets_per_trigger: Count | None = None
    min_partitions: Count | None = None
    repartition: Repartition | None = None
    coalesce: Count | None = None
    shuffle_partitions: Count | None = None


class Trigger(Settings):
    every: Duration | None = None
    available_now: bool = False
    once: bool = False

    def findings(self) -> Findings:
        if self.once:
            return [Finding(("once",), "no longer a trigger of Spark: use available_now: true")]
        return checks.one_of(self, "every", "available_now")


class JobConfig(RunConfig):
    """What every job over a stream has; a job's own Config adds to it."""

    source: Source
    sink: Sink
    dead_letters: DeadLetters | None = None
    error_budget: ErrorBudget | None = None
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    scaling: Scaling = Scaling()
    trigger: Trigger = Trigger(every=Duration("5s"))
    checkpoint: DataPath
    lease: LeaseLimits = LeaseLimits()
    ledger: DataPath | None = None  # beside the sink, unless the sink has no place of its own
    monitoring: Monitoring = Monitoring()
    seals: ClassVar[bool] = False  # whether the job does with `source.personal` what that promises
    _recover: Recover | None = PrivateAttr(None)

    @property
    def keeps_state(self) -> bool:
        """Whether its query has a state that is lost with its checkpoint."""
        return False

    @property
    def recover(self) -> Recover | None:
        """How this one start recovers; only the command line can say it, as no later start should."""
        return self._recover

    def recovering(self, how: str | None) -> Self:
        """The same config for a start that recovers. Raises ConfigError where the job can't."""
        if how and (wrong := checks.recovery(self, how)):
            raise ConfigError(Problem("--recover", how, wrong, "command line"))
        made = self.model_copy()
        made._recover = cast("Recover | None", how)
        return made

    def findings(self) -> Findings:
        own = [*checks.needs(self), *super().findings(), *overlaps.topics(self)]
        return [*own, *overlaps.folders(self), *self._watched()]

    def _watched(self) -> Findings:
        every = self.trigger.every.ms if self.trigger.every else 0
        return monitoring.findings(self.monitoring, every, self.source.kafka is not None)

    def read_beside(self) -> Places:
        """Folders that it reads beside its source, by where the config says so."""
        return {}

    def parks(self) -> Places:
        """The folder where records wait, by where the config says so."""
        return {}

    def tables_read(self) -> list[TableName]:
        """In PostgreSQL."""
        return []

    @property
    def parked(self) -> str | None:
        return next((place for place in self.parks().values() if place), None)


class JoinConfig(JobConfig):
    """A job that joins with a reference table; its own Config adds nothing, or more."""

    reference: Reference
    join: Join

    def findings(self) -> Findings:
        joined = checks.check_join(self.source, self.reference, self.join)
        return [*super().findings(), *checks.join_needs(self), *joined, *checks.join_output(self)]

    def read_beside(self) -> Places:
        return {("reference", "delta", "path"): self.reference.delta.path if self.reference.delta else None}

    def parks(self) -> Places:
        return {("join", "parked"): self.join.parked}

    def tables_read(self) -> list[TableName]:
        return [self.reference.jdbc.table] if self.reference.jdbc else []


check_join = checks.check_join
shared_checkpoints = overlaps.shared_checkpoints
