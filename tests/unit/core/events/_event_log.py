"""Events into a log."""

from __future__ import annotations

from datetime import datetime, timezone

from pyspark.sql import SparkSession

from jobs.core.events.envelope import EVENT
from jobs.core.events.eventlog import EventLog

AT = datetime(2026, 1, 5, 10, tzinfo=timezone.utc)


def append(spark: SparkSession, log: EventLog, *events: tuple[str, int, str]) -> None:
    """Stream, version and id; the rest is alike."""
    rows = [
        (stream, version, event_id, "e", 1, "{}", {}, AT, AT, "t", 0, number)
        for number, (stream, version, event_id) in enumerate(events)
    ]
    spark.createDataFrame(rows, EVENT).write.format("delta").mode("append").save(log.path)
