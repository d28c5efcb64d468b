from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.core.decode import decode
from jobs.core.decode_plan import Rejection
from jobs.core.events import reading
from jobs.core.events.envelope import Envelope
from jobs.core.events.reading import EventDecoder
from jobs.core.events.rendering import envelope, short
from jobs.core.reasons import Reason

AT = datetime(2026, 1, 5, 10, 0, 0, 123_456, tzinfo=timezone.utc)
SETTINGS = reading.settings("user_id")
DECODER = reading.decoder(SETTINGS)
SLOW = EventDecoder(DECODER.wire.__class__(DECODER.wire.plan, None, DECODER.wire.examine), "user_id")
CREATED = Envelope("u1", "user_created", {"user_id": "u1", "name": "Zoë", "age": None}, AT)
WHOLE = Envelope("s1", "user_created", {"tags": [{"x": 1.5}]}, AT, "e1", 2, {"correlation_id": "c1"}, 3, 0)


def wire(**changed: Any) -> bytes:
    """The short shape of an event, changed; None takes a field out."""
    whole = {"event_type": "e", "data": {"user_id": "u1"}, "timestamp": 1767607200.5, **changed}
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()


def one(value: bytes) -> Envelope | Rejection:
    """What both ways of reading make of a record."""
    (fast,), (slow,) = reading.read([value], DECODER), reading.read([value], SLOW)
    assert fast == slow
    return fast


def test_what_is_rendered_is_read() -> None:
    assert one(short(CREATED)) == CREATED
    assert one(envelope(CREATED)) == CREATED
    assert one(envelope(WHOLE)) == WHOLE


def test_many_are_read_in_their_places() -> None:
    values = [short(CREATED), None, b"{", envelope(WHOLE), wire(timestamp=None), *[short(CREATED)] * 3000]
    found = reading.read(values, DECODER)
    assert [found[row] for row in (0, 3, 5, -1)] == [CREATED, WHOLE, CREATED, CREATED]
    assert [one.reason.value for one in found if isinstance(one, Rejection)] == [
        "TOMBSTONE",
        "MALFORMED",
        "MISSING_REQUIRED",
    ]
    assert reading.read([], DECODER) == []


def test_data_is_kept_as_the_text_that_it_was() -> None:
    text = '{ "user_id" : "u1", "n": 1.50, "big": 123456789012345678901234567890, "e": "\\u00e4" }'
    value = f'{{"data": {text}, "event_type": "e", "timestamp": 1, "x": "NUL\\\\u0000"}}'.encode()
    for decoder in (DECODER, SLOW):
        found = decoder(pa.array([value]))
        assert found.columns[6].take(pa.array(found.places or [0])).to_pylist() == [text]


@pytest.mark.parametrize(
    ("changed", "stream"),
    [
        ({"data": {"user_id": 7}}, "7"),
        ({"data": {"user_id": -(2**63)}}, str(-(2**63))),
        ({"data": {"user_id": "ü"}}, "ü"),
        ({"stream_id": "s1", "data": {}}, "s1"),
        ({"stream_id": "s1"}, "s1"),
        ({"stream_id": "s1", "data": {"user_id": 1.5}}, "s1"),
    ],
)
def test_a_stream_is_named_by_the_event_or_by_a_field_of_its_data(changed: dict[str, Any], stream: str) -> None:
    found = one(wire(**changed))
    assert isinstance(found, Envelope)
    assert found.stream_id == stream


@pytest.mark.parametrize(
    ("written", "micros"), [("1767607200.123456", 123_456), ("1767607200.1234567", 123_457), ("1767607200", 0)]
)
def test_a_timestamp_is_epoch_seconds_with_a_fraction(written: str, micros: int) -> None:
    found = one(wire().replace(b"1767607200.5", written.encode()))
    assert isinstance(found, Envelope)
    assert found.occurred_at == AT.replace(microsecond=micros)


def test_the_envelope_s_time_goes_before_the_short_one() -> None:
    found = one(wire(occurred_at="2026-01-05T10:00:00.123456Z"))
    assert isinstance(found, Envelope)
    assert found.occurred_at == AT


