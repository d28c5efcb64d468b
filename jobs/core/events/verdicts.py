"""Whether a build is what the log has: one Spark pass over both, which reads of the log only who, and how many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


@dataclass(frozen=True)
class Counts:
    """Of the log: events, streams, streams with a version twice. Of the build: rows. Of both: heads that differ."""

    events: int
    streams: int
    doubled: int
    rows: int
    heads: int
    first: str | None  # a stream whose head differs, and both heads


def counts(partials: DataFrame, events: DataFrame) -> Counts:
    """PARTIAL x EVENT -> Counts."""
    log = events.groupBy("stream_id").agg(F.max("stream_version").alias("_head"), F.count(F.lit(1)).alias("_events"))
    built = partials.groupBy("stream_id").agg(F.max("stream_version").alias("_built"), F.count(F.lit(1)).alias("_rows"))
    differs = ~F.col("_head").eqNullSafe(F.col("_built"))
    shown = (F.coalesce(F.col(name).cast("string"), F.lit("none")) for name in ("_head", "_built"))
    first = F.format_string("stream %s: %s in the log, %s built", "stream_id", *shown)
    found = log.join(built, "stream_id", "full").agg(
        F.coalesce(F.sum("_events"), F.lit(0)),
        F.count("_head"),
        F.count_if(F.col("_events") > F.col("_head")),
        F.coalesce(F.sum("_rows"), F.lit(0)),
        F.count_if(differs),
        F.min(F.when(differs, first)),
    )
    return Counts(*found.collect()[0])


def wrong(counts: Counts, folded: int) -> str | None:
    """What does not hold, with both numbers."""
    return "; ".join(_wrong(counts, folded)) or None


def _wrong(counts: Counts, folded: int) -> Iterator[str]:
    if counts.rows != counts.streams:
        yield f"{counts.rows:,} rows are built, {counts.streams:,} streams have events"
    if folded != counts.events:
        yield f"{folded:,} events are folded, {counts.events:,} are within the bounds"
    if counts.heads:
        yield f"{counts.heads:,} of {counts.streams:,} streams end at another version than the log: {counts.first}"
    if counts.doubled:
        yield f"{counts.doubled:,} of {counts.streams:,} streams have more events than versions: some are there twice"
