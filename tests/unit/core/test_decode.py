"""One suite for all formats: each record of faults.md C that the format can have, its reason, and its neighbours."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from _decoding import NOW, ORDER, decoded, events, reasons, records, settings, struct
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from jobs.core import decode as decoding
from jobs.core import told
from jobs.core.decode import DecodeSettings, batch_decoder, decode, decode_batch, decoded_schema, format_decoder
from jobs.core.sources import RECORDS

RULES: dict[str, Any] = {"required": ("order_id",), "event_time": "ordered_at", "max_record_bytes": 2000}
SETTINGS = {
    "json": settings(**RULES),
    "csv": settings(format="csv", **RULES),
    "avro": settings(format="avro", **RULES),
    "raw": settings(struct(value=T.StringType()), "raw", required=("value",), max_record_bytes=2000),
}
AVRO = [
    b"\x00\x04o1",
    b"\x00\x04",
    b"\x00\x00\x00\x00\x03\xb6",
    b"\x00\x80\xa0\x82\xe0\xd8\xc0\xb0\x06",
    b"\x00\xda\xc4\x02",
]
GOOD = {
    "json": b'{"order_id":"o1","quantity":2,"amount":9.5,"ordered_at":"2026-11-24T10:00:00Z","order_date":"2026-11-24"}',
    "csv": b"o1,2,9.5,2026-11-24T10:00:00Z,2026-11-24",
    "avro": b"".join(AVRO),
    "raw": "grüße".encode(),
}
EVENT = {
    "order_id": "o1",
    "quantity": 2,
    "amount": Decimal("9.50"),
    "ordered_at": datetime(2026, 11, 24, 10, tzinfo=timezone.utc),
    "order_date": date(2026, 11, 24),
}
EVENTS: dict[str, dict[str, Any]] = {"json": EVENT, "csv": EVENT, "avro": EVENT, "raw": {"value": "grüße"}}


def with_(**changed: str) -> bytes:
    """The good JSON record with some values as they would be written."""
    fields = {name: json.dumps(value) for name, value in json.loads(GOOD["json"]).items()}
    return ("{" + ",".join(f'"{name}":{value}' for name, value in {**fields, **changed}.items()) + "}").encode()


def row(*changed: tuple[int, str]) -> bytes:
    """The good CSV record with some fields as they would be written."""
    fields = GOOD["csv"].decode().split(",")
    for column, text in changed:
        fields[column] = text
    return ",".join(fields).encode()


BAD: list[tuple[str, str, bytes | None]] = [
    ("json", "TOMBSTONE", None),
    ("json", "TOO_LARGE", with_(note='"' + "x" * 2000 + '"')),
    ("json", "INVALID_TEXT", with_(order_id='"?"').replace(b"?", b"\xff\xfe")),
    ("json", "INVALID_TEXT", with_(note='"?"').replace(b"?", b"\xff\xfe")),
    ("json", "INVALID_TEXT", with_(note="1").replace(b"note", b"no\xc3")),
    ("json", "INVALID_TEXT", with_(note='"?"').replace(b"?", b"\xed\xa0\x80")),
    ("json", "INVALID_TEXT", with_(order_id='"\\ud800"')),
    ("json", "INVALID_TEXT", with_(note='"\\uDC00 and more"')),
    ("json", "INVALID_TEXT", with_(note='"\\ud83d\\ud83d"')),
    ("json", "INVALID_TEXT", with_(order_id='"a\\u0000b"')),
    ("json", "INVALID_TEXT", with_(note='"\\u0000"')),
    ("json", "MALFORMED", GOOD["json"][:-9]),
    ("json", "MALFORMED", GOOD["json"][:-1]),
    ("json", "MALFORMED", b"\xef\xbb\xbf" + GOOD["json"]),
    ("json", "MALFORMED", b"not json at all"),
    ("json", "MALFORMED", b"\x00\x00\x00\x00\x07Obj"),
    ("json", "MALFORMED", with_(order_id='"a\tb"')),
    ("json", "MALFORMED", with_(order_id='"a\nb"')),
    ("json", "MALFORMED", with_(quantity="01")),
    ("json", "MALFORMED", with_(quantity="+1")),
    ("json", "MALFORMED", with_(order_id='"\\x41"')),
    ("json", "MALFORMED", with_(order_id="'o1'")),
    ("json", "MALFORMED", GOOD["json"][:-1] + b",}"),
    ("json", "MALFORMED", b'{"order_id":"'),
    ("json", "MALFORMED", b'"}'),
    ("json", "MALFORMED", b'{"order_id":"o1"'),
    ("json", "TRAILING_DATA", GOOD["json"] + b" x"),
    ("json", "TRAILING_DATA", GOOD["json"] + b","),
    ("json", "TRAILING_DATA", GOOD["json"] + b"\x00"),
    ("json", "TRAILING_DATA", GOOD["json"] + GOOD["json"]),
    ("json", "TRAILING_DATA", GOOD["json"] + b"\n" + GOOD["json"]),
    ("json", "DUPLICATE_KEY", b'{"order_id":"o1","order_id":"o1"}'),
    ("json", "DUPLICATE_KEY", b'{"order_id":"o1","quantity" : 1,"quantity" : 2}'),
    ("json", "DUPLICATE_KEY", b'{"order_id":"o1","\\u006frder_id":"o2"}'),
    ("json", "DUPLICATE_KEY", b'{"order_id":"o1","note":1,"note":2}'),
    ("json", "DUPLICATE_KEY", b'{"order_id":"o1","note":[{"a":1,"a":2}]}'),
    ("json", "TOO_DEEP", with_(extra="[" * 64 + "]" * 64)),
    ("json", "TOO_DEEP", with_(extra="[" * 900 + "]" * 900)),
    ("json", "TOO_DEEP", with_(extra='{"":' * 64 + "1" + "}" * 64)),
    ("json", "NOT_OBJECT", b"null"),
    ("json", "NOT_OBJECT", b"5"),
    ("json", "NOT_OBJECT", b"[]"),
    ("json", "NOT_OBJECT", b'"x"'),
    ("json", "NOT_OBJECT", b" NaN "),
    ("json", "MISSING_REQUIRED", b""),
    ("json", "MISSING_REQUIRED", b" \r\n\t"),
    ("json", "MISSING_REQUIRED", b"{}"),
    ("json", "MISSING_REQUIRED", b"{ }"),
    ("json", "MISSING_REQUIRED", with_(order_id="null")),
    ("json", "MISSING_REQUIRED", b'{"quantity":2}'),
    ("json", "MISSING_REQUIRED", GOOD["json"].replace(b"order_id", b"Order_Id")),
    ("json", "WRONG_TYPE", with_(order_id='{"id":1}')),
    ("json", "WRONG_TYPE", with_(order_id="[1]")),
    ("json", "WRONG_TYPE", with_(order_id="5")),
    ("json", "WRONG_TYPE", with_(order_id="true")),
    ("json", "WRONG_TYPE", with_(quantity='"7"')),
    ("json", "WRONG_TYPE", with_(quantity="1.0")),
    ("json", "WRONG_TYPE", with_(quantity="1e3")),
    ("json", "WRONG_TYPE", with_(quantity="true")),
    ("json", "WRONG_TYPE", with_(amount='"9.5"')),
    ("json", "WRONG_TYPE", with_(amount='"NaN"')),
    ("json", "WRONG_TYPE", with_(amount="[9.5]")),
    ("json", "WRONG_TYPE", with_(order_date='"2026-02-30"')),
    ("json", "WRONG_TYPE", with_(order_date='"2023-02-29"')),
    ("json", "WRONG_TYPE", with_(order_date='"2026-1-2"')),
    ("json", "WRONG_TYPE", with_(order_date="20260102")),
    ("json", "WRONG_TYPE", with_(ordered_at="1764000000")),
    ("json", "WRONG_TYPE", with_(ordered_at='"2026-11-24T10:00:00"')),
    ("json", "WRONG_TYPE", with_(ordered_at='"2026-11-24T10:00Z"')),
    ("json", "WRONG_TYPE", with_(ordered_at='"2026-11-24T10:00:00+0200"')),
    ("json", "WRONG_TYPE", with_(ordered_at='"2026-11-24T24:00:00Z"')),
    ("json", "WRONG_TYPE", with_(ordered_at='"2026-11-24"')),
    ("json", "OUT_OF_RANGE", with_(quantity="2147483648")),
    ("json", "OUT_OF_RANGE", with_(quantity="-99999999999999999999999")),
    ("json", "OUT_OF_RANGE", with_(amount="123456789")),
    ("json", "OUT_OF_RANGE", with_(amount="1.239")),
    ("json", "OUT_OF_RANGE", with_(amount="1" + "0" * 400)),
    ("json", "OUT_OF_RANGE", with_(amount="NaN")),
    ("json", "OUT_OF_RANGE", with_(amount="-Infinity")),
    ("json", "OUT_OF_RANGE", with_(note="Infinity")),
    ("json", "OUT_OF_RANGE", with_(order_date='"0001-01-01"')),
    ("json", "OUT_OF_RANGE", with_(order_date='"0000-01-01"')),
    ("json", "OUT_OF_RANGE", with_(ordered_at='"0001-01-01T00:00:00Z"')),
    ("json", "OUT_OF_RANGE", with_(ordered_at='"2201-01-01T00:00:00Z"')),
    ("json", "OUT_OF_RANGE", with_(ordered_at='"2026-11-24T10:00:00.1234567Z"')),
    ("json", "FUTURE", with_(ordered_at='"2099-01-01T00:00:00Z"')),
    ("json", "FUTURE", with_(ordered_at='"2026-11-24T13:00:00.000001Z"')),
    ("csv", "TOMBSTONE", None),
    ("csv", "TOO_LARGE", row((0, "x" * 2001))),
    ("csv", "INVALID_TEXT", row((0, "?")).replace(b"?", b"\xff")),
    ("csv", "INVALID_TEXT", row((0, "a\x00"))),
    ("csv", "INVALID_TEXT", row((0, '"a\x00"'))),
    ("csv", "MALFORMED", row((0, '"o1'))),
    ("csv", "MALFORMED", row((0, 'o"1'))),
    ("csv", "MALFORMED", row((0, '"o"1'))),
    ("csv", "MALFORMED", row((0, "o\r1"))),
    ("csv", "MALFORMED", b"\xef\xbb\xbf" + GOOD["csv"]),
    ("csv", "TRAILING_DATA", GOOD["csv"] + b",x"),
    ("csv", "TRAILING_DATA", GOOD["csv"] + b","),
    ("csv", "TRAILING_DATA", GOOD["csv"] + b"\n" + GOOD["csv"]),
    ("csv", "TRAILING_DATA", GOOD["csv"] + b"\n\n"),
    ("csv", "MISSING_REQUIRED", b""),
    ("csv", "MISSING_REQUIRED", b" \r\n"),
    ("csv", "MISSING_REQUIRED", row((0, ""))),
    ("csv", "MISSING_REQUIRED", row((0, '""'))),
    ("csv", "WRONG_TYPE", row((1, "7.0"))),
    ("csv", "WRONG_TYPE", row((1, "0x7"))),
    ("csv", "WRONG_TYPE", row((1, " 7"))),
    ("csv", "WRONG_TYPE", row((1, "07"))),
    ("csv", "WRONG_TYPE", row((1, "٧"))),
    ("csv", "WRONG_TYPE", row((2, "nine"))),
    ("csv", "WRONG_TYPE", row((3, "2026-11-24T10:00:00"))),
    ("csv", "WRONG_TYPE", row((3, "1764000000"))),
    ("csv", "WRONG_TYPE", row((4, "2026-02-30"))),
    ("csv", "OUT_OF_RANGE", row((1, "2147483648"))),
    ("csv", "OUT_OF_RANGE", row((2, "1.239"))),
    ("csv", "OUT_OF_RANGE", row((2, "1" + "0" * 400))),
    ("csv", "OUT_OF_RANGE", row((2, "NaN"))),
    ("csv", "OUT_OF_RANGE", row((4, "0001-01-01"))),
    ("csv", "FUTURE", row((3, "2099-01-01T00:00:00Z"))),
    ("avro", "TOMBSTONE", None),
    ("avro", "TOO_LARGE", b"x" * 2001),
    ("avro", "INVALID_TEXT", GOOD["avro"].replace(b"o1", b"o\xff")),
    ("avro", "INVALID_TEXT", GOOD["avro"].replace(b"o1", b"o\x00")),
    ("avro", "MALFORMED", GOOD["avro"][:-1]),
    ("avro", "MALFORMED", GOOD["json"]),
    ("avro", "MALFORMED", b"\x00\x00\x00\x00\x07" + GOOD["avro"]),
    ("avro", "TRAILING_DATA", GOOD["avro"] * 2),
    ("avro", "MISSING_REQUIRED", b""),
    ("avro", "MISSING_REQUIRED", b"\x02" * 5),
    ("avro", "OUT_OF_RANGE", b"".join([*AVRO[:2], b"\x00\x02T\x0b\xe4\x00", *AVRO[3:]])),
    ("avro", "FUTURE", b"".join([*AVRO[:3], b"\x00\x80\x80\xff\x8e\x8a\x9e\xbb\x0e", AVRO[4]])),
    ("raw", "TOMBSTONE", None),
    ("raw", "TOO_LARGE", b"x" * 2001),
    ("raw", "INVALID_TEXT", b"\xff"),
    ("raw", "INVALID_TEXT", b"a\x00b"),
    ("raw", "MISSING_REQUIRED", b""),
    ("raw", "MISSING_REQUIRED", b" \n"),
]


@pytest.mark.parametrize(("format", "reason", "value"), BAD)
def test_a_bad_record_has_its_reason_and_its_bytes_between_good_ones_untouched(
    format: str, reason: str, value: bytes | None
) -> None:
    good, bad, after = decoded(SETTINGS[format], GOOD[format], value, GOOD[format])
    assert (good, after) == (expected(format, 0), expected(format, 2))
    assert bad == rejected(format, reason, bad["_detail"], value)


def expected(format: str, offset: int) -> dict[str, Any]:
    nothing = dict.fromkeys(("_reason", "_detail", "_key", "_value", "_headers"))
    return {**EVENTS[format], **place(offset), **nothing}


def rejected(format: str, reason: str, detail: str, value: bytes | None) -> dict[str, Any]:
    fault = {"_reason": reason, "_detail": detail}
    record = {"_key": b"k1", "_value": value, "_headers": [{"key": "h", "value": b"v1"}]}
    return {**dict.fromkeys(EVENTS[format]), **place(1), **fault, **record}


def place(offset: int) -> dict[str, Any]:
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    return {"_topic": "orders", "_partition": 3, "_offset": offset, "_timestamp": epoch}


@pytest.mark.parametrize("format", SETTINGS)
def test_all_of_a_formats_bad_records_in_one_batch_keep_their_reasons(format: str) -> None:
    bad = [(reason, value) for kind, reason, value in BAD if kind == format]
    values = [value for _, value in bad for value in (value, GOOD[format])]
    found = decoded(SETTINGS[format], *values)
    assert [row["_reason"] for row in found[0::2]] == [reason for reason, _ in bad]
    assert [{name: row[name] for name in EVENTS[format]} for row in found[1::2]] == [EVENTS[format]] * len(bad)


# Each of them also has every fault that comes later in the order.
ORDERED = [
    ("TOO_LARGE", b'{"order_id":"\xff' + b"x" * 2000),
    ("INVALID_TEXT", b'{"order_id":"\xff" x'),
    ("INVALID_TEXT", b'{"order_id":"\\u0000" x'),
    ("MALFORMED", b'{"order_id":1,"order_id":2,"quantity":"7" x'),
    ("TRAILING_DATA", b'{"order_id":1,"order_id":2,"x":' + b"[" * 65 + b"]" * 65 + b"} {}"),
    ("TRAILING_DATA", b"[] []"),
    ("DUPLICATE_KEY", b'{"quantity":"7","quantity":2147483648,"x":' + b"[" * 65 + b"]" * 65 + b"}"),
    ("DUPLICATE_KEY", b'[{"a":1,"a":2}]'),
    ("TOO_DEEP", b"[" * 65 + b"]" * 65),
    ("TOO_DEEP", b'{"quantity":"7","x":' + b"[" * 65 + b"]" * 65 + b"}"),
    ("MISSING_REQUIRED", b'{"quantity":"7","amount":1.239,"ordered_at":"2099-01-01T00:00:00Z"}'),
    ("WRONG_TYPE", b'{"order_id":"o1","amount":1.239,"quantity":"7","ordered_at":"2099-01-01T00:00:00Z"}'),
    ("OUT_OF_RANGE", b'{"order_id":"o1","amount":1.239,"ordered_at":"2099-01-01T00:00:00Z"}'),
]


@pytest.mark.parametrize(("reason", "value"), ORDERED)
def test_of_several_reasons_the_first_in_the_order_is_given(reason: str, value: bytes) -> None:
    assert reasons(SETTINGS["json"], value) == [reason]


@pytest.mark.parametrize("format", SETTINGS)
def test_raw_bytes_are_kept_for_good_records_too_where_asked(format: str) -> None:
    first, second = decoded(SETTINGS[format], GOOD[format], None, keep_raw=True)
    record = {"_key": b"k0", "_value": GOOD[format], "_headers": [{"key": "h", "value": b"v0"}]}
    assert first == {**expected(format, 0), **record}
    assert second == rejected(format, "TOMBSTONE", "null value", None)


def test_details_name_the_field_and_the_type_and_never_the_payload() -> None:
    values = [value.replace(b"o1", b"CANARY") for _, _, value in BAD if value] + [
        with_(quantity='"CANARY"'),
        with_(order_date='"CANARY"'),
        b"CANARY",
        b'{"order_id": CANARY',
    ]
    details = [row["_detail"] for given in SETTINGS.values() for row in decoded(given, *values)]
    assert not [detail for detail in details if detail and ("CANARY" in detail or len(detail) > 200)]
    assert events(SETTINGS["json"], with_(quantity='"7"')) == [
        ("WRONG_TYPE", "$.quantity: expected int, found string"),
    ]


def test_details_are_bounded_however_long_the_names_are() -> None:
    name = "n" * 500
    given = settings(struct(**{name: T.IntegerType()}), event_time=None)
    assert events(given, b'{"%b":"x"}' % name.encode()) == [("WRONG_TYPE", f"$.{name}"[:200])]


def test_an_empty_batch_and_one_of_rejects_alone_have_the_same_columns() -> None:
    decoder = batch_decoder(SETTINGS["json"], NOW)
    schemas = [decode_batch(records(*values), decoder).schema for values in ([], [None], [b"5"], [GOOD["json"]])]
    assert schemas == [schemas[0]] * 4


def test_in_a_plan_a_record_that_is_not_after_the_batchs_watermark_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    until = int(datetime(2026, 11, 24, 11, tzinfo=timezone.utc).timestamp() * 1_000)
    monkeypatch.setattr(told, "heard", lambda: told.Told(NOW, until))
    values = [with_(ordered_at=f'"2026-11-24T{time}Z"') for time in ("11:00:00", "11:00:00.000001", "13:00:01")]
    decoder = batch_decoder(replace(SETTINGS["json"], max_lateness=90.0), None)
    found = decode_batch(records(*values, b"{"), decoder).to_pydict()
    assert found["_reason"] == ["LATE", None, "FUTURE", "MALFORMED"]
    assert found["_detail"][0] == "ordered_at: 90 s or more behind the newest event"
    assert found["_value"] == [values[0], None, values[2], b"{"], "what is late is put aside byte for byte"
    monkeypatch.setattr(told, "heard", lambda: told.Told(NOW, 0))
    assert decode_batch(records(values[0]), batch_decoder(SETTINGS["json"], None)).to_pydict()["_reason"] == [None]


def test_the_latest_event_time_allowed_is_now_and_max_future() -> None:
    values = [with_(ordered_at=f'"2026-11-24T13:00:00.00000{digit}Z"') for digit in (0, 1)]
    assert reasons(SETTINGS["json"], *values) == [None, "FUTURE"]
    assert reasons(settings(event_time=None), *values) == [None, None]


def test_the_schema_is_known_without_spark_and_allows_nulls_everywhere() -> None:
    nested = T.StructType([T.StructField("x", T.LongType(), nullable=False)])
    given = settings(T.StructType([T.StructField("o", T.ArrayType(nested, containsNull=False), nullable=False)]))
    assert decoded_schema(given).simpleString() == (
        "struct<o:array<struct<x:bigint>>,_topic:string,_partition:int,_offset:bigint,_timestamp:timestamp,"
        "_reason:string,_detail:string,_key:binary,_value:binary,_headers:array<struct<key:string,value:binary>>>"
    )
    assert decoded_schema(given)["o"].dataType.jsonValue()["containsNull"] is True


def test_settings_travel_and_a_decoder_is_built_once_for_equal_ones() -> None:
    given = settings(timestamps={"ordered_at": "epoch_s"})
    assert pickle.loads(pickle.dumps(given)) == given
    assert format_decoder(pickle.loads(pickle.dumps(given))) is format_decoder(given)
    assert format_decoder(settings(timestamps={"ordered_at": "epoch_ms"})) is not format_decoder(given)


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="format xml: one of json, csv, raw, avro"):
        format_decoder(settings(format="xml"))


def test_spark_gives_what_the_executors_make(spark: SparkSession) -> None:
    schema = T.StructType(
        [*ORDER.fields, *struct(tags=T.ArrayType(T.StringType()), more=T.MapType(T.StringType(), T.LongType())).fields]
    )
    given = DecodeSettings("json", schema, required=("order_id",), event_time="ordered_at")
    good = with_(tags='["a",null]', more='{"b":1}')
    kafka = "key binary, value binary, headers array<struct<key:string,value:binary>>, topic string, partition int"
    taken = datetime(2026, 11, 24, 12)
    rows = [(b"k", good, [("h", b"v")], "t", 0, 1, taken), (None, b"{}", None, "t", 0, 2, taken)]
    frame = decode(spark.createDataFrame(rows, f"{kafka}, offset bigint, timestamp timestamp"), given, NOW)
    first, second = frame.collect()
    assert frame.schema == decoded_schema(given)
    assert (first["amount"], first["tags"], first["more"], first["_offset"]) == (
        Decimal("9.50"),
        ["a", None],
        {"b": 1},
        1,
    )
    assert (first["_reason"], first["_value"]) == (None, None)
    assert (second["order_id"], second["_reason"], second["_value"]) == (None, "MISSING_REQUIRED", b"{}")
    assert frame.filter("_reason IS NULL").count() == 1


def test_formats_are_those_of_the_config() -> None:
    assert {*decoding.FORMATS} == {"json", "csv", "raw", "avro", "event"}  # event: the event log's, named by its jobs


def test_headers_come_back_as_they_were_and_no_list_column_goes_into_python(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spark measures an Arrow batch at each of its rows, and walks all of a list column each time."""
    sent: list[T.StructType] = []
    headers = [("h", b"\x00\xff"), ('"\u2028', b""), ("n", None)]
    frame = spark.createDataFrame([(b"k", b"{", headers, "t", 0, 1, NOW), (None, b"{", None, "t", 0, 2, NOW)], RECORDS)
    real = type(frame).mapInArrow
    monkeypatch.setattr(type(frame), "mapInArrow", lambda self, *call: sent.append(self.schema) or real(self, *call))
    first, second = decode(frame, settings(), NOW).collect()
    assert [(h["key"], h["value"] and bytes(h["value"])) for h in first["_headers"]] == [
        ("h", b"\x00\xff"),
        ('"\u2028', b""),
        ("n", None),
    ]
    assert second["_headers"] is None
    assert [field.name for field in sent[0] if isinstance(field.dataType, T.ArrayType)] == []
