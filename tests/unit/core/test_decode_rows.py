from __future__ import annotations

import pyarrow as pa
import pytest
from _decoding import settings, struct
from pyspark.sql import types as T

from jobs.core import decode_rows
from jobs.core.decode_plan import Rejection, compile_schema
from jobs.core.decode_rows import Chunked, Decoded, Fast, Row, chunks
from jobs.core.reasons import Reason

PLAN = compile_schema(settings(struct(v=T.StringType())))
BAD = Rejection(Reason.MALFORMED, "no")


def examine(value: bytes) -> Row | Rejection:
    return BAD if value == b"bad" else {"v": f"examined {value.decode()}"}


def quick(values: pa.Array) -> Fast:
    """Decodes all but what begins with b, and doubts what begins with d."""
    texts = values.cast(pa.string()).to_pylist()
    records = [row for row, text in enumerate(texts) if text[0] != "b"]
    doubtful = frozenset(row for row in records if texts[row][0] == "d")
    return Fast([pa.array([texts[row] for row in records], pa.string())], records, doubtful)


def rows(found: Decoded) -> list[str | None]:
    places = range(len(found.columns[0])) if found.places is None else found.places
    return [None if place is None else found.columns[0][place].as_py() for place in places]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_each_record_has_its_own_row_whatever_the_chunks(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_rows, "CHUNK_ROWS", size)
    found = Chunked(PLAN, quick, examine)(pa.array([b"a", b"bad", b"c", b"d", b"bx", b"bad", b"e"]))
    assert rows(found) == ["a", None, "c", "examined d", "examined bx", None, "e"]
    assert found.rejected == {1: BAD, 5: BAD}


def test_all_good_and_none_at_all() -> None:
    decoder = Chunked(PLAN, quick, examine)
    assert (rows(decoder(pa.array([b"a", b"c"]))), decoder(pa.array([b"a", b"c"])).places) == (["a", "c"], None)
    assert rows(decoder(pa.array([], pa.binary()))) == []


def test_large_records_come_in_small_chunks() -> None:
    values = pa.array([b"x" * 100] * 10)
    assert [len(chunk) for chunk in chunks(values, 4, 1 << 20)] == [4, 4, 2]
    assert [len(chunk) for chunk in chunks(values, 4, 250)] == [2] * 5
    assert [len(chunk) for chunk in chunks(values, 4, 1)] == [1] * 10
