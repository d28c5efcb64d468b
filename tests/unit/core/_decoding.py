"""Records in and DECODED out, without Spark."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
from pyspark.sql import types as T

from jobs.core.decode import DecodeSettings, batch_decoder, decode_batch, format_decoder
from jobs.core.decode_plan import Rejection
from jobs.core.decode_rows import Chunked

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
HEADERS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
Value = "bytes | None"


def struct(**columns: T.DataType) -> T.StructType:
    return T.StructType([T.StructField(name, kind) for name, kind in columns.items()])


ORDER = struct(
    order_id=T.StringType(),
    quantity=T.IntegerType(),
    amount=T.DecimalType(10, 2),
    ordered_at=T.TimestampType(),
    order_date=T.DateType(),
)


def settings(schema: T.StructType = ORDER, format: str = "json", **changed: Any) -> DecodeSettings:
    return DecodeSettings(format=format, schema=schema, **changed)


def records(*values: bytes | None) -> pa.RecordBatch:
    """RECORDS: keys k0, k1, ..., a header each, one partition."""
    count = range(len(values))
    columns = {
        "key": pa.array([f"k{row}".encode() for row in count], pa.binary()),
        "value": pa.array(values, pa.binary()),
        "headers": pa.array([[{"key": "h", "value": f"v{row}".encode()}] for row in count], HEADERS),
        "topic": pa.array(["orders" for _ in count], pa.string()),
        "partition": pa.array([3 for _ in count], pa.int32()),
        "offset": pa.array(list(count), pa.int64()),
        "timestamp": pa.array([0 for _ in count], pa.timestamp("us", "UTC")),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def decoded(given: DecodeSettings, *values: bytes | None, keep_raw: bool = False) -> list[dict[str, Any]]:
    """DECODED, as rows."""
    rows: list[dict[str, Any]] = decode_batch(records(*values), batch_decoder(given, NOW, keep_raw)).to_pylist()
    return rows


def events(given: DecodeSettings, *values: bytes | None) -> list[dict[str, Any] | tuple[str, str]]:
    """For each record its event, or (reason, detail)."""
    return [
        (row["_reason"], row["_detail"]) if row["_reason"] else {name: row[name] for name in given.schema.names}
        for row in decoded(given, *values)
    ]


def reasons(given: DecodeSettings, *values: bytes | None) -> list[str | None]:
    return [row["_reason"] for row in decoded(given, *values)]


def ways(given: DecodeSettings, *values: bytes) -> tuple[list[object], list[object]]:
    """What the decoder makes of each value, and what it makes of them without its fast path."""
    decoder = format_decoder(given)
    assert isinstance(decoder, Chunked) and decoder.fast
    return _outcomes(decoder, *values), _outcomes(Chunked(decoder.plan, None, decoder.examine), *values)


def _outcomes(decoder: Chunked, *values: bytes) -> list[object]:
    found = decoder(pa.array(values, pa.binary()))
    places = pa.array(range(len(values)) if found.places is None else found.places, pa.int64())
    columns = [column.take(places).cast(_plain(column.type)).to_pylist() for column in found.columns]
    rows: list[object] = list(zip(*columns))
    return [found.rejected.get(row, event) for row, event in enumerate(rows)]


def _plain(kind: pa.DataType) -> pa.DataType:
    """Times as integers: Python has no year 0, and floats that compare are enough."""
    return pa.int64() if pa.types.is_timestamp(kind) else pa.int32() if pa.types.is_date(kind) else kind


def rejected_as(found: object) -> str | None:
    return found.reason.value if isinstance(found, Rejection) else None
