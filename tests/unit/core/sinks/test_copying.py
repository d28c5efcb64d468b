from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from chispa import assert_df_equality
from pyspark.sql import DataFrame

from jobs.core.sinks.copying import portable, send


class FakeCursor:
    """Remembers what was copied."""

    def __init__(self) -> None:
        self.copied: list[tuple[str, str]] = []

    def copy_expert(self, statement: str, buffer: Any, size: int) -> None:
        self.copied.append((statement, buffer.read().decode()))


def test_binary_becomes_hex_and_nested_columns_json(rows: Callable[..., DataFrame]) -> None:
    given = rows(
        "b BINARY, a ARRAY<INT>, m MAP<STRING, INT>, s STRUCT<x: INT>, t STRING",
        (b"\x00\xff", [1, None], {"k": 1}, (2,), "\\x"),
        (None, None, None, None, None),
    )
    expected = rows(
        "b STRING, a STRING, m STRING, s STRING, t STRING",
        ("\\x00FF", "[1,null]", '{"k":1}', '{"x":2}', "\\x"),
        (None, None, None, None, None),
    )
    assert_df_equality(portable(given), expected, ignore_nullable=True)


def test_a_null_is_an_empty_field_and_an_empty_text_a_quoted_one() -> None:
    cursor: Any = FakeCursor()
    send(cursor, "COPY", pa.table({"t": ["a", None, "", 'q"\n,'], "n": pa.array([1, None, 3, 4], pa.int64())}))
    assert cursor.copied == [("COPY", '"a",1\n,\n"",3\n"q""\n,",4\n')]
