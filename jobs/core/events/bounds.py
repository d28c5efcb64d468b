"""Which events of a log a replay takes: up to a time, a version or an offset, of some streams or types, without some events.

All bounds hold together, and each includes what it names. `until_offsets` bounds the partitions that it names, and no
other; an event without coordinates is within it. Types are those that the log has, before any upcasting.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from functools import reduce
from typing import Any, NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.core.events.skips import Skip, skipped


class Position(NamedTuple):
    """The last record of a partition that counts."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True)
class Bounds:
    until_time: datetime | None = None  # of recording, with its zone
    until_event_time: datetime | None = None
    until_version: int | None = None
    until_offsets: tuple[Position, ...] = ()
    streams: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    skips: tuple[Skip, ...] = ()

    def told(self) -> dict[str, Any]:
        """Those that are set, as JSON has them; equal for equal bounds."""
        return {field.name: _told(value) for field in fields(self) if (value := getattr(self, field.name))}


def selected(events: DataFrame, bounds: Bounds) -> DataFrame:
    """EVENT -> those within the bounds."""
    return reduce(DataFrame.filter, _conditions(bounds), events)


def _conditions(bounds: Bounds) -> Iterable[Column]:
    if bounds.streams:
        yield F.col("stream_id").isin(*bounds.streams)
    if bounds.types:
        yield F.col("event_type").isin(*bounds.types)
    if bounds.until_version is not None:
        yield F.col("stream_version") <= bounds.until_version
    if bounds.until_time is not None:
        yield F.col("recorded_at") <= F.lit(bounds.until_time)
    if bounds.until_event_time is not None:
        yield F.col("occurred_at") <= F.lit(bounds.until_event_time)
    for topic, partition, offset in bounds.until_offsets:
        past = (F.col("_topic") == topic) & (F.col("_partition") == partition) & (F.col("_offset") > offset)
        yield ~F.coalesce(past, F.lit(False))
    if bounds.skips:
        yield ~skipped(bounds.skips)


def _told(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Skip):
        return value.model_dump(exclude_none=True)
    return sorted((_told(one) for one in value), key=str) if isinstance(value, tuple) else value
