"""What JSON is accepted, with its boundaries; and that the fast path accepts nothing that the careful reader does not."""

from __future__ import annotations

import json
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from _decoding import ORDER, events, reasons, rejected_as, settings, struct, ways
from hypothesis import example, given
from hypothesis import strategies as st
from pyspark.sql import types as T

from jobs.core import decode_json
from jobs.core.decode import DecodeSettings, format_decoder
from jobs.core.decode_rows import Chunked

UTC = timezone.utc
AT = datetime(2026, 11, 24, 10, 0, 0, 123456, tzinfo=UTC)
R, W = "OUT_OF_RANGE", "WRONG_TYPE"
TINY, BIG, MONEY, SHARE, HUGE = (
    T.ByteType(),
    T.LongType(),
    T.DecimalType(10, 2),
    T.DecimalType(5, 5),
    T.DecimalType(38, 0),
)
SINGLE, DOUBLE, BYTES, TIME, DATE = T.FloatType(), T.DoubleType(), T.BinaryType(), T.TimestampType(), T.DateType()
TEXT, WHOLE, TRUTH = T.StringType(), T.IntegerType(), T.BooleanType()

# type, how timestamps are written, JSON, the value or the reason
ROWS: list[tuple[T.DataType, str, str, Any]] = [
    (TINY, "", "127", 127),
    (TINY, "", "-128", -128),
    (TINY, "", "128", R),
    (TINY, "", "-129", R),
    (T.ShortType(), "", "32767", 32767),
    (T.ShortType(), "", "-32769", R),
    (WHOLE, "", "-2147483648", -2147483648),
    (WHOLE, "", "2147483648", R),
    (WHOLE, "", "-0", 0),
    (BIG, "", "9223372036854775807", 9223372036854775807),
    (BIG, "", "-9223372036854775808", -9223372036854775808),
    (BIG, "", "9223372036854775808", R),
    (BIG, "", "-9223372036854775809", R),
    (MONEY, "", "99999999.99", Decimal("99999999.99")),
    (MONEY, "", "-99999999.99", Decimal("-99999999.99")),
    (MONEY, "", "100000000", R),
    (MONEY, "", "1.50", Decimal("1.50")),
    (MONEY, "", "1.5000000000000000000000000000000000000000000", Decimal("1.50")),
    (MONEY, "", "1.005", R),
    (MONEY, "", "1.00000000000000000000000000000000000000000001", R),
    (MONEY, "", "1e2", Decimal("100.00")),
    (MONEY, "", "1e-2", Decimal("0.01")),
    (MONEY, "", "1e-3", R),
    (MONEY, "", "0e999", Decimal("0.00")),
    (MONEY, "", "1e99999999999999999999", R),
    (MONEY, "", "340282366920938463463374607431768211457", R),
    (SHARE, "", "0.99999", Decimal("0.99999")),
    (SHARE, "", "1", R),
    (SHARE, "", "0", Decimal("0.00000")),
    (HUGE, "", "9" * 38, Decimal("9" * 38)),
    (HUGE, "", "1" + "0" * 38, R),
    (HUGE, "", "3.5e38", R),
    (HUGE, "", "12345678901234567890", Decimal("12345678901234567890")),
    (DOUBLE, "", "1", 1.0),
    (DOUBLE, "", "0.1", 0.1),
    (DOUBLE, "", "1e999", R),
    (DOUBLE, "", "-1e999", R),
    (DOUBLE, "", "NaN", R),
    (DOUBLE, "", '"1"', W),
    (DOUBLE, "", "true", W),
    (SINGLE, "", "1.5", 1.5),
    (SINGLE, "", "3.5e38", R),
    (TRUTH, "", "false", False),
    (TRUTH, "", "0", W),
    (TRUTH, "", '"true"', W),
    (TRUTH, "", "NaN", W),
    (TEXT, "", '""', ""),
    (TEXT, "", '"\\ud83d\\ude00 \\u00e9 \\" \\\\"', '😀 é " \\'),
    (TEXT, "", '"\\\\u0000"', "\\u0000"),
    (TEXT, "", "NaN", W),
    (BYTES, "", '"AAE="', b"\x00\x01"),
    (BYTES, "", '"AAE"', W),
    (BYTES, "", '"-_=="', W),
    (BYTES, "", '"AA==AA=="', W),
    (DATE, "", '"2024-02-29"', date(2024, 2, 29)),
    (DATE, "", '"2000-02-29"', date(2000, 2, 29)),
    (DATE, "", '"1900-02-29"', W),
    (DATE, "", '"2026-04-31"', W),
    (DATE, "", '"1970-01-01"', date(1970, 1, 1)),
    (DATE, "", '"1969-12-31"', R),
    (DATE, "", '"2201-01-01"', R),
    (DATE, "", '"2026-11-24T00:00:00Z"', W),
    (TIME, "rfc3339", '"2026-11-24T10:00:00.123456Z"', AT),
    (TIME, "rfc3339", '"2026-11-24t12:00:00.123456+02:00"', AT),
    (TIME, "rfc3339", '"2026-11-24 12:00:00.123456000+02:00"', AT),
    (TIME, "rfc3339", '"2026-11-24T10:00:00.1234560001Z"', R),
    (TIME, "rfc3339", '"2026-11-24T10:00:60Z"', W),
    (TIME, "rfc3339", '"2026-11-24T10:00:00+24:00"', W),
    (TIME, "rfc3339", '"2026-02-29T10:00:00Z"', W),
    (TIME, "rfc3339", '"1970-01-01T00:59:59.999999+01:00"', R),
    (TIME, "rfc3339", '"2200-12-31T23:59:59.999999Z"', datetime(2200, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    (TIME, "rfc3339", '"2200-12-31T23:59:59.999999-00:01"', R),
    (TIME, "epoch_s", "1795514400.123456", AT),
    (TIME, "epoch_s", "1795514400.1234560000000", AT),
    (TIME, "epoch_s", "1795514400.1234559", AT),
    (TIME, "epoch_s", "1795514400.12345600001", R),
    (TIME, "epoch_s", "1.795514400123456e9", AT),
    (TIME, "epoch_s", "1795514400", AT.replace(microsecond=0)),
    (TIME, "epoch_s", "1795514400123", R),
    (TIME, "epoch_s", "7289654399.999999", datetime(2200, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    (TIME, "epoch_s", "7289654400", R),
    (TIME, "epoch_s", "-0.000001", R),
    (TIME, "epoch_s", "0", datetime(1970, 1, 1, tzinfo=UTC)),
    (TIME, "epoch_s", "1e999", R),
    (TIME, "epoch_s", '"1795514400"', W),
    (TIME, "epoch_ms", "1795514400123", AT.replace(microsecond=123000)),
    (TIME, "epoch_ms", "1795514400123.0", W),
    (TIME, "epoch_ms", "9223372036854775807", R),
    (TIME, "epoch_ms", "9223372036854775808", R),
    (TIME, "epoch_ms", "1795514400123456", R),
    (T.ArrayType(WHOLE), "", "[1,null,2]", [1, None, 2]),
    (T.ArrayType(WHOLE), "", "[1,2147483648]", R),
    (T.ArrayType(MONEY), "", '[1.5,"x"]', W),
    (T.ArrayType(WHOLE), "", '{"a":1}', W),
    (T.ArrayType(WHOLE, containsNull=True), "", "[]", []),
    (T.MapType(TEXT, DATE), "", '{"a":"2026-11-24","b":null}', [("a", date(2026, 11, 24)), ("b", None)]),
    (T.MapType(TEXT, DATE), "", '{"a":"2026-02-30"}', W),
    (T.MapType(TEXT, DATE), "", '{"a":null,"a":null}', "DUPLICATE_KEY"),
    (struct(x=WHOLE, y=T.ArrayType(MONEY)), "", '{"y":[1.5],"more":[]}', {"x": None, "y": [Decimal("1.50")]}),
    (struct(x=WHOLE), "", '{"x":1,"x":1}', "DUPLICATE_KEY"),
    (struct(x=WHOLE), "", "[1]", W),
    (T.StructType([T.StructField("x", WHOLE, nullable=False)]), "", '{"y":1}', "MISSING_REQUIRED"),
]


@pytest.mark.parametrize(("kind", "times", "written", "wanted"), ROWS)
def test_each_type_reads_its_json_and_gives_the_reason_for_the_rest(
    kind: T.DataType, times: str, written: str, wanted: Any
) -> None:
    given_settings = settings(struct(id=WHOLE, v=kind), timestamps=times or "rfc3339")
    before, found, after = events(given_settings, b'{"id":1}', f'{{"id":2,"v":{written}}}'.encode(), b'{"id":3}')
    assert (before, after) == ({"id": 1, "v": None}, {"id": 3, "v": None})
    assert (found["v"] if isinstance(found, dict) else found[0]) == wanted


def test_the_published_table_names_every_type() -> None:
    published = " ".join(decode_json.TYPE_TABLE)
    kinds = "TINYINT SMALLINT INT BIGINT DECIMAL FLOAT DOUBLE BOOLEAN STRING BINARY DATE TIMESTAMP ARRAY MAP STRUCT"
    assert not [kind for kind in kinds.split() if kind not in published]


def test_null_and_missing_are_the_same_unless_nulls_are_explicit() -> None:
    values = [b'{"id":1,"v":null}', b'{"id":1}', b'{"id":null,"v":1}', b'{"v":1}']
    schema = struct(id=WHOLE, v=WHOLE)
    implicit, explicit = (settings(schema, required=("id",), nullable=how) for how in ("implicit", "explicit"))
    missing = "MISSING_REQUIRED"
    assert reasons(implicit, *values) == [None, None, missing, missing]
    assert events(explicit, *values) == [
        {"id": 1, "v": None},
        (missing, "$.v: missing"),
        (missing, "$.id: null"),
        (missing, "$.id: missing"),
    ]


def test_not_null_in_the_schema_means_required() -> None:
    schema = T.StructType([T.StructField("id", MONEY, nullable=False), T.StructField("v", WHOLE)])
    assert reasons(settings(schema), b'{"id":1}', b'{"id":null}', b'{"v":1}') == [None] + ["MISSING_REQUIRED"] * 2


def test_unknown_fields_are_allowed_or_refused_by_name() -> None:
    value = b'{"id":1,"channel":"web"}'
    assert events(settings(struct(id=WHOLE)), value) == [{"id": 1}]
    refused = ("WRONG_TYPE", "$: unknown field 'channel'")
    assert events(settings(struct(id=WHOLE), unknown_fields="reject"), value) == [refused]


def test_names_that_python_or_msgspec_would_not_have_are_columns_like_others() -> None:
    schema = struct(**{"class": WHOLE, "order-id": WHOLE, 'a"b': WHOLE, "größe": WHOLE})
    value = json.dumps({"class": 1, "order-id": 2, 'a"b': 3, "größe": 4}).encode()
    assert events(settings(schema), value, b"5")[0] == {"class": 1, "order-id": 2, 'a"b': 3, "größe": 4}


def test_a_schema_deeper_than_a_record_may_be_is_examined_record_by_record() -> None:
    given_settings = settings(struct(a=T.ArrayType(T.ArrayType(WHOLE))), max_depth=2)
    assert reasons(given_settings, b'{"a":[[1]]}', b'{"a":[]}') == ["TOO_DEEP", None]


def test_types_without_json_are_refused_by_column() -> None:
    with pytest.raises(ValueError, match="column at: type timestamp_ntz cannot be decoded"):
        format_decoder(settings(struct(at=T.TimestampNTZType())))
    with pytest.raises(ValueError, match="column m: keys of a map are STRING, not int"):
        format_decoder(settings(struct(m=T.MapType(WHOLE, WHOLE))))


# Properties. A record is put together from parts that are good, bad, or both in the eyes of different readers.

MIXED = struct(
    s=TEXT,
    i=WHOLE,
    d=MONEY,
    g=DOUBLE,
    dt=DATE,
    t=TIME,
    e=TIME,
    a=T.ArrayType(MONEY),
    o=struct(x=WHOLE, y=T.ArrayType(struct(z=TEXT))),
    m=T.MapType(TEXT, DATE),
)
LENIENT = settings(MIXED, timestamps={"e": "epoch_s"}, min_year=1, max_year=9999)
STRICT = settings(MIXED, required=("s", "d"), unknown_fields="reject", timestamps={"e": "epoch_s"})
PARTS = [
    *('""', '"x"', '"a\\"b"', '"\\\\"', '"\\\\\\""', '"\\u0022:"', '"é"', '"\\ud83d\\ude00"', '"\\ud800"', '"\\u0000"'),
    *('"2026-02-28"', '"2026-02-30"', '"0000-01-01"', '"2026-11-24T10:00:00Z"', '"2026-11-24T10:00:00.1234567Z"'),
    *(
        '"2026-11-24T10:00:00+02:00"',
        '"2026-11-24t10:00:00z"',
        '"2026-11-24T10Z"',
        '"0001-01-01T00:00:00+01:00"',
        '"\n"',
    ),
    *(
        "0",
        "-0",
        "1",
        "2147483648",
        "1.0",
        "1e2",
        "1.5",
        "1.239",
        "12345678.12",
        "123456789.12",
        "1e999",
        "NaN",
        "-Infinity",
    ),
    *("1700000000.1234567", "1700000000.123456789", "4294967296.5", "1" + "0" * 400, "01", ".5", "1.", "-", "tru", ""),
    *(
        "true",
        "null",
        "[]",
        "{}",
        "[1.5,null]",
        "[1.55,2]",
        '{"x":1}',
        '{"x":1,"x":2}',
        '{"k":"2026-01-01"}',
        "{,}",
        "[1,]",
    ),
    *(
        '{"x":1,"y":[{"z":"q"},null,{}]}',
        '{"y":[{"z":"q","z":"r"}]}',
        "[" * 63 + "]" * 63,
        "[" * 64 + "]" * 64,
        '"',
        "\\",
    ),
]
KEYS = [*MIXED.names, *MIXED.names, "S", "\\u0073", "", "unknown", "other", 'k\\"']
SPACES = st.sampled_from(["", "", "", " ", "\t", "\r\n"])
MEMBERS = st.lists(st.tuples(st.sampled_from(KEYS), SPACES, st.sampled_from(PARTS)), max_size=8)
AROUND = st.sampled_from(
    ["{}", "{}", "{}", "{}\n", " {}", "{}{}", "{}\n{}", "{},", "[{}]", "\ufeff{}", "{}\x00", "x{}"]
)


@st.composite
def written(draw: st.DrawFn) -> bytes:
    members = ",".join(f'"{key}"{space}:{part}' for key, space, part in draw(MEMBERS))
    text = draw(AROUND).replace("{}", "{" + members + "}").encode()
    cut = draw(st.integers(0, len(text)))
    return draw(st.sampled_from([text, text, text, text[:cut], text[:cut] + b"\xff" + text[cut:]]))


@given(st.lists(st.binary(max_size=40) | written(), max_size=12))
@example([b'{"s":"', b'"}', b'{"s":"a"},{"s":"b"}'])
@example([b'{"o":{}', b'{"s":"x"}}', b'{"s":"a"} {"s":"b"}'])
@example([b'{"s":"a"}\n{"s":"b"}', b"", b'{"s":"c"}'])
def test_whatever_the_bytes_are_the_fast_path_changes_nothing(values: list[bytes]) -> None:
    for given_settings in (LENIENT, STRICT):
        fast, careful = ways(given_settings, *values)
        assert fast == careful


@given(st.lists(written(), min_size=1, max_size=12))
def test_no_key_that_comes_twice_is_let_through(values: list[bytes]) -> None:
    accepted = [value for value, found in zip(values, ways(LENIENT, *values)[0]) if rejected_as(found) is None]
    assert not [value for value in accepted if twice(value)]


def twice(value: bytes) -> bool:
    """What Python's own reader sees."""
    found = []

    def pairs(members: list[tuple[str, Any]]) -> None:
        found.append(len({key for key, _ in members}) < len(members))

    json.loads(value, object_pairs_hook=pairs)
    return any(found)


SOUND_TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"))
EVENT = st.fixed_dictionaries(
    {},
    optional={
        "s": SOUND_TEXT | st.none(),
        "i": st.integers(-(2**31), 2**31 - 1) | st.none(),
        "g": st.floats(allow_nan=False, allow_infinity=False) | st.none(),
        "o": st.fixed_dictionaries({"x": st.integers(-9, 9), "y": st.lists(st.fixed_dictionaries({"z": SOUND_TEXT}))}),
        "unknown": st.recursive(SOUND_TEXT | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=3)),
    },
).filter(bool)


@given(st.lists(EVENT, max_size=8), st.booleans())
def test_what_python_writes_comes_back_as_it_was(given_events: list[dict[str, Any]], ascii_only: bool) -> None:
    values = [json.dumps(event, ensure_ascii=ascii_only).encode() for event in given_events]
    found = events(settings(struct(s=TEXT, i=WHOLE, g=DOUBLE, o=MIXED["o"].dataType)), *values)
    assert found == [{name: event.get(name) for name in ("s", "i", "g", "o")} for event in given_events]


def test_good_records_take_the_fast_path_whatever_their_layout() -> None:
    compact = (
        b'{"order_id":"o","quantity":1,"amount":1.5,"ordered_at":"2026-11-24T10:00:00Z","order_date":"2026-11-24"}'
    )
    members = json.loads(compact)
    spaced = json.dumps({**members, "note": 'say "hi" \\ é'}, indent=1).encode() + b"\n"
    some = json.dumps({"quantity": None, "order_id": "o"}).encode()
    decoder = format_decoder(settings())
    assert isinstance(decoder, Chunked) and decoder.fast
    found = decoder.fast(pa.array([compact, spaced, some] * 5, pa.binary()))
    assert (len(found.records), found.doubtful) == (15, frozenset())


def test_a_fast_path_that_fails_leaves_every_record_to_the_careful_reader() -> None:
    def broken(_: pa.Array) -> Any:
        raise MemoryError

    decoder = format_decoder(settings())
    assert isinstance(decoder, Chunked)
    found = Chunked(decoder.plan, broken, decoder.examine)(pa.array([b'{"quantity":1}', b"5"]))
    assert (found.places, [rejection.reason.value for rejection in found.rejected.values()]) == (
        [0, None],
        ["NOT_OBJECT"],
    )


def test_no_error_of_the_careful_reader_stops_a_batch() -> None:
    def broken(_: bytes) -> Any:
        raise RecursionError("with a payload in it")

    decoder = format_decoder(settings())
    assert isinstance(decoder, Chunked)
    found = Chunked(decoder.plan, None, broken)(pa.array([b"{}"]))
    assert [tuple(rejection) for rejection in found.rejected.values()] == [("MALFORMED", "RecursionError")]


def test_a_row_that_arrow_does_not_take_is_rejected_and_the_others_stay() -> None:
    decoder = format_decoder(settings(struct(i=WHOLE)))
    assert isinstance(decoder, Chunked)
    found = Chunked(decoder.plan, None, lambda value: {"i": json.loads(value)})(pa.array([b"1", b'"x"', b"2"]))
    assert ([column.to_pylist() for column in found.columns], found.places) == ([[1, 2]], [0, None, 1])
    assert [tuple(rejection) for rejection in found.rejected.values()] == [("MALFORMED", "ArrowInvalid")]


@pytest.mark.parametrize("nested", [b"[", b'{"a":', b'{"a":[', b"[{"])
def test_nesting_without_end_is_a_reason_and_no_recursion(nested: bytes) -> None:
    given_settings = DecodeSettings("json", ORDER, max_record_bytes=1 << 24)
    assert reasons(given_settings, b'{"x":' + nested * 100_000, nested * 100_000) == ["MALFORMED"] * 2
