"""Where a rewound checkpoint starts: a time, or offsets written out, as offsets that the broker has."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

from jobs.core.config import JobConfig
from jobs.core.errors import ConfigError, Problem

if TYPE_CHECKING:  # it comes with Spark, which takes a while
    from pyspark.sql import SparkSession

    from jobs.core.kafka import Positions, Spans


def asked(timestamp: str | None, offsets: str | None) -> datetime | Positions:
    """One of the two, parsed. Raises ConfigError."""
    if (timestamp is None) == (offsets is None):
        raise _wrong("", "", "one of --to-timestamp and --to-offsets")
    return moment("--to-timestamp", timestamp) if timestamp is not None else _positions(str(offsets))


def found(spark: SparkSession, config: JobConfig, wanted: datetime | Positions) -> Positions:
    """An offset a partition of the source's topics. Raises ConfigError, DependencyMissing."""
    from jobs.core import kafka, sources

    broker = config.kafka
    if not config.source.kafka or not broker:
        raise _wrong("JOB", config.job, "a job with a kafka source: others know offsets by their own checkpoint alone")
    topics = sources.subscribed(spark, config)
    if isinstance(wanted, datetime):
        return kafka.at_times(spark, broker, dict.fromkeys(topics, int(wanted.timestamp() * 1000)))
    check(wanted, kafka.spans(spark, broker, topics))
    return wanted


def check(wanted: Positions, spans: Spans) -> None:
    """Raises ConfigError unless each partition has an offset that it can be read from."""
    known = {(topic, str(p)): span for topic, partitions in spans.items() for p, span in partitions.items()}
    given = {(topic, p): offset for topic, partitions in wanted.items() for p, offset in partitions.items()}
    for topic, partition in sorted(known.keys() | given.keys()):
        first, after = known.get((topic, partition), (None, None))
        offset = given.get((topic, partition))
        if first is None or after is None:
            raise _wrong("--to-offsets", f"{topic} {partition}", "a partition of the job's topics")
        if offset is None or not first <= offset <= after:
            raise _wrong("--to-offsets", f"{topic} {partition}: {offset}", f"an offset from {first} to {after}")


def moment(option: str, text: str) -> datetime:
    """A time with its zone. Raises ConfigError."""
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise _wrong(option, text, "a time with a zone, as in 2026-01-31T12:00:00Z")
    return found


def _positions(text: str) -> Positions:
    try:
        return {str(topic): {str(p): int(at) for p, at in ps.items()} for topic, ps in json.loads(text).items()}
    except (AttributeError, TypeError, ValueError):
        raise _wrong("--to-offsets", text, 'an offset a partition, as in {"topic": {"0": 5}}') from None


def _wrong(path: str, value: str, allowed: str) -> ConfigError:
    return ConfigError(Problem(path, value, allowed, "command line"))
