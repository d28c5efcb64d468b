from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from _decoding import events, reasons, settings, struct, ways
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import types as T

from jobs.core.decode import DecodeSettings, format_decoder
from jobs.core.decode_text import NotCsv, split

FLAT = struct(
    s=T.StringType(),
    i=T.IntegerType(),
    d=T.DecimalType(10, 2),
    g=T.DoubleType(),
    b=T.BooleanType(),
    x=T.BinaryType(),
    dt=T.DateType(),
    t=T.TimestampType(),
    e=T.TimestampType(),
    m=T.TimestampType(),
)
TIMES = {"e": "epoch_s", "m": "epoch_ms"}
CSV = settings(FLAT, "csv", timestamps=TIMES)
ROW = [
    "o1",
    "-7",
    "9.5",
    "1e3",
    "true",
    "AA==",
    "2026-11-24",
    "2026-11-24T10:00:00+00:00",
    "1795514400.5",
    "1795514400500",
]
AT = datetime(2026, 11, 24, 10, tzinfo=timezone.utc)
HALF = AT.replace(microsecond=500_000)
EVENT = dict(zip(FLAT.names, ["o1", -7, Decimal("9.50"), 1000.0, True, b"\x00", date(2026, 11, 24), AT, HALF, HALF]))


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_columns_go_by_position_quoted_or_not(quote: str, end: str) -> None:
    value = ",".join(f"{quote}{text}{quote}" for text in ROW) + end
    assert events(CSV, value.encode()) == [EVENT]


def test_quotes_hold_commas_quotes_and_line_ends() -> None:
    given_settings = settings(struct(a=T.StringType(), b=T.StringType()), "csv")
    assert events(given_settings, b'"a,""b""\r\nc",d', b" , ", b"x,") == [
        {"a": 'a,"b"\r\nc', "b": "d"},
        {"a": " ", "b": " "},
        {"a": "x", "b": None},
    ]


def test_fields_that_are_not_there_are_missing() -> None:
    schema, values = struct(a=T.StringType(), b=T.StringType()), [b"x", b"x,", b",x"]
    missing = "MISSING_REQUIRED"
    assert events(settings(schema, "csv"), *values) == [
        {"a": "x", "b": None},
        {"a": "x", "b": None},
        {"a": None, "b": "x"},
    ]
    assert reasons(settings(schema, "csv", required=("b",)), *values) == [missing, missing, None]
    assert reasons(settings(schema, "csv", nullable="explicit"), *values) == [missing, None, None]


@pytest.mark.parametrize(("text", "fields"), [("a", ["a"]), ("", [""]), (",", ["", ""]), ('"a""",b', ['a"', "b"])])
def test_a_line_is_split(text: str, fields: list[str]) -> None:
    assert split(text) == (fields, False)


@pytest.mark.parametrize("text", ['"a', 'a"b', '"a"b', "a\rb", '"a" ,b', "\ufeffa"])
def test_a_line_that_is_no_csv_is_refused(text: str) -> None:
    with pytest.raises(NotCsv, match="no CSV from character"):
        split(text)


def test_a_long_field_and_long_quotes_are_read_in_one_pass() -> None:
    given_settings = settings(struct(a=T.StringType()), "csv", max_record_bytes=1 << 24)
    long = "x" * 1_000_000
    assert events(given_settings, f'"{long}"'.encode()) == [{"a": long}]
    assert reasons(given_settings, b'"' * 999_999, ('"' + '""' * 400_000 + "x").encode()) == ["MALFORMED"] * 2


TEXTS = [
    *("", "x", "7", "-7", "07", "7.0", "1e3", "1.239", "NaN", "1" + "0" * 400, "true", "True", "AA==", "AA="),
    *("2026-11-24", "2026-02-30", "2026-11-24T10:00:00Z", "2026-11-24T10:00Z", "1795514400.5", "1795514400500"),
    *('"7"', '"', "\n", "\r", "\x00"),
]
LINES = st.lists(st.sampled_from([*ROW, *TEXTS]), min_size=8, max_size=11) | st.just(ROW)


@given(
    st.lists(st.tuples(LINES, st.sampled_from(["", "\n", "\r\n", "\r", ","])), max_size=8),
    st.lists(st.binary(max_size=20)),
)
def test_whatever_the_bytes_are_whole_columns_change_nothing(
    lines: list[tuple[list[str], str]], noise: list[bytes]
) -> None:
    values = [(",".join(row) + end).encode() for row, end in lines] + noise
    for given_settings in (CSV, settings(FLAT, "csv", timestamps=TIMES, required=("s", "e"), nullable="explicit")):
        columns, single = ways(given_settings, *values)
        assert columns == single


def raw(kind: T.DataType, **changed: Any) -> DecodeSettings:
    return settings(struct(value=kind), "raw", **changed)


def test_a_raw_value_is_the_column() -> None:
    assert events(raw(T.StringType()), "é".encode(), b"", b"\xff") == [
        {"value": "é"},
        {"value": ""},
        ("INVALID_TEXT", "invalid UTF-8 at byte 0"),
    ]
    assert events(raw(T.BinaryType()), b"\xff\x00", b"") == [{"value": b"\xff\x00"}, {"value": b""}]


def test_a_required_raw_value_is_not_blank() -> None:
    for kind in (T.StringType(), T.BinaryType()):
        assert reasons(raw(kind, required=("value",)), b"x", b"", b" \r\n") == [None, *["MISSING_REQUIRED"] * 2]


@given(st.lists(st.binary(max_size=10)))
def test_whatever_the_bytes_are_a_raw_column_changes_nothing(values: list[bytes]) -> None:
    for given_settings in (raw(T.StringType()), raw(T.StringType(), required=("value",)), raw(T.BinaryType())):
        column, single = ways(given_settings, *values)
        assert column == single


def test_schemas_that_a_format_cannot_have_are_refused() -> None:
    with pytest.raises(ValueError, match="column a: CSV has flat columns only"):
        format_decoder(settings(struct(a=T.ArrayType(T.StringType())), "csv"))
    for schema in (struct(a=T.IntegerType()), struct(a=T.StringType(), b=T.StringType())):
        with pytest.raises(ValueError, match="one column, STRING or BINARY"):
            format_decoder(settings(schema, "raw"))