NO_STREAM = "$.stream_id, $.data.user_id: no text, no integer"


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (wire(event_type=None), "MISSING_REQUIRED", "$.event_type: missing"),
        (wire(event_type=""), "MISSING_REQUIRED", "$.event_type: empty"),
        (wire(event_type=5), "WRONG_TYPE", "$.event_type: expected string, found number"),
        (wire(data=None), "MISSING_REQUIRED", "$.data: missing"),
        (wire().replace(b'{"user_id": "u1"}', b"null"), "MISSING_REQUIRED", "$.data: null"),
        (wire(data=[]), "WRONG_TYPE", "$.data: expected object, found array"),
        (wire(data="x"), "WRONG_TYPE", "$.data: expected object, found string"),
        (wire(data={}), "MISSING_REQUIRED", NO_STREAM),
        (wire(data={"user_id": None}), "MISSING_REQUIRED", NO_STREAM),
        (wire(data={"user_id": ""}), "MISSING_REQUIRED", NO_STREAM),
        (wire(data={"user_id": 1.0}), "MISSING_REQUIRED", NO_STREAM),
        (wire(data={"user_id": True}), "MISSING_REQUIRED", NO_STREAM),
        (wire(data={"user_id": 2**63}), "MISSING_REQUIRED", NO_STREAM),
        (wire(data={"user_id": 10**30}), "MISSING_REQUIRED", NO_STREAM),
        (wire(data={"User_id": "u1"}), "MISSING_REQUIRED", NO_STREAM),
        (wire(timestamp=None), "MISSING_REQUIRED", "$.occurred_at, $.timestamp: missing"),
        (wire(timestamp="1767607200"), "WRONG_TYPE", "$.timestamp: expected timestamp (epoch_s), found string"),
        (wire(timestamp=1767607200000), "OUT_OF_RANGE", "$.timestamp: expected timestamp (epoch_s) within its bounds"),
        (
            wire(occurred_at="2026-02-30T00:00:00Z"),
            "WRONG_TYPE",
            "$.occurred_at: expected timestamp (rfc3339), found string",
        ),
        (wire(schema_version=0), "OUT_OF_RANGE", "$.schema_version: less than 1"),
        (wire(stream_version=0), "OUT_OF_RANGE", "$.stream_version: less than 1"),
        (wire(expected_version=-1), "OUT_OF_RANGE", "$.expected_version: less than 0"),
        (wire(metadata={"x": 1}), "WRONG_TYPE", "$.metadata[*]: expected string, found number"),
        (wire().replace(b'"u1"', b'"u1", "user_id": "u2"'), "DUPLICATE_KEY", "a key comes twice in one object"),
        (wire().replace(b'"u1"', b'"u1", "x": {"y": 1, "y": 2}'), "DUPLICATE_KEY", "a key comes twice in one object"),
        (wire().replace(b'"u1"', b'"u1", "x": NaN'), "OUT_OF_RANGE", "NaN or an infinity"),
        (wire(data={"user_id": "u1", "x": "\x00"}), "INVALID_TEXT", "a lone surrogate or U+0000"),
        (wire(data={"user_id": "u1", "x": "\ud800"}), "INVALID_TEXT", "a lone surrogate or U+0000"),
        (b"\xff" + wire(), "INVALID_TEXT", "invalid UTF-8 at byte 0"),
        (b"", "MISSING_REQUIRED", "empty"),
        (b"{}", "MISSING_REQUIRED", "$: no fields"),
        (b"[]", "NOT_OBJECT", "expected object, found array"),
        (wire() + wire(), "TRAILING_DATA", "something follows the first value"),
        (wire()[:-1], "MALFORMED", "no JSON from character 72 on"),
        (wire(x={"y": 10**400}, data={}), "MISSING_REQUIRED", NO_STREAM),
    ],
)
def test_a_bad_record_has_a_reason(value: bytes, reason: str, detail: str) -> None:
    found = one(value)
    assert isinstance(found, Rejection)
    assert (found.reason.value, found.detail) == (reason, detail)


@pytest.mark.parametrize("levels", [62, 63])
def test_depth_counts_from_the_record_on(levels: int) -> None:
    data: Any = 1
    for _ in range(levels - 1):
        data = [data]
    found = one(wire(data={"user_id": "u1", "x": data}))
    assert isinstance(found, Envelope) is (levels <= 63)
    deeper = one(wire(data={"user_id": "u1", "x": [[data]]}))
    assert isinstance(deeper, Rejection)
    assert deeper.reason is Reason.TOO_DEEP


TEXT = st.text('aé"\\\n\x00', max_size=4)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.dictionaries(
    st.sampled_from(["event_type", "data", "timestamp", "occurred_at", "stream_id", "schema_version", "metadata", "x"]),
    ANY | st.sampled_from(["e", "u1", 1, 1767607200.25, "2026-01-05T10:00:00Z", {"user_id": "u1"}, {"user_id": 5}]),
)


@given(FIELDS, st.booleans())
def test_both_ways_of_reading_agree(fields: dict[str, Any], whole: bool) -> None:
    one(wire(**fields) if whole else json.dumps(fields).encode())


def test_in_an_executor_it_is_a_decoder_like_any_other(spark: SparkSession) -> None:
    values = [short(CREATED), None, envelope(WHOLE)]
    columns = ("key", "topic", "partition", "offset", "timestamp")
    places = dict(zip(columns, (b"k", "events", 0, 0, AT)))
    frame = spark.createDataFrame([(value,) for value in values], "value BINARY")
    given = frame.select("*", *(F.lit(place).alias(name) for name, place in places.items()))
    typed = given.withColumn("headers", F.lit(None).cast("array<struct<key: string, value: binary>>"))
    found = decode(typed.withColumn("offset", F.col("offset").cast("bigint")), SETTINGS, AT)
    row = found.filter("stream_id = 's1'").collect()[0]
    assert (row["data"], row["metadata"], row["expected_version"]) == (
        '{"tags":[{"x":1.5}]}',
        {"correlation_id": "c1"},
        0,
    )
    assert sorted(row["_reason"] or "" for row in found.select("_reason").collect()) == ["", "", "TOMBSTONE"]
