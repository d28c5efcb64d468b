"""Events as records, made by Spark: held to what the client of the log writes, through the reader of both."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from _outgoing import AT, AT_US, event
from chispa import assert_df_equality
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from jobs.core.events import reading, rendering
from jobs.core.events.envelope import EVENT, Envelope
from jobs.core.events.outgoing import OUTGOING, SECOND_US, rendered, timed

DECODER = reading.decoder(reading.settings("user_id"))
Rows = Callable[..., DataFrame]


def due(timed: DataFrame) -> DataFrame:
    return timed.selectExpr("stream_id", "stream_version", f"(due_us - {AT_US}) / {SECOND_US} AS due_s")


def values(outgoing: DataFrame) -> list[str]:
    return [row["value"] for row in outgoing.collect()]


def test_an_event_is_due_when_it_occurred_but_not_before_those_before_it(rows: Rows) -> None:
    given = rows(
        EVENT,
        event("back", 3, 30.5),
        event("back", 1, 20),
        event("back", 2, -5),
        event("far", 1, 10),
        event("far", 2, 3e9, recorded_s=11),
        event("far", 3, 12),
        event("behind", 1, 50, recorded_s=40),
    )
    wanted = [
        ("back", 1, 20.0),
        ("back", 2, 20.0),
        ("back", 3, 30.5),
        ("far", 1, 10.0),
        ("far", 2, 11.0),
        ("far", 3, 12.0),
        ("behind", 1, 40.0),
    ]
    expected = rows("stream_id STRING, stream_version BIGINT, due_s DOUBLE", *wanted)
    assert_df_equality(due(timed(given)), expected, ignore_row_order=True, ignore_nullable=True)


def test_an_envelope_has_all_that_the_log_knows(rows: Rows) -> None:
    known = {"data": '{ "user_id": 1.50,\n"x": "\\u00e4" }', "metadata": {"correlation_id": 'c"1'}, "schema_version": 2}
    found = rendered(timed(rows(EVENT, event("ü\\1", 7, 0.000001, **known), event("u2", 1))), "envelope")
    whole = (
        '{"stream_id":"ü\\\\1","event_type":"e","schema_version":2,"data":{ "user_id": 1.50,\n"x": "\\u00e4" },'
        '"occurred_at":"2026-01-05T10:00:00.000001Z","event_id":"ü\\\\1-7","stream_version":7,'
        '"metadata":{"correlation_id":"c\\"1"}}'
    )
    few = (
        '{"stream_id":"u2","event_type":"e","schema_version":1,"data":{},'
        '"occurred_at":"2026-01-05T10:00:00.000000Z","event_id":"u2-1","stream_version":1}'
    )
    expected = rows(OUTGOING, ("ü\\1", 7, "ü\\1-7", AT_US + 1, whole), ("u2", 1, "u2-1", AT_US, few))
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)


def test_the_short_shape_has_type_data_and_time(rows: Rows) -> None:
    found = rendered(timed(rows(EVENT, event("u1", 1, 0.25, event_type='"', data='{"user_id":"u1"}'))), "short")
    short = '{"event_type":"\\"","data":{"user_id":"u1"},"timestamp":1767607200.250000}'
    assert_df_equality(found, rows(OUTGOING, ("u1", 1, "u1-1", AT_US + 250_000, short)), ignore_nullable=True)


@pytest.mark.parametrize("metadata", [{}, {"causation_id": None}])
def test_metadata_without_a_value_are_none(rows: Rows, metadata: dict[str, str | None]) -> None:
    (value,) = values(rendered(timed(rows(EVENT, event("u1", 1, metadata=metadata))), "envelope"))
    assert "metadata" not in json.loads(value)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
LINE = TEXT.filter(bool)
SCALAR = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
JSON = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LINE, inner, max_size=3), max_leaves=5
)
MOMENT = st.datetimes(datetime(1970, 1, 1), datetime(2200, 12, 31), timezones=st.just(timezone.utc))
ENVELOPE = st.builds(
    Envelope,
    stream_id=LINE,
    event_type=LINE,
    data=st.dictionaries(LINE, JSON, max_size=4),
    occurred_at=MOMENT,
    event_id=LINE,
    schema_version=st.integers(1, 2**31 - 1),
    metadata=st.dictionaries(LINE, TEXT, max_size=3),
    stream_version=st.integers(1, 2**63 - 1),
)
PRINTED = st.sampled_from([None, 1])
FEW = settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))


def as_row(known: Envelope, indent: int | None, at: int) -> tuple[Any, ...]:
    """EVENT; where it was read says which one it is."""
    data = json.dumps(known.data, ensure_ascii=indent is None, indent=indent)
    head = known.stream_id, known.stream_version, known.event_id, known.event_type, known.schema_version, data
    return *head, dict(known.metadata), known.occurred_at, AT, "t", 0, at


@FEW
@given(st.lists(st.tuples(ENVELOPE, PRINTED), min_size=30, max_size=60))
def test_what_spark_renders_is_read_as_what_the_client_renders(
    spark: SparkSession, given: list[tuple[Envelope, int | None]]
) -> None:
    log = spark.createDataFrame([as_row(*one, at) for at, one in enumerate(given)], EVENT).coalesce(1)
    events = log.withColumn("due_us", log["_offset"])
    for shape, client in (("envelope", rendering.envelope), ("short", rendering.short)):
        own = [value.encode() for value in values(rendered(events, shape).orderBy("due_us"))]  # type: ignore[arg-type]
        found, wanted = (reading.read(all_, DECODER) for all_ in (own, [client(one) for one, _ in given]))
        assert found == wanted
