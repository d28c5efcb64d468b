"""Records -> DECODED: bytes in; columns, or a reason, out. Nothing stops a batch, nothing is let through in silence.

RECORDS  key BINARY, value BINARY, headers ARRAY<STRUCT<key, value>>, topic, partition, offset, timestamp
DECODED  the event's columns, `_topic, _partition, _offset, _timestamp`, `_reason, _detail` (null for a good record),
         and `_key, _value, _headers`, byte for byte (null for a good record, unless they are to be kept)

A format is a `Decoder` (`core.decode_rows`); tombstones, size, the future, and what a rejected record carries are the
same for all. What is accepted stands in `core.decode_json` and `core.decode_text`. Details never hold a payload's values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache, partial
from typing import NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.core import decode_avro, decode_json, decode_text, told
from jobs.core.decode_columns import rows_where
from jobs.core.decode_plan import Aside, Rejection
from jobs.core.decode_plan import DecodeSettings as DecodeSettings
from jobs.core.decode_rows import Decoded, Decoder
from jobs.core.decode_scalars import now_micros
from jobs.core.events import reading
from jobs.core.reasons import Apart, Reason
from jobs.core.workers import in_worker

FORMATS: dict[str, Callable[[DecodeSettings], Decoder]] = {
    "json": decode_json.decoder,
    "csv": decode_text.csv_decoder,
    "raw": decode_text.raw_decoder,
    "avro": decode_avro.decoder,
    "event": reading.decoder,
}
PLACE = ("topic", "partition", "offset", "timestamp")
RECORD = ("key", "value", "headers")
HEADERS = T.ArrayType(T.StructType([T.StructField("key", T.StringType()), T.StructField("value", T.BinaryType())]))
TECHNICAL = {
    "_topic": T.StringType(),
    "_partition": T.IntegerType(),
    "_offset": T.LongType(),
    "_timestamp": T.TimestampType(),
    "_reason": T.StringType(),
    "_detail": T.StringType(),
    "_key": T.BinaryType(),
    "_value": T.BinaryType(),
    "_headers": HEADERS,
}


W = TypeVar("W", Rejection, Aside)


class BatchDecoder(NamedTuple):
    """A format's decoder, with what holds for all formats."""

    settings: DecodeSettings
    read: Decoder
    latest: int  # microseconds since 1970: an event after this is in the future
    keep_raw: bool = False
    watermark: int | None = None  # microseconds since 1970: an event that is not after this is late


def decode(records: DataFrame, settings: DecodeSettings, now: datetime | None, keep_raw: bool = False) -> DataFrame:
    """RECORDS -> DECODED; an event may be `max_future` after `now`, which a query's plan is told by each of its batches.

    Headers travel through Python as JSON text: for a list column Spark measures an Arrow batch anew at each of its rows.
    """
    run = partial(decode_batches, settings=settings, now=now, keep_raw=keep_raw)
    sent = records.select("key", "value", F.to_json("headers").alias("headers"), *PLACE)
    schema = decoded_schema(settings)
    travelling = T.StructType([T.StructField(f.name, T.StringType()) if f.name == "_headers" else f for f in schema])
    return sent.mapInArrow(run, travelling).withColumn("_headers", F.from_json("_headers", HEADERS))


def decoded_schema(settings: DecodeSettings) -> T.StructType:
    """DECODED for these settings, every column nullable."""
    event = [T.StructField(given.name, nullable(given.dataType)) for given in settings.schema.fields]
    return T.StructType(event + [T.StructField(name, kind) for name, kind in TECHNICAL.items()])


def nullable(given: T.DataType) -> T.DataType:
    """The same type, with null allowed everywhere in it."""
    if isinstance(given, T.StructType):
        return T.StructType([T.StructField(known.name, nullable(known.dataType)) for known in given.fields])
    if isinstance(given, T.ArrayType):
        return T.ArrayType(nullable(given.elementType))
    return T.MapType(given.keyType, nullable(given.valueType)) if isinstance(given, T.MapType) else given


@in_worker
def decode_batches(
    batches: Iterable[pa.RecordBatch], settings: DecodeSettings, now: datetime | None, keep_raw: bool = False
) -> Iterator[pa.RecordBatch]:
    """What runs in the executors."""
    decoder = batch_decoder(settings, now, keep_raw)
    return (decode_batch(batch, decoder) for batch in batches)


def batch_decoder(settings: DecodeSettings, now: datetime | None, keep_raw: bool = False) -> BatchDecoder:
    now, watermark = (now, None) if now else told.heard()
    latest = now_micros(now) + int(settings.max_future * 1_000_000)
    return BatchDecoder(settings, format_decoder(settings), latest, keep_raw, (watermark or 0) * 1_000 or None)


@lru_cache(maxsize=8)
def format_decoder(settings: DecodeSettings) -> Decoder:
    """Built once a process. Raises ValueError for a format or a type that is not known."""
    if settings.format not in FORMATS:
        raise ValueError(f"format {settings.format}: one of {', '.join(FORMATS)}")
    return FORMATS[settings.format](settings)


