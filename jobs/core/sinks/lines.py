"""Rows as lines of CSV for PostgreSQL's COPY, made by Spark's own expressions; Python only passes the bytes on.

A null is an empty field, text is always quoted, binary is PostgreSQL's hex, nested columns are JSON, timestamps have their
zone, and anything else is as Spark writes it in a cast.
"""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, BinaryType, DataType, MapType, NumericType, StructType, TimestampType

LINE = "line"
NESTED = (ArrayType, MapType, StructType)
UTC = ("UTC", "Etc/UTC", "GMT", "Z", "+00:00")
ZONED = "yyyy-MM-dd HH:mm:ss.SSSSSSXXX"


def line(rows: DataFrame) -> Column:
    """All columns of a row, in their order, with a line feed: one expression, as each call into the JVM takes its time.

    And one concatenation of all parts, as each one inside another would copy what it has.
    """
    zone = str(rows.sparkSession.conf.get("spark.sql.session.timeZone"))
    fields = [_parts(_named(one.name), one.dataType, zone) for one in rows.schema]
    parts = [part for field in fields for part in ("','", *field)]
    return F.expr(f"concat({', '.join(parts[1:])}, char(10))").alias(LINE)


def _parts(column: str, kind: DataType, zone: str) -> list[str]:
    """SQL for what follows one another in a field; of a null, all of it is empty."""
    before, text, after = _text(column, kind, zone)
    first, last = ([f"nvl2({column}, {part}, '')"] if part else [] for part in (before, after))
    return [*first, f"coalesce({text}, '')", *last]


def _text(column: str, kind: DataType, zone: str) -> tuple[str, str, str]:
    """SQL for a field, and for what stands before and after it."""
    if isinstance(kind, BinaryType):
        return "concat(char(92), 'x')", f"hex({column})", ""
    if isinstance(kind, TimestampType):
        in_utc = "", f"CAST({column} AS STRING)", "'+00'"
        return in_utc if zone in UTC else ("", f"date_format({column}, '{ZONED}')", "")
    text = f"to_json({column})" if isinstance(kind, NESTED) else f"CAST({column} AS STRING)"
    quote = """'"'"""
    return ("", text, "") if isinstance(kind, NumericType) else (quote, f"""replace({text}, '"', '""')""", quote)


def _named(column: str) -> str:
    return "`" + column.replace("`", "``") + "`"


def joined(lines: pa.Array | pa.ChunkedArray) -> pa.Buffer:
    """Their bytes, one after the other; a single array's lie so already, and are not copied."""
    if isinstance(lines, pa.ChunkedArray):
        return pa.py_buffer(b"".join(memoryview(joined(chunk)) for chunk in lines.chunks))
    if not len(lines):
        return pa.py_buffer(b"")
    assert pa.types.is_string(lines.type) and not lines.null_count, "lines are text, all of them there"
    _, ends, text = lines.buffers()
    first, last = (
        int.from_bytes(ends[4 * at : 4 * at + 4].to_pybytes(), "little")
        for at in (lines.offset, lines.offset + len(lines))
    )
    return text.slice(first, last - first)
