"""EVENT -> OUTGOING: the events of a log as records of a topic, and when they are due, by Spark's own expressions.

OUTGOING  stream_id STRING, stream_version BIGINT, event_id STRING, due_us BIGINT, value STRING

due_us  microseconds since 1970: when the event occurred, or was recorded where that was before, but not before an earlier
        event of its stream was due. A clock that ran backwards so turns no stream's order round, and an event that is dated
        2099 is not waited for until then
value   as `core.events.rendering` has it, in the short shape or as an envelope; `data` as the text that it is in the log
"""

from __future__ import annotations

from typing import Literal

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from jobs.core.sinks.messages import AS_JSON

Shape = Literal["envelope", "short"]
OUTGOING = "stream_id STRING, stream_version BIGINT, event_id STRING, due_us BIGINT, value STRING"
DUE = "due_us"
IN_ORDER = [DUE, "stream_id", "stream_version"]  # of all; a stream's events are in the order of its versions, too
SECOND_US = 1_000_000
KNOWN = {**AS_JSON, "ignoreNullFields": "true"}


def timed(events: DataFrame) -> DataFrame:
    """EVENT -> EVENT, due_us."""
    so_far = Window.partitionBy("stream_id").orderBy("stream_version").rowsBetween(Window.unboundedPreceding, 0)
    own = F.unix_micros(F.least("occurred_at", "recorded_at"))
    return events.withColumn(DUE, F.max(own).over(so_far))


def rendered(events: DataFrame, shape: Shape) -> DataFrame:
    """EVENT, due_us -> OUTGOING."""
    value = _envelope() if shape == "envelope" else _short()
    return events.select("stream_id", "stream_version", "event_id", DUE, value.alias("value"))


def _envelope() -> Column:
    metadata = F.map_filter("metadata", lambda _, text: text.isNotNull())
    known = F.when(F.size(metadata) > 0, metadata).alias("metadata")
    return _around_data(
        F.struct("stream_id", "event_type", "schema_version"),
        F.struct("occurred_at", "event_id", "stream_version", known),
    )


def _short() -> Column:
    seconds = (F.unix_micros("occurred_at").cast("decimal(20, 0)") / F.lit(SECOND_US)).cast("decimal(20, 6)")
    return _around_data(F.struct("event_type"), F.struct(seconds.alias("timestamp")))


def _around_data(before: Column, after: Column) -> Column:
    """One object with the fields of both, and `data` between them."""
    head, tail = F.to_json(before, KNOWN), F.to_json(after, KNOWN)
    opened, closed = F.substr(head, F.lit(1), F.length(head) - 1), F.substr(tail, F.lit(2))
    return F.concat(opened, F.lit(',"data":'), "data", F.lit(","), closed)
