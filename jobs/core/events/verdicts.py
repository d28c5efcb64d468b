"""Whether a build is what the log has: one Spark pass over both, which reads of the log only who, and how many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


@dataclass(frozen=True)
class Counts:
    """Of the log: events; streams, those with a version twice, those with a version without an event. Of the build: rows.
    Of both: heads that differ.
    """

    events: int
    streams: int
    doubled: int
    holed: int
    rows: int
    heads: int
    first: str | None  # a stream whose head differs, and both heads


def counts(partials: DataFrame, events: DataFrame, base: DataFrame | None = None) -> Counts:
    """PARTIAL x EVENT -> Counts; `base` is the PARTIAL that was gone on from."""
    log = events.select("stream_id", "stream_version", F.lit(1).alias("_is_event"))
    if base is not None:
        log = log.unionByName(base.select("stream_id", "stream_version", F.lit(0).alias("_is_event")))
    covered = F.coalesce(F.max(F.when(F.col("_is_event") == 0, F.col("stream_version"))), F.lit(0)).alias("_covered")
    heads = log.groupBy("stream_id").agg(
        F.max("stream_version").alias("_head"), F.sum("_is_event").alias("_events"), covered
    )
    built = partials.groupBy("stream_id").agg(F.max("stream_version").alias("_built"), F.count(F.lit(1)).alias("_rows"))
    return Counts(*heads.join(built, "stream_id", "full").agg(*_counted()).collect()[0])


def _counted() -> Iterator[Column]:
    differs = ~F.col("_head").eqNullSafe(F.col("_built"))
    shown = (F.coalesce(F.col(name).cast("string"), F.lit("none")) for name in ("_head", "_built"))
    yield F.coalesce(F.sum("_events"), F.lit(0))
    yield F.count("_head")
    yield F.count_if(F.col("_events") > F.col("_head") - F.col("_covered"))
    yield F.count_if(F.col("_events") < F.col("_head") - F.col("_covered"))
    yield F.coalesce(F.sum("_rows"), F.lit(0))
    yield F.count_if(differs)
    yield F.min(F.when(differs, F.format_string("stream %s: %s in the log, %s built", "stream_id", *shown)))


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
