from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.core.session import overridden
from jobs.core.sinks.lines import joined, line

WHEN = datetime(2026, 1, 5, 10, 0, 0, 120_000)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("STRING", 'q"uo,te\n', '"q""uo,te\n"'),
        ("STRING", "", '""'),
        ("STRING", "\\x", '"\\x"'),
        ("INT", -1, "-1"),
        ("DECIMAL(38,4)", Decimal("99999999999999999999999999999999.1234"), "99999999999999999999999999999999.1234"),
        ("DECIMAL(10,8)", Decimal("0.00000001"), "0.00000001"),
        ("DOUBLE", float("nan"), "NaN"),
        ("DOUBLE", float("-inf"), "-Infinity"),
        ("DOUBLE", 1e20, "1.0E20"),
        ("BOOLEAN", True, '"true"'),
        ("DATE", date(2026, 1, 5), '"2026-01-05"'),
        ("TIMESTAMP", WHEN, "2026-01-05 10:00:00.12+00"),
        ("TIMESTAMP_NTZ", WHEN, '"2026-01-05 10:00:00.12"'),
        ("BINARY", b"\x00\xff", "\\x00FF"),
        ("BINARY", b"", "\\x"),
        ("ARRAY<INT>", [1, None], '"[1,null]"'),
        ("MAP<STRING, INT>", {"k": 1}, '"{""k"":1}"'),
        ("STRUCT<x: INT>", (2,), '"{""x"":2}"'),
    ],
)
def test_each_type_as_copy_reads_it(
    spark: SparkSession, rows: Callable[..., DataFrame], kind: str, value: object, expected: str
) -> None:
    given = rows(f"a INT, `b.c` {kind}, d STRING", (1, value, None), (None, None, "z"))
    found = given.select(line(given))
    assert_df_equality(found, rows("line STRING", (f"1,{expected},\n",), (',,"z"\n',)), ignore_nullable=True)


def test_a_timestamp_has_its_zone_whatever_the_session_s_is(
    spark: SparkSession, rows: Callable[..., DataFrame]
) -> None:
    given = rows("t TIMESTAMP", (WHEN,))
    with overridden(spark, "spark.sql.session.timeZone", "Asia/Kolkata"):
        (found,) = given.select(line(given)).collect()
    assert found["line"] == "2026-01-05 15:30:00.120000+05:30\n"


@pytest.mark.parametrize(
    "lines",
    [
        pa.array(["aä\n", "b\n", ""]),
        pa.array(["x\n", "aä\n", "b\n", "y\n"]).slice(1, 2),
        pa.chunked_array([["aä\n"], ["b\n"]]),
        pa.chunked_array([pa.array(["x\n", "aä\n"]).slice(1), pa.array([], pa.string()), pa.array(["b\n"])]),
    ],
    ids=["whole", "a part", "chunks", "parts of chunks"],
)
def test_bytes_of_lines_one_after_the_other(lines: pa.Array) -> None:
    assert joined(lines).to_pybytes() == "aä\nb\n".encode()
    assert joined(lines.slice(0, 0)).to_pybytes() == b""
