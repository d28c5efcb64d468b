"""Checks of where rows go: keys of an upsert, topics and columns of a sink in Kafka, the side output of late records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jobs.core.problems import Finding
from jobs.core.reasons import Reason

if TYPE_CHECKING:
    from jobs.core.config import DeadLetters, KafkaSink, PostgresSink, Retries, Source

EVENT_ID = "event_id"
OURS = "patterns-"  # begins the names of headers of our own
JSON = "json"
WORK_MEM = 64 << 10, 2047 << 30  # what PostgreSQL takes


def routes(given: KafkaSink) -> Iterator[Finding]:
    """One topic, or a column that names one of several; headers that are not ours."""
    if bool(given.topic) == bool(given.topic_column):
        yield Finding((), "exactly one of topic, topic_column")
    if given.topic_column and not given.topics:
        yield Finding(("topics",), "required with topic_column: the topics that it may name")
    if given.topics and not given.topic_column:
        yield Finding(("topics",), "only with topic_column")
    if len(set(given.key)) < len(given.key):
        yield Finding(("key",), "each column once")
    for name in given.headers:
        if name == EVENT_ID or name.startswith(OURS):
            yield Finding(("headers", name), f"another name: {EVENT_ID} and what begins with {OURS} are the job's own")


def late(given: Source) -> Iterator[Finding]:
    """Only where an event time is decoded, and with it the future is bounded."""
    if given.late and not given.decoded:
        yield Finding(("late",), "only where records are decoded: source.kafka or source.file")
    elif given.late and not given.event_time:
        yield Finding(("event_time",), "required with late: the column that says when an event happened")


def columns(given: KafkaSink) -> dict[tuple[str, ...], str]:
    """Output columns that the settings name, by where they do."""
    named: dict[tuple[str, ...], str | None] = {
        ("topic_column",): given.topic_column,
        **{("key", str(number)): name for number, name in enumerate(given.key)},
        **{("headers", header): name for header, name in given.headers.items()},
        ("value",): None if given.value == JSON else given.value,
    }
    return {("sink", "kafka", *path): name for path, name in named.items() if name}


def upsert(given: PostgresSink) -> Iterator[Finding]:
    """A key and a version where rows are replaced, and only there."""
    for key, value in {"key": given.key, "version": given.version, "delete": given.delete}.items():
        if given.mode == "upsert" and not value and key != "delete":
            yield Finding((key,), "required with mode: upsert")
        elif given.mode == "append" and value:
            yield Finding((key,), "only with mode: upsert")
    if len(set(given.key)) < len(given.key):
        yield Finding(("key",), "each column once")
    if not WORK_MEM[0] <= given.work_mem <= WORK_MEM[1]:
        yield Finding(("work_mem",), "64KiB to 2047GiB, as PostgreSQL has it")


def retries(given: Retries) -> Iterator[Finding]:
    """Something to retry, and when."""
    for key, value in {"reasons": given.reasons, "topics": given.topics}.items():
        if not value:
            yield Finding((key,), "at least one")
    for number, (earlier, later) in enumerate(zip(given.topics, given.topics[1:]), 1):
        if later.after.ms < earlier.after.ms:
            yield Finding(("topics", str(number), "after"), f"at least the time before it, which is {earlier.after}")


def redrives(given: DeadLetters) -> Iterator[Finding]:
    """What comes again, or waits for it, comes by the redrive topic; what is retried is not parked before its last attempt."""
    retry, redrive = given.retry, given.redrive
    for name in ("retry", "key_order"):
        if getattr(given, name) and not redrive:
            asked = "topic and parking_topic, which the job's source does not read"
            yield Finding(("redrive",), f"required with {name}: {asked}")
    if retry and given.key_order and Reason.KEY_BLOCKED not in retry.reasons:
        yield Finding(("retry", "reasons"), "with KEY_BLOCKED: with key_order, later records follow what is retried")
    if retry and redrive and redrive.max_attempts <= len(retry.topics):
        allowed = f"more than {len(retry.topics)}: a record is read once, and once more for each of retry.topics"
        yield Finding(("redrive", "max_attempts"), allowed)
