from __future__ import annotations

import pyarrow as pa
import pytest
from _decoding import settings, struct
from pyspark.sql import types as T

from jobs.core.decode_fast import GROUP, FastPath, escaped_quotes, fast_path, levels, quotes, shaped
from jobs.core.decode_plan import DecodeSettings, compile_schema

PAIR = struct(s=T.StringType(), n=T.IntegerType())


def path(given: DecodeSettings) -> FastPath:
    found = fast_path(compile_schema(given), given)
    assert found
    return found


def run(found: FastPath, *values: bytes) -> tuple[list[int], list[int]]:
    """Which records were decoded, and which of those are in doubt."""
    fast = found(pa.array(values, pa.binary()))
    return fast.records, sorted(fast.doubtful)


def test_good_records_are_decoded_around_bad_ones_in_several_groups() -> None:
    values = [b'{"s":"a","n":%d}' % number for number in range(3 * GROUP)]
    values[5], values[GROUP], values[-1] = b'{"n":"x"}', b"5", b'{"s":'
    records, doubtful = run(path(settings(PAIR)), *values)
    assert (sorted({*range(3 * GROUP)} - {*records}), doubtful) == ([5, GROUP, 3 * GROUP - 1], [])


@pytest.mark.parametrize(
    "values",
    [
        [b'{"s":"', b'"}', b'{"s":"a"},{"s":"b"}'],
        [b'{"n":1}{"n":2}', b'{"s":', b'"x"}'],
        [b'{"n":1} {"n":2}', b"", b'{"n":3}'],
        [b'{"n":1}\n{"n":2}', b'{"s":"}', b'{"}'],
    ],
)
def test_records_that_only_together_look_like_as_many_are_not_mixed_up(values: list[bytes]) -> None:
    records, _ = run(path(settings(PAIR)), *values)
    assert [values[record] for record in records] == [value for value in values if value == b'{"n":3}']


@pytest.mark.parametrize(
    ("value", "doubtful"),
    [
        (b'{"s":"a","n":1}', []),
        (b'{"s" : "a","n"\t:1}', []),
        (b'{"n":1,"n":2}', [1]),
        (b'{"n" :1,"n" :2}', [1]),
        (b'{"n":1,"\\u006e":2}', [1]),
        (b'{"s":"\\"","n":1}', []),
        (b'{"s":"\\\\","s":"\\\\"}', [1]),
        (b'{"s":"a","more":{"b":["c"]}}', []),
        (b'{"s":"a","more":{"b":1,"b":2}}', [1]),
        (b'{"s":"a","more":' + b"[" * 63 + b"]" * 63 + b"}", []),
        (b'{"s":"a","more":' + b"[" * 64 + b"]" * 64 + b"}", [1]),
        (b'{"s":"\\u0000"}', [1]),
        (b'{"s":"\\ud83d\\ude00"}', [1]),
        (b'{"s":"\\\\ud83d"}', [1]),
        (b'{"s":"\\u00e9"}', []),
        (b'{"more":1}', []),
        (b"{}", [1]),
    ],
)
def test_what_msgspec_may_have_let_through_is_in_doubt(value: bytes, doubtful: list[int]) -> None:
    assert run(path(settings(PAIR)), b'{"s":"x"}', value, b'{"n":9}') == ([0, 1, 2], doubtful)


def test_unknown_fields_that_come_often_are_learnt_and_still_watched() -> None:
    found = path(settings(PAIR))
    first = [b'{"n":1,"channel":"web","meta":{"a":["b"]}}'] * 8
    assert (run(found, *first)[1], found.learnt) == ([], ["channel", "meta"])
    watched = [
        b'{"n":1,"channel":"a","channel":"b"}',
        b'{"meta":{"a":1,"a":2}}',
        b'{"meta":' + b"[" * 64 + b"]" * 64 + b"}",
    ]
    assert run(found, *first, *watched, b'{"channel":1e999}')[1] == [8, 9, 10]


def test_no_more_is_learnt_than_was_allowed() -> None:
    found = path(settings(PAIR))
    for number in range(50):
        run(found, *[b'{"n":1,"x%d":"a"}' % number] * 8)
    assert len(found.learnt) == 32


def test_there_is_no_fast_path_for_names_and_depths_that_it_cannot_have() -> None:
    quoted, deep = settings(struct(**{'a"b': T.IntegerType()})), settings(struct(a=T.ArrayType(PAIR)), max_depth=2)
    assert [fast_path(compile_schema(given), given) for given in (quoted, deep)] == [None, None]
    assert levels(compile_schema(deep)) == 3


def test_records_are_freed_from_the_space_around_and_others_left_out() -> None:
    texts, records = shaped(pa.array([b"{}", b" {}\r\n", b"[]", b"\xff", b""]))
    assert (texts.to_pylist(), records) == (["{}", "{}"], [0, 1])


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        (b'""', 0),
        (rb'"\""', 1),
        (rb'"\\"', 0),
        (rb'"\\\""', 1),
        (rb'"\\\\"', 0),
        (rb'"\n\"\\\"x\\"', 2),
        (rb'"\u0022"', 0),
    ],
)
def test_escaped_quotes_are_told_from_those_that_end_a_string(text: bytes, escaped: int) -> None:
    assert (escaped_quotes(text), quotes(text)) == (escaped, 2)
