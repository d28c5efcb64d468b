"""What `enrich` may say: steps in their order; each a reference table, its history, a lookup, a stream, or expressions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from jobs.core import checks, overlaps
from jobs.core.config import JobConfig, Keyed, Loaded, Places, Reference, Settings, Source
from jobs.core.connections import Findings
from jobs.core.problems import Finding
from jobs.core.schema import SchemaError, column_names, parse_ddl
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

PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _header(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", name):
        raise ValueError("the name of an HTTP header")
    return name


HeaderName = Annotated[str, AfterValidator(_header)]
Status = Annotated[Whole, Field(ge=200, le=499)]
Failure = Literal["stand", "keep", "dead_letter", "wait"]
Outcome = Literal["keep", "dead_letter", "wait"]


class Kept(Settings):
    """How long answers serve; each of `parallel` tasks keeps its own on each machine."""

    ttl: Duration = Duration("1m")
    negative_ttl: Duration = Duration("10s")  # that there is no answer for a key
    max_keys: Count = 100_000  # for each task; those that were used last
    max_stale: Duration | None = None  # what is older than ttl serves so long while the service does not answer


class PostgresTable(Keyed):
    """One row a key, of a table that may be too large to be broadcast."""

    table: TableName
    columns: list[Column] = Field(min_length=1)


class HttpService(Keyed):
    """A GET for each key, its columns in the URL; or a POST for many (`core.enrichment.http_service`)."""

    url: HttpUrl
    method: Literal["GET", "POST"] = "GET"
    schema_: str = Field(alias="schema")  # DDL of an answer, as it stands in the body
    columns: dict[Column, Sql] = Field(default_factory=dict)  # column: SQL over the schema; all of it when empty
    answers: Line | None = None  # POST: dotted path of the list of answers in the body
    missing: list[Status] = Field(default_factory=lambda: [204, 404, 410])  # statuses that say: no such key
    headers: dict[HeaderName, Secret] = Field(default_factory=dict)
    timeout: Duration = Duration("5s")  # of one call, in all
    max_bytes: Bytes = Bytes("1MiB")
    concurrency: Count = 4  # calls that each task has under way
    per_second: Count | None = None  # calls that each task begins
    certificates: Line | None = None  # a PEM file on each machine, in place of the system's authorities
    plain: bool = False  # whether http may be, beyond this machine

    def findings(self) -> Findings:
        return _http(self)


class Lookup(Settings):
    """Exactly one of postgres and http: asked by key, in the executors, for the keys that are not kept."""

    postgres: PostgresTable | None = None
    http: HttpService | None = None
    cache: Kept = Kept()
    batch: Count = 500  # keys a call; a GET has one
    parallel: Count = 2  # tasks that ask side by side
    on_failure: Failure = "stand"  # no answer: the batch stands until there is one

    def findings(self) -> Findings:
        return checks.one_of(self, "postgres", "http")

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
        return [*super().findings(), *_other(self)]

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
        return [*checks.one_of(self, *kinds), *_keys(self), *_only_with_keys(self)]

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


class Corrections(Settings):
    """How old events may be whose rows are written again."""

    within: Duration


class EnrichConfig(JobConfig):
    """A job that enriches its events, step by step."""

    enrich: dict[Name, Step] = Field(min_length=1)  # by name, in the order in which they are applied
    waiting: Waiting | None = None
    corrections: Corrections | None = None

    def findings(self) -> Findings:
        return [*super().findings(), *_steps(self), *_corrections(self), *_streams(self)]

    @property
    def keeps_state(self) -> bool:
        return any(step.stream for step in self.enrich.values())

    def read_beside(self) -> Places:
        tables = {(name, kind): table for name, step in self.enrich.items() for kind, table in step.loaded.items()}
        return {("enrich", *where, "delta", "path"): table.delta.path for where, table in tables.items() if table.delta}

    def parks(self) -> Places:
        return {("waiting", "parked"): self.waiting.parked if self.waiting else None}


def _http(given: HttpService) -> Iterator[Finding]:
    """A URL with each column of the key for a GET, and none for a POST; a schema that can be read; nothing in the open."""
    places = PLACE.findall(given.url)
    if given.method == "GET" and sorted(set(places)) != sorted(given.keys):
        yield Finding(("url",), f"with each column of the key: {', '.join(f'{{{name}}}' for name in given.keys)}")
    if re.search(r"[{}]", PLACE.sub("", given.url)) or (given.method == "POST" and places):
        yield Finding(("url",), "braces only around a column of the key, and none with method: POST")
    if given.url.startswith("http:") and not given.plain and urlsplit(given.url).hostname not in LOOPBACK:
        yield Finding(("url",), "https, or plain: true")
    if given.answers and given.method == "GET":
        yield Finding(("answers",), "only with method: POST")
    try:
        parse_ddl(given.schema_)
    except SchemaError as unfit:
        yield Finding(("schema",), str(unfit))


def _keys(step: Step) -> Iterator[Finding]:
    table = step.lookup or step.table or step.as_of or step.stream
    if table:
        yield from checks.pairs(step.on, step.cast, table.keys)


def _only_with_keys(step: Step) -> Iterator[Finding]:
    """What says nothing beside expressions, and what leaves nobody to be in default."""
    for key in ("on", "cast", "default"):
        if step.expressions is not None and getattr(step, key):
            yield Finding((key,), "only with table, as_of, lookup or stream")
    if step.expressions is not None and step.on_miss != "keep":
        yield Finding(("on_miss",), "only with table, as_of, lookup or stream")
    if step.default and step.on_miss != "keep":
        yield Finding(("default",), "only with on_miss: keep")


def _steps(config: EnrichConfig) -> Iterator[Finding]:
    for name, step in config.enrich.items():
        asks = (step.lookup and step.lookup.postgres) or any(table.jdbc for table in step.loaded.values())
        if config.postgres is None and asks:
            yield Finding(("postgres",), f"required for step {name}: postgres.url and postgres.user")
        if step.as_of and not (step.as_of.at or config.source.event_time):
            yield Finding(("enrich", name, "as_of", "at"), "the column of an event's time, or source.event_time")
        if step.waits and config.waiting is None:
            yield Finding(("waiting",), f"required for step {name}: waiting.wait_for and waiting.parked")
    if config.waiting and not any(step.waits for step in config.enrich.values()):
        yield Finding(("waiting",), "only where a step says wait")
    if config.waiting and config.dead_letters and config.dead_letters.key_order:
        yield Finding(("waiting",), "not with dead_letters.key_order: no record waits apart")


def _corrections(config: EnrichConfig) -> Iterator[Finding]:
    """Rows are found in a Delta table, with the event's own columns as they came."""
    correcting = [name for name, step in config.enrich.items() if step.corrects]
    for name in correcting:
        if config.corrections is None:
            yield Finding(("corrections",), f"required for step {name}: corrections.within")
        if config.sink.delta is None:
            yield Finding(("enrich", name, "as_of", "on_late"), "keep: rows are written again in a Delta table alone")
    if config.corrections and not correcting:
        yield Finding(("corrections",), "only where a step says on_late: re_emit")
    own = checks.columns(config.source) if correcting else None
    for name, step in config.enrich.items() if own else ():
        for column in set(step.expressions or {}) & set(column_names(own or ())):
            why = "another name: a column of the source has to stay as it came, for on_late: re_emit"
            yield Finding(("enrich", name, "expressions", column), why)


