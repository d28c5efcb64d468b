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
PLAIN = (NumericType,)
NESTED = (ArrayType, MapType, StructType)
UTC = ("UTC", "Etc/UTC", "GMT", "Z", "+00:00")
ZONED = "yyyy-MM-dd HH:mm:ss.SSSSSSXXX"


def line(rows: DataFrame) -> Column:
    """All columns of a row, in their order, with a line feed."""
    zone = str(rows.sparkSession.conf.get("spark.sql.session.timeZone"))
    fields = [F.coalesce(_text(F.col(f"`{one.name}`"), one.dataType, zone), F.lit("")) for one in rows.schema]
    return F.concat(F.concat_ws(",", *fields), F.lit("\n")).alias(LINE)


def _text(column: Column, kind: DataType, zone: str) -> Column:
    if isinstance(kind, BinaryType):
        return F.concat(F.lit("\\x"), F.hex(column))
    if isinstance(kind, TimestampType):
        return F.concat(column.cast("string"), F.lit("+00")) if zone in UTC else F.date_format(column, ZONED)
    text = F.to_json(column) if isinstance(kind, NESTED) else column.cast("string")
    return text if isinstance(kind, PLAIN) else _quoted(text)


def _quoted(text: Column) -> Column:
    return F.concat(F.lit('"'), F.replace(text, F.lit('"'), F.lit('""')), F.lit('"'))


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
