from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa
from _decoding import settings, struct
from pyspark.sql import types as T

from jobs.core.decode_build import StructBuilder, add, builder, measure, struct_builder
from jobs.core.decode_plan import Document, compile_schema

NESTED = struct(
    s=T.StringType(),
    d=T.DecimalType(4, 1),
    o=struct(x=T.StringType(), y=T.ArrayType(T.StringType())),
    m=T.MapType(T.StringType(), T.DecimalType(4, 1)),
)


def build(schema: T.StructType, *values: bytes, learnt: tuple[str, ...] = ()) -> tuple[list[Any], list[int], list[int]]:
    """Columns, strings and bad rows of records."""
    builder: StructBuilder = struct_builder(compile_schema(settings(schema)), (1970, 2200), learnt, 3)
    decoder = msgspec.json.Decoder(builder.type)
    arrays, strings, bad = builder.columns([decoder.decode(value) for value in values])
    each = strings.to_pylist() if isinstance(strings, pa.Array) else [strings] * len(values)
    return [array.to_pylist() for array in arrays], each, bad


def test_absent_null_and_empty_are_built_and_their_strings_counted() -> None:
    values = [b"{}", b'{"s":null,"d":null,"o":null,"m":null}', b'{"s":"","o":{"y":[]},"m":{}}']
    columns, strings, bad = build(NESTED, *values)
    assert columns == [[None, None, ""], [None] * 3, [None, None, {"x": None, "y": []}], [None, None, []]]
    assert ([value.count(b'"') // 2 for value in values], bad) == (strings, [])


def test_nested_strings_and_keys_are_counted_row_by_row() -> None:
    values = [b'{"o":{"x":"a","y":["b",null,"c"]},"m":{"k":1,"l":null}}', b'{"o":{"y":["d"]}}', b'{"m":{"k":"1"}}']
    columns, strings, bad = build(NESTED, *values)
    assert columns[2] == [{"x": "a", "y": ["b", None, "c"]}, {"x": None, "y": ["d"]}, None]
    assert (strings, bad) == ([9, 3, 2], [2])  # "1" is no number


def test_a_required_number_that_is_null_is_bad() -> None:
    schema = T.StructType([T.StructField("d", T.DecimalType(4, 1), nullable=False)])
    assert build(schema, b'{"d":1}', b'{"d":null}')[2] == [1]


def test_learnt_fields_are_counted_and_what_is_too_deep_stands_out() -> None:
    values = [b'{"x":"a"}', b'{"x":1}', b'{"x":{"k":["b"]}}', b'{"x":[[[["b"]]]]}', b'{"s":"a"}']
    assert build(struct(s=T.StringType()), *values, learnt=("x",))[1] == [2, 1, 3, -1, 2]


def test_a_document_keeps_its_text_and_one_field_and_counts_its_strings() -> None:
    texts = ['{"k": "a",  "x": "b"}', '{"k": 7}', '{"k": 1.0, "x": {"y": ["c"]}}', '{"x": [[1]]}', "[]", "null"]
    made = builder(Document("k", 3), (1970, 2200))
    array, bad, strings = made.build([msgspec.Raw(text.encode()) for text in texts])
    assert [row["text"] for row in array.to_pylist()] == texts
    assert [row["field"] for row in array.to_pylist()] == ["a", "7", None, None, None, None]
    assert (bad, strings.to_pylist()) == ([4, 5], [4, 1, 4, 1, 0, 0])


def test_a_document_that_is_too_deep_stands_out() -> None:
    made = builder(Document("k", 2), (1970, 2200))
    values = [msgspec.Raw(text) for text in (b'{"x":[1]}', b'{"x":[[1]]}', b"{}")]
    assert made.build(values).strings.to_pylist() == [1, -1, 0]


def test_strings_add_up_for_all_rows_alike_and_row_by_row() -> None:
    assert (add(1, 2), add(1, pa.array([1, 2])).to_pylist()) == (3, [2, 3])


def test_a_tree_is_measured() -> None:
    assert [measure([value]) for value in (1, "a", {"a": ["b", {"c": 1}]}, [[[]]])] == [(0, 0), (1, 0), (3, 3), (0, 3)]
