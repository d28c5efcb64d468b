from __future__ import annotations

import struct as packed
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from _decoding import events, reasons, settings, struct
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import types as T

from jobs.core.decode_avro import fixed_size, unscaled_decimal

FLAT = struct(
    s=T.StringType(),
    i=T.IntegerType(),
    l=T.LongType(),
    d=T.DecimalType(10, 2),
    g=T.DoubleType(),
    f=T.FloatType(),
    b=T.BooleanType(),
    x=T.BinaryType(),
    dt=T.DateType(),
    t=T.TimestampType(),
)


def number(value: int) -> bytes:
    """An int or a long."""
    zigzag, found = (value << 1) ^ (value >> 63), b""
    while zigzag > 0x7F:
        found, zigzag = found + bytes([zigzag & 0x7F | 0x80]), zigzag >> 7
    return found + bytes([zigzag])


def sized(data: bytes) -> bytes:
    return number(len(data)) + data


NULL, SOME, END = b"\x02", b"\x00", b"\x00"
PARTS = {
    "s": sized("é".encode()),
    "i": number(-7),
    "l": number(2**63 - 1),
    "d": (950).to_bytes(5, "big"),
    "g": packed.pack("<d", 1.5),
    "f": packed.pack("<f", -0.25),
    "b": b"\x01",
    "x": sized(b"\x00\xff"),
    "dt": number(20781),
    "t": number(1795514400_123456),
}
EVENT = {
    **{"s": "é", "i": -7, "l": 2**63 - 1, "d": Decimal("9.50"), "g": 1.5, "f": -0.25, "b": True, "x": b"\x00\xff"},
    **{"dt": date(2026, 11, 24), "t": datetime(2026, 11, 24, 10, 0, 0, 123456, tzinfo=timezone.utc)},
}


def record(**changed: bytes) -> bytes:
    return b"".join(SOME + part for part in {**PARTS, **changed}.values())


def avro(schema: T.StructType = FLAT, **changed: Any) -> Any:
    return settings(schema, "avro", **changed)


def test_a_datum_is_read_and_nulls_are_nulls() -> None:
    assert events(avro(), record(), NULL * 10, record()) == [EVENT, dict.fromkeys(EVENT), EVENT]


@pytest.mark.parametrize(
    ("reason", "value"),
    [
        ("MISSING_REQUIRED", b""),
        ("MISSING_REQUIRED", NULL + record()[4:]),
        ("MALFORMED", record()[:-1]),
        ("MALFORMED", record()[:1]),
        ("MALFORMED", b"\x04" + record()[1:]),
        ("MALFORMED", b"\x01" + record()[1:]),
        ("MALFORMED", record(s=number(-1))),
        ("MALFORMED", record(s=number(2**62))),
        ("MALFORMED", record(b=b"\x02")),
        ("MALFORMED", record(i=number(2**31))),
        ("MALFORMED", record(l=b"\xff" * 9 + b"\x03")),
        ("MALFORMED", record(l=b"\x80" * 10 + b"\x00")),
        ("INVALID_TEXT", record(s=sized(b"\xff"))),
        ("INVALID_TEXT", record(s=sized(b"a\x00"))),
        ("INVALID_TEXT", record(s=sized(b"\xff"))[:-1]),
        ("TRAILING_DATA", record() + b"\x00"),
        ("TRAILING_DATA", record() + record()),
        ("OUT_OF_RANGE", record(d=(10**10).to_bytes(5, "big"))),
        ("OUT_OF_RANGE", record(g=packed.pack("<d", float("nan")))),
        ("OUT_OF_RANGE", record(f=packed.pack("<f", float("inf")))),
        ("OUT_OF_RANGE", record(dt=number(-1))),
        ("OUT_OF_RANGE", record(t=number(7289654400_000000))),
        ("FUTURE", record(t=number(7289654399_999999))),
    ],
)
def test_a_bad_datum_has_its_reason_between_good_ones(reason: str, value: bytes) -> None:
    given_settings = avro(required=("s",), event_time="t")
    before, bad, after = events(given_settings, record(), value, record())
    assert (before, bad[0] if isinstance(bad, tuple) else bad, after) == (EVENT, reason, EVENT)


def test_small_integers_have_their_own_bounds() -> None:
    schema = struct(v=T.ByteType())
    assert reasons(avro(schema), *(SOME + number(value) for value in (-128, 127, 128))) == [None, None, "OUT_OF_RANGE"]


def test_milliseconds_where_the_settings_say_so() -> None:
    schema = struct(at=T.TimestampType())
    found = events(avro(schema, timestamps="epoch_ms"), SOME + number(1795514400_123))
    assert found == [{"at": datetime(2026, 11, 24, 10, 0, 0, 123000, tzinfo=timezone.utc)}]


def test_not_null_columns_are_no_unions() -> None:
    schema = T.StructType([T.StructField("a", T.StringType(), nullable=False), T.StructField("b", T.LongType())])
    assert events(avro(schema), sized(b"x") + NULL) == [{"a": "x", "b": None}]


NESTED = struct(
    a=T.ArrayType(struct(x=T.LongType())),
    m=T.MapType(T.StringType(), T.LongType()),
)


def test_arrays_maps_and_records_in_blocks_with_and_without_sizes() -> None:
    item, key = SOME + SOME + number(5), sized(b"k") + SOME + number(6)
    plain = SOME + number(2) + item + NULL + END + SOME + number(1) + key + END
    sizes = SOME + number(-1) + number(3) + item + number(1) + NULL + END + SOME + number(-1) + number(4) + key + END
    wanted = {"a": [{"x": 5}, None], "m": [("k", 6)]}
    assert events(avro(NESTED), plain, sizes) == [wanted, wanted]


@pytest.mark.parametrize(
    ("reason", "value"),
    [
        ("DUPLICATE_KEY", NULL + SOME + number(2) + (sized(b"k") + NULL) * 2 + END),
        ("DUPLICATE_KEY", NULL + SOME + (number(1) + sized(b"k") + NULL) * 2 + END),
        ("MALFORMED", SOME + number(2**40) + NULL * 9),
        ("MALFORMED", SOME + number(-(2**63)) + number(1) + NULL * 9),
        ("MALFORMED", SOME + number(1) + NULL),
    ],
)
def test_bad_blocks(reason: str, value: bytes) -> None:
    assert reasons(avro(NESTED), value) == [reason]


@given(st.binary(max_size=60), st.integers(0, 60))
def test_whatever_the_bytes_are_nothing_is_raised(noise: bytes, at: int) -> None:
    for schema in (FLAT, NESTED):
        found = events(avro(schema), noise, record()[:at] + noise + record()[at:])
        assert not [row for row in found if isinstance(row, tuple) and row[1] and "Error" in row[1]]


def test_decimals_take_the_bytes_that_spark_gives_them() -> None:
    assert [fixed_size(precision) for precision in (1, 2, 3, 9, 10, 18, 19, 38)] == [1, 1, 2, 4, 5, 8, 9, 16]
    assert unscaled_decimal(-(10**38 - 1), 2) == Decimal("-" + "9" * 36 + ".99")
