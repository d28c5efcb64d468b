"""Checks within a group of settings and across groups: each yields findings, so that all are told at once.

Columns are checked where the config says what they are (records to decode, the rate source); a Delta source and a
reference table are looked at when the job starts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from jobs.core import checks_sinks, overlaps, urls
from jobs.core.allowed import Kind, looks_secret, wrong_option
from jobs.core.problems import Finding
from jobs.core.schema import Decimal, Field, Scalar, SchemaError, column_names, named_beside, parse_ddl, parse_type

if TYPE_CHECKING:
    from jobs.core.config import (
        Breaker,
        JobConfig,
        Join,
        JoinConfig,
        KafkaSecurity,
        KafkaSource,
        LeaseLimits,
        Loaded,
        Postgres,
        Reference,
        Retry,
        Source,
    )

TIMESTAMP = Scalar("TIMESTAMP")
RAW = (Field("value", Scalar("STRING")),)
EVENT = parse_ddl(  # what `core.events.reading` makes of a record
    "stream_id STRING, stream_version BIGINT, expected_version BIGINT, event_id STRING, event_type STRING,"
    " schema_version INT, data STRING, metadata MAP<STRING, STRING>, occurred_at TIMESTAMP"
)
OWN_SCHEMA = {"raw": RAW, "event": EVENT}  # formats that need none
RATE = (Field("timestamp", TIMESTAMP), Field("value", Scalar("BIGINT")))
OWN_COLUMNS = ("_topic", "_partition", "_offset", "_reference_version")


def one_of(group: BaseModel, *kinds: str) -> Iterator[Finding]:
    """Exactly one of the kinds is set."""
    given = [kind for kind in kinds if getattr(group, kind) not in (None, False)]
    if len(given) != 1:
        told = f"given: {' and '.join(given)}; set what is not meant to null" if given else "none is given"
        yield Finding((), f"exactly one of {', '.join(kinds)} ({told})")


def options(given: Mapping[str, str], allowed: Mapping[str, Kind]) -> Iterator[Finding]:
    """Only properties of an allow-list, each with a value that it takes."""
    for name, value in given.items():
        wrong = wrong_option(name, value, allowed)
        if wrong:
            yield Finding(("options", name), wrong)


def spark_settings(given: Mapping[str, str]) -> Iterator[Finding]:
    """Spark's own keys, and no secrets: they would stand in the Spark UI and the event log."""
    for name in given:
        if looks_secret(name):
            yield Finding(
                ("spark", name), "no secrets here: give spark-submit a credential provider or a properties file"
            )
        elif not re.fullmatch(r"spark(\.[\w-]+)+", name):
            yield Finding(("spark", name), "a key that begins with `spark.`")


def security(given: KafkaSecurity) -> Iterator[Finding]:
    """A login where SASL is spoken, and readable stores where TLS is."""
    sasl = {"mechanism": given.mechanism, "username": given.username, "password": given.password}
    for key, value in sasl.items():
        if given.protocol.startswith("SASL") and not value:
            yield Finding((key,), f"required with protocol {given.protocol}")
        elif value and not given.protocol.startswith("SASL"):
            yield Finding((key,), f"only with protocol SASL_SSL or SASL_PLAINTEXT, not {given.protocol}")
    for key, store in {"truststore": given.truststore, "keystore": given.keystore}.items():
        if store is not None and not given.protocol.endswith("SSL"):
            yield Finding((key,), f"only with protocol SSL or SASL_SSL, not {given.protocol}")
        elif store is not None and not _readable(store):
            yield Finding((key,), "a file that can be read")


def encrypted(given: Postgres) -> Iterator[Finding]:
    """Away from loopback the server has to prove who it is."""
    host = urls.host(given.url)
    modes = {given.options.get("sslmode"), urls.parameters(given.url).get("sslmode")} - {None}
    is_here = host in ("localhost", "::1") or bool(re.fullmatch(r"127(\.[0-9]{1,3}){3}", host))
    if not is_here and modes != {"verify-full"}:
        yield Finding(("url",), f"?sslmode=verify-full, as {host} is not this machine")


def waits(given: Retry) -> Iterator[Finding]:
    """Waits that grow, and fit in the time there is."""
    if given.wait_initial.ms > given.wait_max.ms:
        yield Finding(("wait_initial",), f"at most wait_max, which is {given.wait_max}")
    if given.wait_max.ms > given.timeout.ms:
        yield Finding(("wait_max",), f"at most timeout, which is {given.timeout}")


def judged(given: Breaker) -> Iterator[Finding]:
    """As many calls as it takes to judge fit in the window."""
    if given.min_calls > given.window:
        yield Finding(("min_calls",), f"at most window, which is {given.window}")


