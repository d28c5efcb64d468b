"""What `enrich` may say: steps in their order; each a reference table, its history, a lookup, a stream, or expressions."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from jobs.core import checks
from jobs.core.config import JobConfig, Keyed, Loaded, Places, Reference, Settings, Source
from jobs.core.connections import Findings
from jobs.core.enrichment import findings
from jobs.core.schema import column_names, parse_ddl
from jobs.core.values import (
    Bytes,
    Column,
    Count,
    DataPath,
    Duration,
    HttpUrl,
    Line,
    Name,
    Secret,
    Sql,
    TableName,
    Whole,
)


def _header(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", name):
        raise ValueError("the name of an HTTP header")
    return name


HeaderName = Annotated[str, AfterValidator(_header)]
Status = Annotated[Whole, Field(ge=200, le=499)]
Failure = Literal["stand", "keep", "dead_letter", "wait"]
Outcome = Literal["keep", "dead_letter", "wait"]


class Ages(Settings):
    """How long one column of an answer serves, where that is not as long as the others."""

    ttl: Duration | None = None
    max_stale: Duration | None = None


class Kept(Settings):
    """How long answers serve; each of `parallel` tasks keeps its own on each machine.

    A call renews a whole answer, and is due once one of its columns is older than its ttl.
    """

    ttl: Duration = Duration("1m")
    negative_ttl: Duration = Duration("10s")  # that there is no answer for a key
    max_keys: Count = 100_000  # for each task; those that were used last
    max_stale: Duration | None = None  # what is older than ttl serves so long while the service does not answer
    columns: dict[Column, Ages] = Field(default_factory=dict)  # those that have ages of their own

    def ttl_s(self, column: str) -> float:
        own = self.columns.get(column, Ages()).ttl
        return (own or self.ttl).seconds_total

    def max_stale_s(self, column: str) -> float:
        """At least its ttl."""
        limit = self.columns.get(column, Ages()).max_stale or self.max_stale
        return max(limit.seconds_total if limit else 0.0, self.ttl_s(column))


class PostgresTable(Keyed):
    """One row a key, of a table that may be too large to be broadcast."""

    table: TableName
    columns: list[Column] = Field(min_length=1)
    timeout: Duration = Duration("5s")  # to connect, and of each call


class HttpService(Keyed):
    """A GET for each key, its columns in the URL; or a POST for many (`core.enrichment.http_service`)."""

    url: HttpUrl
    method: Literal["GET", "POST"] = "GET"
    schema_: str = Field(alias="schema")  # DDL of an answer, as it stands in the body
    columns: dict[Column, Sql] = Field(default_factory=dict)  # column: SQL over the schema; all of it when empty
    answers: Line | None = None  # POST: dotted path of the list of answers in the body
    missing: list[Status] = Field(default_factory=lambda: [204, 404, 410])  # GET: statuses that say: no such key
    headers: dict[HeaderName, Secret] = Field(default_factory=dict)
    timeout: Duration = Duration("5s")  # of one call, in all
    max_bytes: Bytes = Bytes("1MiB")
    concurrency: Count = 4  # calls that each task has under way
    per_second: Count | None = None  # calls that each task begins
    certificates: Line | None = None  # a PEM file on each machine, in place of the system's authorities
    plain: bool = False  # whether http may be, beyond this machine

    def findings(self) -> Findings:
        return findings.http(self)


class Lookup(Settings):
    """Exactly one of postgres and http: asked by key, in the executors, for the keys that are not kept."""

    postgres: PostgresTable | None = None
    http: HttpService | None = None
    cache: Kept = Kept()
    batch: Count = 500  # keys a call; a GET has one
    parallel: Count = 2  # tasks that ask side by side
    on_failure: Failure = "stand"  # no answer: the batch stands until there is one

    def findings(self) -> Findings:
        return [*checks.one_of(self, "postgres", "http"), *findings.ages(self)]

    @property
    def columns(self) -> list[str]:
        """What the events get."""
        if self.http:
            return list(self.http.columns) or column_names(parse_ddl(self.http.schema_))
        return list(self.postgres.columns) if self.postgres else []

    @property
    def ttl_s(self) -> float:
        """How old an answer may be that serves without a call."""
        return min(self.cache.ttl_s(column) for column in self.columns)

    @property
    def max_stale_s(self) -> float:
        """How old an answer may be that serves where none comes: all of it, or any of it where rows are kept without."""
        limits = [self.cache.max_stale_s(column) for column in self.columns]
        return max(limits) if self.on_failure == "keep" else min(limits)

    @property
    def keys(self) -> list[str]:
        given = self.postgres or self.http
        return given.keys if given else []


class AsOf(Loaded):
    """The versions of a table that changes slowly, of which an event gets the one that held at its time.

    All in SQL over the table's columns, as in `timestamp_millis(ts_ms)` and `op = 'd'`.
    """

    valid_from: Sql
    valid_to: Sql | None = None  # without it a version holds until the next one of its key
    sequence: Sql | None = None  # which of those that begin together is the last one
    deleted: Sql | None = None  # whether there is no row from then on
    at: Column | None = None  # the event's time; source.event_time where it is not said
    on_late: Literal["keep", "re_emit"] = "keep"  # rows that were written before a version that is for their time came


class Other(Source, Keyed):
    """Another stream, of which an event gets the record of its key that happened about when it did."""

    columns: list[Column] = Field(default_factory=list)  # all but the key when empty
    before: Duration | None = None  # at most so long before the event
    after: Duration | None = None  # and at most so long after it
    max_lateness: Duration = Duration("1m")

    def findings(self) -> Findings:
        return [*super().findings(), *findings.other(self)]

    @property
    def before_s(self) -> float:
        return self.before.seconds_total if self.before else 0.0

    @property
    def after_s(self) -> float:
        return self.after.seconds_total if self.after else 0.0

    @property
    def bound_s(self) -> float:
        """From the earliest to the latest."""
        return self.before_s + self.after_s


class Step(Settings):
    """Exactly one of table, as_of, lookup, stream and expressions."""

    table: Reference | None = None
    as_of: AsOf | None = None
    lookup: Lookup | None = None
    stream: Other | None = None
    expressions: dict[Column, Sql] | None = None  # column: SQL over the columns that there are
    on: dict[Column, Column] = Field(default_factory=dict)  # event column: key column
    cast: dict[Column, str] = Field(default_factory=dict)  # event column: type to compare it as; what is none is a miss
    on_miss: Outcome = "keep"
    default: dict[Column, Sql] = Field(default_factory=dict)  # column: SQL, where there is no row or no answer

    def findings(self) -> Findings:
        kinds = ("table", "as_of", "lookup", "stream", "expressions")
        return [
            *checks.one_of(self, *kinds),
            *findings.keys(self),
            *findings.named(self),
            *findings.only_with_keys(self),
        ]

    @property
    def loaded(self) -> dict[str, Loaded]:
        """Tables that are loaded as a whole, by where they stand."""
        return {name: table for name, table in (("table", self.table), ("as_of", self.as_of)) if table}

    @property
    def corrects(self) -> bool:
        """Whether rows are written again after a version that came late."""
        return self.as_of is not None and self.as_of.on_late == "re_emit"

    @property
    def waits(self) -> bool:
        """Whether any of its events may wait."""
        return "wait" in (self.on_miss, self.lookup.on_failure if self.lookup else None)


class Waiting(Settings):
    """Where events wait for what they miss, and how long."""

    wait_for: Duration
    parked: DataPath
    key_order: bool = False  # whether later events of a key wait behind it; they do with dead_letters.key_order


class Corrections(Settings):
    """How old events may be whose rows are written again."""

    within: Duration


class EnrichConfig(JobConfig):
    """A job that enriches its events, step by step."""

    enrich: dict[Name, Step] = Field(min_length=1)  # by name, in the order in which they are applied
    waiting: Waiting | None = None
    corrections: Corrections | None = None

    def findings(self) -> Findings:
        return [*super().findings(), *findings.steps(self), *findings.corrections(self), *findings.streams(self)]

    @property
    def keeps_state(self) -> bool:
        return any(step.stream for step in self.enrich.values())

    def read_beside(self) -> Places:
        tables = {(name, kind): table for name, step in self.enrich.items() for kind, table in step.loaded.items()}
        return {("enrich", *where, "delta", "path"): table.delta.path for where, table in tables.items() if table.delta}

    def tables_read(self) -> list[TableName]:
        loaded = [table.jdbc for step in self.enrich.values() for table in step.loaded.values()]
        lookups = [step.lookup.postgres for step in self.enrich.values() if step.lookup]
        return [given.table for given in (*loaded, *lookups) if given]

    def parks(self) -> Places:
        return {("waiting", "parked"): self.waiting.parked if self.waiting else None}
