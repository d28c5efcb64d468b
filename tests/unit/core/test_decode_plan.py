from __future__ import annotations

from typing import Any

import pyarrow as pa
from _decoding import settings, struct
from pyspark.sql import types as T

from jobs.core.decode_plan import DecodeSettings, Document, Reader, Rejection, compile_schema, kind
from jobs.core.decode_scalars import Number
from jobs.core.reasons import Reason

SCHEMA = struct(
    id=T.StringType(),
    n=T.IntegerType(),
    items=T.ArrayType(struct(price=T.DecimalType(4, 1))),
    tags=T.MapType(T.StringType(), T.IntegerType()),
)


def read(given: DecodeSettings, value: dict[str, Any]) -> tuple[dict[str, object], list[Rejection]]:
    reader = Reader()
    return reader.struct(compile_schema(given), value, "$"), reader.faults


def test_the_tree_has_arrows_types() -> None:
    tree = pa.struct(
        [
            ("id", pa.string()),
            ("n", pa.int32()),
            ("items", pa.list_(pa.struct([("price", pa.decimal128(4, 1))]))),
            ("tags", pa.map_(pa.string(), pa.int32())),
        ]
    )
    assert compile_schema(settings(SCHEMA)).arrow == tree


def test_every_fault_is_found_with_its_place_and_the_first_reason_wins() -> None:
    value = {"n": Number("99999999999"), "items": [{"price": "1"}, Number("2")], "tags": {"secret": True}}
    _, faults = read(settings(SCHEMA, required=("id",)), value)
    assert faults == [
        Rejection(Reason.MISSING_REQUIRED, "$.id: missing"),
        Rejection(Reason.OUT_OF_RANGE, "$.n: expected int within its bounds"),
        Rejection(Reason.WRONG_TYPE, "$.items[0].price: expected decimal(4,1), found string"),
        Rejection(Reason.WRONG_TYPE, "$.items[1]: expected object, found number"),
        Rejection(Reason.WRONG_TYPE, "$.tags[*]: expected int, found boolean"),
    ]
    assert [Reader(faults[first:]).worst() for first in (0, 1, 2, 5)] == [faults[0], faults[2], faults[2], None]


def test_a_key_in_another_case_is_hinted_at_without_showing_it() -> None:
    _, faults = read(settings(SCHEMA, required=("id",)), {"ID": "x"})
    assert faults == [Rejection(Reason.MISSING_REQUIRED, "$.id: missing; a key differs in case only")]


def test_timestamps_are_said_for_all_or_by_column_and_hold_below_it() -> None:
    schema = struct(a=T.TimestampType(), b=T.ArrayType(T.TimestampType()))
    given = settings(schema, timestamps={"b": "epoch_ms"})
    value = {"a": "1970-01-01T00:00:00Z", "b": [Number("5")]}
    assert read(given, value) == ({"a": 0, "b": [5000]}, [])
    assert settings(schema, timestamps="epoch_s").times("a") == "epoch_s"


def test_kinds_are_jsons_words() -> None:
    values: list[object] = [True, Number("1"), "x", [], {}, None]
    assert [kind(value) for value in values] == ["boolean", "number", "string", "array", "object", "null"]


def test_a_document_is_an_object_with_one_field_as_a_text() -> None:
    reader, node = Reader(), Document("k", 3)
    values: dict[object, object] = {"a": "a", Number("7"): "7", Number("7.0"): None, Number("9" * 19): None, True: None}
    assert {value: reader.read(node, {"k": value}, "$.data") for value in values} == {
        value: {"text": None, "field": found} for value, found in values.items()
    }
    assert reader.read(node, {}, "$.data") == {"text": None, "field": None}
    assert reader.faults == []
    assert reader.read(node, [], "$.data") is None
    assert reader.faults == [Rejection(Reason.WRONG_TYPE, "$.data: expected object, found array")]
