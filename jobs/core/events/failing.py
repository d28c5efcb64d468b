"""A name for the event that ended a replay: Spark tells of it in a text, and the log knows the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.core.errors import EventFailed
from jobs.core.failures import words

NAMED = re.compile(
    r"\bstream (?P<stream>.*?), version (?P<version>\d+)(?:, event (?P<event>\S+))?: (?P<cause>.*?)(?: SQLSTATE: \w+)?$",
    re.MULTILINE,
)


@contextmanager
def named(events: DataFrame) -> Iterator[None]:
    """Around an action over the events. Raises EventFailed for a failure that names one."""
    try:
        yield
    except (PySparkException, Py4JJavaError) as failure:
        found = NAMED.search(words(failure)) or NAMED.search(str(failure))
        if not found:
            raise
        raise _failed(events, found) from failure


def _failed(events: DataFrame, found: re.Match[str]) -> EventFailed:
    stream, version = found["stream"], int(found["version"])
    place = (F.col("stream_id") == stream) & (F.col("stream_version") == version)
    ids = [row.event_id for row in events.filter(place).select("event_id").head(1)]
    return EventFailed(stream, version, found["event"] or (ids[0] if ids else "of an unknown id"), found["cause"])