def renewals(given: LeaseLimits) -> Iterator[Finding]:
    """One that comes late is not the end of a lease."""
    if given.renew.ms * 3 > given.ttl.ms:
        yield Finding(("renew",), f"at most a third of ttl, which is {given.ttl}")


def starting_point(given: KafkaSource) -> Iterator[Finding]:
    """Topics or a pattern, and offsets that Spark knows."""
    yield from one_of(given, "topic", "topic_pattern")
    if isinstance(given.topic, list) and (not given.topic or len(set(given.topic)) < len(given.topic)):
        yield Finding(("topic",), "one topic or several, each once")
    if given.topic_pattern is not None and not _is_pattern(given.topic_pattern):
        yield Finding(("topic_pattern",), "a regular expression")


def recovery(given: JobConfig, how: str) -> str | None:
    """Why a job can't recover so, and what to do instead; None where it can."""
    if given.source.rate:
        return "nothing, as a rate source makes new records at each start: give the job a new checkpoint and a new sink"
    if how == "reprocess" and given.parked:
        where = ".".join(next(iter(given.parks())))
        return f"from-ledger: records that waited would wait again; to read all, a new checkpoint, sink and {where}"
    if how == "from-ledger" and given.keeps_state:
        return "reprocess: what was in the state of its query is lost with the checkpoint, and has to be read again"
    if how == "from-ledger" and not given.source.kafka:
        return "reprocess: only a kafka source can be started at an offset, others know it by their checkpoint alone"
    return None


def columns(source: Source) -> tuple[Field, ...] | None:
    """The columns that a source will have; None where only the data can say. Raises SchemaError."""
    if source.rate:
        return RATE
    if not source.decoded:
        return None
    return OWN_SCHEMA.get(source.format) or parse_ddl(source.schema_ or "")


def source(given: Source) -> Iterator[Finding]:
    """A schema where records are decoded, and only columns that it has."""
    own = given.format in OWN_SCHEMA
    if given.schema_ is not None and (own or not given.decoded):
        names = ", ".join(column_names(OWN_SCHEMA.get(given.format, ())))
        why = f"format {given.format} has its own: {names}" if own else "a delta or rate source brings its own"
        yield Finding(("schema",), f"no schema: {why}")
    elif given.schema_ is None and given.decoded and not own:
        yield Finding(("schema",), "required for records to decode: DDL, or a .ddl file beside the config")
    else:
        try:
            yield from _columns(given, columns(given))
        except SchemaError as failure:
            yield Finding(("schema",), str(failure))
    for name in ("stream_field", "personal"):
        if getattr(given, name) is not None and given.format != "event":
            yield Finding((name,), "only with format: event")
    if given.format == "event" and (given.required or given.timestamps != "rfc3339"):
        yield Finding(("required" if given.required else "timestamps",), "not with format: event, which says it itself")
    if given.min_year > given.max_year:
        yield Finding(("min_year",), f"at most max_year, which is {given.max_year}")


def _columns(given: Source, known: tuple[Field, ...] | None) -> Iterator[Finding]:
    if known is None:
        return
    names = column_names(known)
    for number, name in enumerate(given.required):
        yield from _exists(("required", str(number)), name, names)
    by_column = given.timestamps if isinstance(given.timestamps, dict) else {}
    times: dict[tuple[str, ...], str] = {("timestamps", name): name for name in by_column}
    if given.event_time is not None:
        times["event_time",] = given.event_time
    for path, name in times.items():
        yield from _exists(path, name, names) or _is_time(path, name, known)


def _is_time(path: tuple[str, ...], name: str, known: tuple[Field, ...]) -> list[Finding]:
    kinds = {field.name: field.type for field in known}
    return [] if kinds[name] == TIMESTAMP else [Finding(path, "a column of type TIMESTAMP")]


def _exists(path: tuple[str, ...], name: str, names: Iterable[str]) -> list[Finding]:
    names = list(names)
    return [] if name in names else [Finding(path, f"a column of the schema: {', '.join(names)}")]


def needs(config: JobConfig) -> Iterator[Finding]:
    """Groups that other groups rely on."""
    if config.sink.postgres and config.postgres is None:
        yield Finding(("postgres",), "required for a sink in PostgreSQL: postgres.url and postgres.user")
    if config.source.personal and not config.seals:
        yield Finding(("source", "personal"), "only for a job that seals it, as event_append does")
    elif config.source.personal and config.postgres is None:
        yield Finding(("postgres",), "required with source.personal, for the keys: postgres.url and postgres.user")
    if config.sink.postgres and config.ledger:
        yield Finding(("ledger",), "no ledger in a folder: a sink in PostgreSQL has it in its own transaction")
    letters = config.dead_letters
    if config.kafka is None and (config.source.kafka or overlaps.topics_written(config)):
        yield Finding(("kafka",), "required for a source, a sink or dead letters in Kafka: kafka.bootstrap_servers")
    if letters and letters.redrive and not config.source.kafka:
        yield Finding(("dead_letters", "redrive"), "only with a kafka source: dead letters come again by a topic")
    if letters is None and config.source.decoded:
        yield Finding(("dead_letters",), "required where records are decoded: kafka.topic or delta.path")
    elif letters is None and config.sink.kafka and config.sink.kafka.topic_column:
        yield Finding(("dead_letters",), "required with sink.kafka.topic_column: kafka.topic or delta.path")


