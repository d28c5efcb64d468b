"""What a wrong `enrich` is told: each finding names its place and what would be right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from jobs.core import checks, overlaps
from jobs.core.problems import Finding
from jobs.core.schema import SchemaError, column_names, parse_ddl

if TYPE_CHECKING:
    from jobs.core.enrichment.settings import EnrichConfig, HttpService, Lookup, Other, Step

PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
CLASH = re.compile("^(ref_)*")  # before a name that there was already
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def http(given: HttpService) -> Iterator[Finding]:
    """A URL with each column of the key for a GET, and none for a POST; a schema that can be read; nothing in the open."""
    places = PLACE.findall(given.url)
    if given.method == "GET" and sorted(set(places)) != sorted(given.keys):
        yield Finding(("url",), f"with each column of the key: {', '.join(f'{{{name}}}' for name in given.keys)}")
    if re.search(r"[{}]", PLACE.sub("", given.url)) or (given.method == "POST" and places):
        yield Finding(("url",), "braces only around a column of the key, and none with method: POST")
    if given.url.startswith("http:") and not given.plain and urlsplit(given.url).hostname not in LOOPBACK:
        yield Finding(("url",), "https, or plain: true")
    for name, secret in given.headers.items():
        value = secret.get_secret_value()
        if value != value.strip() or not value.isprintable() or not value.isascii():
            yield Finding(("headers", name), "printable ASCII without a line feed, or a space at an end")
    if given.answers and given.method == "GET":
        yield Finding(("answers",), "only with method: POST")
    if "missing" in given.model_fields_set and given.method == "POST":
        yield Finding(("missing",), "only with method: GET; to a POST, a key that is not among the answers has none")
    try:
        parse_ddl(given.schema_)
    except SchemaError as unfit:
        yield Finding(("schema",), str(unfit))


def ages(given: Lookup) -> Iterator[Finding]:
    """Only of columns that an answer has."""
    for name in given.cache.columns:
        if name not in given.columns:
            yield Finding(("cache", "columns", name), f"one of the lookup's columns: {', '.join(given.columns)}")


def named(step: Step) -> Iterator[Finding]:
    """Names that are not ours, and defaults of columns that there are."""
    lookup = step.lookup
    for name in step.expressions or ():
        yield from _not_ours(("expressions",), name)
    if lookup is None:
        return
    place = ("lookup", "http" if lookup.http else "postgres", "columns")
    for name in lookup.columns:
        yield from _not_ours(place, name)
    for name in step.default:
        if CLASH.sub("", name) not in [CLASH.sub("", column) for column in lookup.columns]:
            yield Finding(("default", name), f"one of the lookup's columns: {', '.join(lookup.columns)}")


def _not_ours(place: tuple[str, ...], name: str) -> Iterator[Finding]:
    if name.startswith("_"):
        yield Finding((*place, name), "another name: those that begin with _ are ours")


def keys(step: Step) -> Iterator[Finding]:
    table = step.lookup or step.table or step.as_of or step.stream
    if table:
        yield from checks.pairs(step.on, step.cast, table.keys)


def only_with_keys(step: Step) -> Iterator[Finding]:
    """What says nothing beside expressions, and what leaves nobody to be in default."""
    for key in ("on", "cast", "default"):
        if step.expressions is not None and getattr(step, key):
            yield Finding((key,), "only with table, as_of, lookup or stream")
    if step.expressions is not None and step.on_miss != "keep":
        yield Finding(("on_miss",), "only with table, as_of, lookup or stream")
    if step.default and step.on_miss != "keep":
        yield Finding(("default",), "only with on_miss: keep")


def steps(config: EnrichConfig) -> Iterator[Finding]:
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
    if config.waiting and config.waiting.key_order and not config.source.kafka:
        yield Finding(("waiting", "key_order"), "only with a kafka source, whose records have keys")


def corrections(config: EnrichConfig) -> Iterator[Finding]:
    """Rows are found in a Delta table, with the event's own columns as they came."""
    correcting = [name for name, step in config.enrich.items() if step.corrects]
    for name in correcting:
        if config.corrections is None:
            yield Finding(("corrections",), f"required for step {name}: corrections.within")
        if config.sink.delta is None:
            yield Finding(("enrich", name, "as_of", "on_late"), "keep: rows are written again in a Delta table alone")
    if config.corrections and not correcting:
        yield Finding(("corrections",), "only where a step says on_late: re_emit")
    own = column_names(checks.columns(config.source) or ()) if correcting else []
    histories = [table.columns for name in correcting for table in config.enrich[name].loaded.values()]
    for name, step in config.enrich.items() if correcting else ():
        for column in set(step.expressions or {}) & {*own, *(column for columns in histories for column in columns)}:
            why = "another name: a column of the source or of the history has to stay as it came, for on_late: re_emit"
            yield Finding(("enrich", name, "expressions", column), why)


def other(given: Other) -> Iterator[Finding]:
    """Records with a key and a time, and a bound."""
    if not given.kafka:
        yield Finding(("kafka",), "required: a stream is joined from a topic")
    if not given.event_time:
        yield Finding(("event_time",), "required: the column that says when a record happened")
    if not (given.before or given.after):
        yield Finding((), "before, after, or both: how far the two may lie apart")
    if given.late:
        yield Finding(("late",), "max_lateness: what is late goes where source.late says")


def streams(config: EnrichConfig) -> Iterator[Finding]:
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
