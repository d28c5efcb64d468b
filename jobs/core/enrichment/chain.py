"""All steps of one job, in their order, as one transform; `_enrichment` says for each row what became of each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, StructType

from jobs.core import checks
from jobs.core.breaker import CircuitBreaker
from jobs.core.clock import Clock
from jobs.core.decode import nullable
from jobs.core.decode_plan import DecodeSettings
from jobs.core.enrichment import http_service, streams
from jobs.core.enrichment.asking import STATE, Asking, Caller, Limits
from jobs.core.enrichment.history import FEW, Versions
from jobs.core.enrichment.lookups import FromLookup
from jobs.core.enrichment.postgres_table import postgres_table
from jobs.core.enrichment.settings import EnrichConfig, HttpService, Lookup, PostgresTable, Step
from jobs.core.enrichment.steps import Enriching, FromExpressions, FromHistory, FromStream, FromTable
from jobs.core.postgres import Database, quoted
from jobs.core.reasons import INSTEAD
from jobs.core.reference import ReferenceTable
from jobs.core.schema import column_names
from jobs.core.sinks.tables import REVISION
from jobs.core.watched import Watched

ENRICHMENT = (
    "_enrichment"  # MAP<STRING, STRING>: step -> fresh, cached, stale, default, missed; expressions are not in it
)


class Correcting(NamedTuple):
    """A step whose history may be corrected, for more events than one batch has, and the columns that it adds."""

    step: FromHistory
    names: list[str]


class Chain:
    """DECODED -> DECODED with the columns of all steps, and ENRICHMENT; where rows are corrected, REVISION, too."""

    def __init__(self, steps: Sequence[Enriching]) -> None:
        self._steps = steps
        histories = [(number, step) for number, step in enumerate(steps) if isinstance(step, FromHistory)]
        self._correcting = [(number, step) for number, step in histories if step.step.corrects]

    def prepare(self, now: datetime) -> None:
        for step in self._steps:
            step.prepare(now)

    def tick(self) -> None:
        for step in self._steps:
            step.tick()

    def note(self) -> dict[str, str]:
        """Versions of the reference tables, by step."""
        return {key: value for step in self._steps for key, value in step.note().items()}

    def watched(self) -> Watched:
        """Its tables and lookups, by step."""
        tables = {step.name: step.table.status for step in self._steps if isinstance(step, FromTable)}
        return Watched(tables, {step.name: step.status for step in self._steps if isinstance(step, FromLookup)})

    @property
    def looks_ahead(self) -> bool:
        """Whether it reads its events before it gives any, as a lookup does for its keys."""
        return any(step.looks_ahead for step in self._steps)

    @property
    def in_trouble(self) -> list[str]:
        """Lookups that had not all answers for the events that were enriched last."""
        return [step.name for step in self._steps if isinstance(step, FromLookup) and step.in_trouble]

    def __call__(self, events: DataFrame) -> DataFrame:
        done = self.enriched(events)
        return done.withColumn(REVISION, F.lit(0)) if self.corrects else done

    def enriched(self, events: DataFrame, first: int = 0) -> DataFrame:
        """By the steps from a number on."""
        states: dict[str, str] = {}
        for number, step in enumerate(self._steps[first:]):
            column = f"{STATE}_{number}"
            if self.corrects and isinstance(step, FromExpressions):
                step.check(events.columns)
            events = step(events).withColumnRenamed(STATE, column)
            if step.tells:
                states[step.name] = column
        pairs = [part for name, column in states.items() for part in (F.lit(name), F.col(column))]
        told = F.create_map(*pairs).cast("map<string, string>")
        return events.withColumn(ENRICHMENT, told).drop(*(f"{STATE}_{number}" for number in range(len(self._steps))))

    def columns(self, events: DataFrame) -> list[list[str]]:
        """DECODED -> the columns that there are before each step, and after the last."""
        found = [events.columns]
        for step in self._steps:
            events = step(events).drop(STATE)
            found.append(events.columns)
        return found

    @property
    def corrects(self) -> bool:
        """Whether rows are written again after a version that came late."""
        return bool(self._correcting)

    @property
    def first_correcting(self) -> int:
        """Number of the first step that corrects."""
        return self._correcting[0][0]

    def correcting(self, columns: Sequence[Sequence[str]]) -> list[Correcting]:
        """The steps that correct; `columns` are as the method of this name gives them."""
        return [
            Correcting(
                replace(step, many=False),
                [name for name in columns[number + 1] if name not in (*columns[number], INSTEAD)],
            )
            for number, step in self._correcting
        ]


def chain(spark: SparkSession, config: EnrichConfig, clock: Clock) -> Chain:
    """As the config says. Raises DependencyMissing for a table that is not there."""
    return Chain([_step(spark, config, name, step, clock) for name, step in config.enrich.items()])


def _step(spark: SparkSession, config: EnrichConfig, name: str, step: Step, clock: Clock) -> Enriching:
    if step.table:
        return FromTable(name, step, ReferenceTable(spark, step.table, config.postgres, clock, config.breaker))
    if step.as_of:
        asked = step.as_of
        versions = Versions(asked.keys, asked.columns, asked.valid_from, asked.valid_to, asked.sequence, asked.deleted)
        table = ReferenceTable(spark, asked, config.postgres, clock, config.breaker, versions)
        return FromHistory(name, step, table, asked.at or str(config.source.event_time), table.count > FEW)
    if step.stream:
        own, others = (column_names(checks.columns(source) or ()) for source in (config.source, step.stream))
        return FromStream(name, step, list(streams.outputs(own, others, step.stream).values()))
    if step.lookup:
        return FromLookup(name, step, _asking(spark, config, name, step.lookup), CircuitBreaker(name, config.breaker))
    return FromExpressions(name, step)


def _asking(spark: SparkSession, config: EnrichConfig, name: str, lookup: Lookup) -> Asking:
    caller, answer = _postgres(spark, config, lookup.postgres) if lookup.postgres else _http(name, lookup.http)
    return Asking(name, caller, answer, _limits(lookup), config.retry, config.breaker, 0.0)


def _postgres(spark: SparkSession, config: EnrichConfig, asked: PostgresTable) -> tuple[Caller, DecodeSettings]:
    assert config.postgres, "a lookup in PostgreSQL comes with a database"
    database, name = Database(config.postgres), str(asked.table)
    caller = postgres_table(database, name, asked.keys, asked.columns, asked.timeout.seconds_total)
    table = spark.read.format("jdbc").options(**database.jdbc).option("dbtable", quoted(name)).load()
    return caller, _answers(_struct(nullable(table.select(*asked.columns).schema)))


def _http(name: str, asked: HttpService | None) -> tuple[Caller, DecodeSettings]:
    assert asked, "the config has exactly one service"
    headers = {header: value.get_secret_value() for header, value in asked.headers.items()}
    service = http_service.HttpService(
        name,
        str(asked.url),
        tuple(asked.keys),
        asked.method,
        headers,
        asked.answers or "",
        frozenset(asked.missing),
        asked.timeout.seconds_total,
        int(asked.max_bytes),
        asked.per_second,
        asked.certificates,
        asked.concurrency,
    )
    return service, replace(_answers(_struct(StructType.fromDDL(asked.schema_))), max_record_bytes=int(asked.max_bytes))


def _answers(schema: StructType) -> DecodeSettings:
    """In an answer a date far off is no sign of a broken clock."""
    return DecodeSettings("json", schema, min_year=1, max_year=9999)


def _struct(found: DataType) -> StructType:
    assert isinstance(found, StructType), "a table has columns, and so has a schema"
    return found


def _limits(lookup: Lookup) -> Limits:
    kept, http = lookup.cache, lookup.http
    ages = (lookup.ttl_s, kept.negative_ttl.seconds_total, lookup.max_stale_s)
    batch = 1 if http and http.method == "GET" else lookup.batch
    return Limits(*ages, keys=kept.max_keys, batch=batch, concurrency=http.concurrency if http else 1)