def join_needs(config: JoinConfig) -> Iterator[Finding]:
    """Groups that a join relies on."""
    if config.postgres is None and config.reference.jdbc:
        yield Finding(("postgres",), "required for a reference table by JDBC: postgres.url and postgres.user")
    if config.join.key_order and not config.source.kafka:
        yield Finding(("join", "key_order"), "only with a kafka source, whose records have keys")
    if config.dead_letters is None and not config.source.decoded and config.join.on_miss != "keep":
        yield Finding(("dead_letters",), f"required with on_miss: {config.join.on_miss}")


def join_output(config: JoinConfig) -> Iterator[Finding]:
    """Columns to partition by, keys and versions are among those that a join writes, as far as the config can tell."""
    known, named = columns(config.source), config.reference.columns
    if known is None or not named:
        return
    stream = column_names(known)
    added = named_beside([*stream, *OWN_COLUMNS], [name for name in named if name not in config.join.on.values()])
    for path, name in _named(config).items():
        yield from _exists(path, name, [*stream, *added.values(), *OWN_COLUMNS])


def _named(config: JobConfig) -> dict[tuple[str, ...], str]:
    """Output columns that the config names, by where it does."""
    sink, spread, table = config.sink, config.scaling.repartition, config.sink.postgres
    listed: dict[tuple[str, ...], list[str]] = {
        ("sink", "delta", "partition_by"): sink.delta.partition_by if sink.delta else [],
        ("sink", "parquet", "partition_by"): sink.parquet.partition_by if sink.parquet else [],
        ("sink", "postgres", "key"): table.key if table else [],
        ("sink", "postgres", "version"): [table.version] if table and table.version else [],
        ("scaling", "repartition", "by"): spread.by if spread else [],
    }
    single = {(*path, str(number)): name for path, names in listed.items() for number, name in enumerate(names)}
    return {**single, **(checks_sinks.columns(sink.kafka) if sink.kafka else {})}


def staleness(given: Loaded) -> Iterator[Finding]:
    """A table may be as old as its refresh makes it."""
    if given.max_staleness is not None and given.max_staleness.ms < given.refresh.every.ms:
        yield Finding(("max_staleness",), f"at least refresh.every, which is {given.refresh.every}")


def check_join(source: Source, reference: Reference, join: Join) -> Iterator[Finding]:
    """Keys that both sides have, and a policy for misses that is complete."""
    known = columns(source)
    for name in join.on if known is not None else ():
        yield from _exists(("join", "on", name), name, column_names(known or ()))
    yield from pairs(join.on, join.cast, reference.keys, ("join",))


def pairs(
    on: Mapping[str, str], cast: Mapping[str, str], keys: list[str], above: tuple[str, ...] = ()
) -> Iterator[Finding]:
    """Event column: key column, each key once; and types that some are cast to."""
    if sorted(on.values()) != sorted(keys):
        yield Finding((*above, "on"), f"each key column once: {', '.join(keys)}")
    for name, kind in cast.items():
        if name not in on:
            yield Finding((*above, "cast", name), f"a column of {'.'.join((*above, 'on'))}: {', '.join(on)}")
        elif not _is_scalar(kind):
            yield Finding((*above, "cast", name), "a type without parts, as in BIGINT or DECIMAL(10,2)")


def misses(join: Join) -> Iterator[Finding]:
    """`wait` says how long, and where; nothing else does."""
    if not join.on:
        yield Finding(("on",), "stream column: reference column, at least one pair")
    for key in ("wait_for", "parked"):
        if join.on_miss == "wait" and getattr(join, key) is None:
            yield Finding((key,), "required with on_miss: wait")
    for key in ("wait_for", "parked", "key_order"):
        if join.on_miss != "wait" and getattr(join, key):
            yield Finding((key,), "only with on_miss: wait")


def _is_scalar(text: str) -> bool:
    try:
        return isinstance(parse_type(text), (Scalar, Decimal))
    except SchemaError:
        return False


def _is_pattern(text: str) -> bool:
    try:
        return bool(re.compile(text)) and bool(text)
    except (re.error, OverflowError, RecursionError):
        return False


def _readable(path: str) -> bool:
    return Path(path).is_file() and os.access(path, os.R_OK)
