from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.core.decode import decode, decoded_schema
from jobs.core.events import reading
from jobs.core.events.envelope import event_id_at
from jobs.core.events.head_files import Known
from jobs.core.events.numbering import numbered

NOW = datetime(2026, 1, 5, 12, 0, 0, 5, tzinfo=timezone.utc)
NOTHING = Known("/nowhere", 2, {})
Rows = Callable[..., DataFrame]
RECORDS = """
    key BINARY, value BINARY, headers ARRAY<STRUCT<key: STRING, value: BINARY>>,
    topic STRING, partition INT, offset BIGINT, timestamp TIMESTAMP
"""
OUT = (
    "stream_id STRING, stream_version BIGINT, event_id STRING, metadata STRING, recorded_at TIMESTAMP, _offset BIGINT,"
    " _reason STRING, _detail STRING, _value STRING, _headers STRING"
)


def record(offset: int, event_id: str, more: str = "") -> tuple[Any, ...]:
    whole = f'{{"event_type": "e", "stream_id": "a", "event_id": "{event_id}", "data": {{}}, "timestamp": 1{more}}}'
    return b"k", whole.encode(), [("h", b"\xff")], "t", 0, offset, NOW


def test_events_leave_with_all_that_a_log_and_a_dead_letter_need(rows: Rows) -> None:
    given = rows(
        RECORDS,
        record(0, "1", ', "metadata": {"correlation_id": "c"}'),
        record(1, ""),
        record(2, "1"),
        record(3, "2", ', "expected_version": 7'),
    )
    decoded = decode(given, reading.settings("user_id"), NOW, keep_raw=True)
    found = numbered(decoded, NOTHING, NOW, "reject")
    shown = found.selectExpr(
        "stream_id", "stream_version", "event_id", "to_json(metadata) AS metadata", "recorded_at", "_offset", "_reason",
        "_detail", "substr(string(_value), 1, 16) AS _value", "to_json(_headers) AS _headers",
    )  # fmt: skip
    raw = '{"event_type": "', '[{"key":"h","value":"/w=="}]'
    expected = rows(
        OUT,
        ("a", 1, "1", '{"correlation_id":"c"}', NOW, 0, None, None, *raw),
        ("a", 2, event_id_at("t", 0, 1), None, NOW, 1, None, None, *raw),
        ("a", None, "2", None, NOW, 3, "VERSION_CONFLICT", "$.expected_version: 7, and the stream is at 2", *raw),
    )
    assert_df_equality(shown, expected, ignore_row_order=True, ignore_nullable=True)


def test_no_events_are_no_rows(spark: SparkSession) -> None:
    none = spark.createDataFrame([], decoded_schema(reading.settings("user_id")))
    assert numbered(none, NOTHING, NOW, "reject").count() == 0
