"""What a log says of its events, in the order of recording, and of one stream: the state as it became."""

from __future__ import annotations

from typing import NamedTuple

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from jobs.core.events.projection import Projection
from jobs.core.sources import COORDINATES

RECORDED = ["recorded_at", *COORDINATES]
AT = "_at"


class Became(NamedTuple):
    """An event of a stream, and the columns that it changed: (before, after), as text; no state is None."""

    event: Row
    changed: dict[str, tuple[str | None, str | None]]
    has_state: bool


def newest(events: DataFrame, count: int) -> list[Row]:
    """EVENT -> the last ones that were recorded, the oldest of them first."""
    last = events.orderBy(*(F.desc(name) for name in RECORDED)).limit(count).collect()
    return last[::-1]


def oldest(events: DataFrame, count: int) -> list[Row]:
    """EVENT -> the first ones, stream by stream, in order."""
    return events.orderBy("stream_id", "stream_version").limit(count).collect()


def of_stream(events: DataFrame, projection: Projection, last: int) -> list[Became]:
    """EVENT of one stream -> its last events with what each of them changed. Events before these are folded once."""
    shown = events.orderBy(F.desc("stream_version")).limit(last).collect()[::-1]
    if not shown:
        return []
    versions = [row["stream_version"] for row in shown]
    states = {int(row["stream_id"]): row for row in prefixes(events, projection, versions).collect()}
    before = _texts(states.get(versions[0] - 1))
    found = []
    for event in shown:
        state = states[event["stream_version"]]
        after = _texts(state)
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        changed = {name: (before.get(name), after.get(name)) for name in names}
        found.append(Became(event, changed, state["has_state"]))
        before = after
    return found


def prefixes(events: DataFrame, projection: Projection, versions: list[int]) -> DataFrame:
    """EVENT of one stream -> PARTIAL up to the version before these, and up to each of them, as `stream_id` says."""
    at = F.explode(F.array(*map(F.lit, [versions[0] - 1, *versions]))).alias(AT)
    after = events.filter(F.col("stream_version") >= versions[0]).select("*", at)
    base = projection.partials(events.filter(F.col("stream_version") < versions[0]), None).select("*", at)
    return projection.partials(_apart(after.filter(F.col("stream_version") <= F.col(AT))), _apart(base))


def _apart(rows: DataFrame) -> DataFrame:
    """Each prefix as a stream of its own."""
    return rows.withColumn("stream_id", F.col(AT).cast("string")).drop(AT)


def _texts(state: Row | None) -> dict[str, str | None]:
    """The state's columns; none where there is no state."""
    if state is None or not state["has_state"]:
        return {}
    own = state.asDict()
    return {name: _text(own[name]) for name in own if name not in ("stream_id", "stream_version", "has_state")}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def within(stream: str | None, kind: str | None) -> Column:
    """The condition for events of one stream, or of one type, or both."""
    found = F.lit(True)
    if stream is not None:
        found = found & (F.col("stream_id") == stream)
    return found if kind is None else found & (F.col("event_type") == kind)