def decode_batch(batch: pa.RecordBatch, decoder: BatchDecoder) -> pa.RecordBatch:
    """One Arrow batch of RECORDS -> the same records as DECODED, in the same order."""
    values = batch.column("value")
    early = tombstones_and_giants(values, decoder.settings.max_record_bytes)
    found = _expanded(decoder.read(_without(values, early)), early, len(values))
    early_or_late = (future(found, decoder.settings, decoder.latest), late(found, decoder.settings, decoder.watermark))
    untimely: dict[int, Rejection | Aside] = {row: why for each in early_or_late for row, why in each.items()}
    rejected = {**found.rejected, **untimely}
    rows = _rows(found, untimely)
    event = found.columns if rows is None else [column.take(rows) for column in found.columns]
    names = [*decoder.settings.schema.names, *TECHNICAL]
    place = [batch.column(name) for name in PLACE]
    ours = [*_faults(rejected, len(values)), *_record(batch, rejected, decoder)]
    return pa.RecordBatch.from_arrays([*event, *place, *ours], names)


def tombstones_and_giants(values: pa.Array, most: int) -> dict[int, Rejection]:
    """The records that no decoder has to see."""
    found: dict[int, Rejection] = {}
    if values.null_count:
        found = {row: Rejection(Reason.TOMBSTONE, "null value") for row in rows_where(values.is_null())}
    longest = pc.max(pc.binary_length(values)).as_py() or 0
    if longest > most:
        too_long = rows_where(pc.greater(pc.binary_length(values), most))
        found |= {row: Rejection(Reason.TOO_LARGE, f"longer than {most} bytes") for row in too_long}
    return found


def future(found: Decoded, settings: DecodeSettings, latest: int) -> dict[int, Rejection]:
    """The records whose event time is after the latest allowed."""
    times = _times(found, settings)
    newest = None if times is None else pc.max(times).as_py()
    if newest is None or newest <= latest:
        return {}
    detail = f"$.{settings.event_time}: more than {settings.max_future:g} s in the future"[:200]
    return _at(found, pc.greater(times, latest), Rejection(Reason.FUTURE, detail))


def late(found: Decoded, settings: DecodeSettings, watermark: int | None) -> dict[int, Aside]:
    """The records whose event time is not after the watermark, if there is one."""
    times = _times(found, settings) if watermark is not None else None
    oldest = None if times is None else pc.min(times).as_py()
    if oldest is None or watermark is None or oldest > watermark:
        return {}
    detail = f"{settings.event_time}: {settings.max_lateness or 0:g} s or more behind the newest event"
    return _at(found, pc.less_equal(times, watermark), Aside(Apart.LATE, detail))


def _times(found: Decoded, settings: DecodeSettings) -> pa.Array | None:
    """In microseconds since 1970."""
    if settings.event_time is None:
        return None
    return found.columns[settings.schema.names.index(settings.event_time)].cast(pa.int64())


def _at(found: Decoded, mask: pa.Array, why: W) -> dict[int, W]:
    """By record, where the mask is true for its row."""
    wrong = {*rows_where(mask)}
    places = range(len(mask)) if found.places is None else found.places
    return {row: why for row, place in enumerate(places) if place in wrong}


def _without(values: pa.Array, early: dict[int, Rejection]) -> pa.Array:
    return values.filter(pa.array([row not in early for row in range(len(values))], pa.bool_())) if early else values


def _expanded(found: Decoded, early: dict[int, Rejection], count: int) -> Decoded:
    """As if the decoder had seen those records too, and rejected them."""
    if not early:
        return found
    seen = [row for row in range(count) if row not in early]
    places: list[int | None] = [None] * count
    for row, place in zip(seen, range(len(seen)) if found.places is None else found.places):
        places[row] = place
    return Decoded(found.columns, places, {**early, **{seen[row]: why for row, why in found.rejected.items()}})


def _rows(found: Decoded, untimely: Collection[int]) -> pa.Array | None:
    """Where each record's row is, null where it was rejected; None if they are all in their places."""
    if found.places is None and not untimely:
        return None
    places = list(range(len(found.columns[0]))) if found.places is None else found.places
    return pa.array(
        [None if record in untimely else row for record, row in enumerate(places)] if untimely else places, pa.int64()
    )


def _faults(rejected: Mapping[int, Rejection | Aside], count: int) -> list[pa.Array]:
    if not rejected:
        return [pa.nulls(count, pa.string())] * 2
    found = [rejected.get(row) for row in range(count)]
    reasons = pa.array([fault and fault.reason.value for fault in found], pa.string())
    return [reasons, pa.array([fault and fault.detail for fault in found], pa.string())]


def _record(batch: pa.RecordBatch, rejected: Collection[int], decoder: BatchDecoder) -> list[pa.Array]:
    """Key, value and headers: of the rejected records, or of all."""
    given = [batch.column(name) for name in RECORD]
    if decoder.keep_raw:
        return given
    if not rejected:
        return [pa.nulls(len(batch), column.type) for column in given]
    rows = pa.array([row if row in rejected else None for row in range(len(batch))], pa.int64())
    return [column.take(rows) for column in given]