def _other(given: Other) -> Iterator[Finding]:
    """Records with a key and a time, and a bound."""
    if not given.kafka:
        yield Finding(("kafka",), "required: a stream is joined from a topic")
    if not given.event_time:
        yield Finding(("event_time",), "required: the column that says when a record happened")
    if not (given.before or given.after):
        yield Finding((), "before, after, or both: how far the two may lie apart")
    if given.late:
        yield Finding(("late",), "max_lateness: what is late goes where source.late says")


def _streams(config: EnrichConfig) -> Iterator[Finding]:
    """One, beside a source in Kafka with a time and a bound of lateness; and nothing that would read an event twice."""
    names = [name for name, step in config.enrich.items() if step.stream]
    if not names:
        return
    for name in names[1:]:
        yield Finding(("enrich", name, "stream"), f"one stream a job, and {names[0]} has one")
    if not config.source.kafka:
        yield Finding(("source",), f"kafka, as step {names[0]} joins another topic")
    if not config.source.late:
        yield Finding(
            ("source", "late"), f"required for step {names[0]}: how late an event may be, and where it goes then"
        )
    letters = config.dead_letters
    for key in ("redrive", "retry", "key_order"):
        if letters and getattr(letters, key):
            yield Finding(
                ("dead_letters", key), f"not with step {names[0]}: what comes again would have missed its time"
            )
    for key in ("waiting", "corrections"):
        if getattr(config, key):
            yield Finding((key,), f"not with step {names[0]}: an event that was joined is not made again")
    yield from _own_topics(config, names[0])
    known = checks.columns(config.source)
    for name in config.enrich[names[0]].on if known else ():
        if name not in column_names(known or ()):
            yield Finding(
                ("enrich", names[0], "on", name), "a column of the source: streams are joined before any step"
            )


def _own_topics(config: EnrichConfig, name: str) -> Iterator[Finding]:
    """What another stream reads, the job neither reads otherwise nor writes."""
    stream, own = config.enrich[name].stream, config.source.kafka
    read = [own.topic] if own and isinstance(own.topic, str) else (own.topic or []) if own else []
    places = [*((".".join(path), topic) for path, topic in overlaps.topics_written(config).items())]
    for place, topic in [*places, *(("source.kafka.topic", topic) for topic in read)]:
        if stream and overlaps.reads(stream.kafka, topic):
            yield Finding(("enrich", name, "stream", "kafka"), f"a topic apart from {place} ({topic})")
