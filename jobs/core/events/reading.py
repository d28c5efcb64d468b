"""Records -> INCOMING: both shapes of an event (`core.events.rendering`), as strictly as `core.decode_json` reads JSON.

INCOMING  stream_id STRING, stream_version BIGINT, expected_version BIGINT, event_id STRING, event_type STRING,
          schema_version INT, data STRING, metadata MAP<STRING, STRING>, occurred_at TIMESTAMP

Each field is the envelope's where it is there, else the short shape's:

    occurred_at     RFC 3339; else `timestamp`, epoch seconds
    stream_id       a string; else the field of `data` that is configured, a string or a whole number
    schema_version  1 and more; else 1
    data            an object, kept as the text that it was; no column's type is asked of its fields

`stream_version`, where the writer knows it, begins with 1; `expected_version`, where it insists on the version that the
stream had before, with 0: a new stream. The values of `metadata` are strings. Fields of other names are let through, and not
kept. Where some fields of `data` are personal, they come in columns of their own (`core.events.personal`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import types as T

from jobs.core.decode_columns import rows_where
from jobs.core.decode_fast import fast_path
from jobs.core.decode_json import JsonReader
from jobs.core.decode_plan import DecodeSettings, Document, Field, Rejection, Struct, compile_schema
from jobs.core.decode_rows import Chunked, Decoded, Row
from jobs.core.events.envelope import FIRST_SCHEMA, Envelope
from jobs.core.events.personal import PERSONAL, SUBJECT, Split
from jobs.core.reasons import Reason

FORMAT = "event"
FROM = "data_field"  # in the metadata of the column stream_id
SPLIT = "split"  # in that of PERSONAL, as JSON
TEXTS = T.MapType(T.StringType(), T.StringType())
WIRE = {
    "event_type": T.StringType(),
    "timestamp": T.TimestampType(),
    "occurred_at": T.TimestampType(),
    "stream_id": T.StringType(),
    "stream_version": T.LongType(),
    "expected_version": T.LongType(),
    "event_id": T.StringType(),
    "schema_version": T.IntegerType(),
    "metadata": TEXTS,
}
INCOMING = {
    "stream_id": T.StringType(),
    "stream_version": T.LongType(),
    "expected_version": T.LongType(),
    "event_id": T.StringType(),
    "event_type": T.StringType(),
    "schema_version": T.IntegerType(),
    "data": T.StringType(),
    "metadata": TEXTS,
    "occurred_at": T.TimestampType(),
}
LOWEST = {"schema_version": 1, "stream_version": 1, "expected_version": 0}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def incoming(stream_field: str, split: Split | None = None) -> T.StructType:
    """INCOMING, with the field of `data` that names a stream; and SUBJECT, PERSONAL where they are to be split off."""
    more = {"stream_id": {FROM: stream_field}, PERSONAL: {SPLIT: json.dumps(split)}}
    kinds = {**INCOMING, SUBJECT: T.StringType(), PERSONAL: T.StringType()} if split else INCOMING
    return T.StructType([T.StructField(name, kind, True, more.get(name)) for name, kind in kinds.items()])


def settings(stream_field: str, **changed: Any) -> DecodeSettings:
    """How events are decoded; what else `core.decode` can be told."""
    return DecodeSettings(FORMAT, incoming(stream_field), **changed)


def decoder(given: DecodeSettings) -> EventDecoder:
    """Raises KeyError for a schema that is none of `incoming`."""
    field = given.schema["stream_id"].metadata[FROM]
    wire = _wire(given)
    plan = Struct((*compile_schema(wire).fields, _data(field, given.max_depth)), False, pa.null())
    split = Split.parse(given.schema[PERSONAL].metadata[SPLIT]) if PERSONAL in given.schema.names else None
    return EventDecoder(Chunked(plan, fast_path(plan, wire), Careful(JsonReader(wire, plan))), field, split)


def read(values: Sequence[bytes | None], decoder: EventDecoder) -> list[Envelope | Rejection]:
    """Many records at once, outside of Spark; a null value is a TOMBSTONE."""
    given = [value for value in values if value is not None]
    found = decoder(pa.array(given, pa.binary()))
    rows = [column.to_pylist() for column in _as_python(found.columns)]
    places = range(len(given)) if found.places is None else found.places
    outcomes = iter(
        found.rejected[record] if place is None else _envelope(*(column[place] for column in rows))
        for record, place in enumerate(places)
    )
    return [Rejection(Reason.TOMBSTONE, "null value") if value is None else next(outcomes) for value in values]


def unfit(value: bytes, decoder: EventDecoder) -> str | None:
    """Why no reader takes a record that is about to be written, if so; for one at a time."""
    row = decoder.wire.examine(value)
    if isinstance(row, Rejection):
        return f"{row.reason.value}: {row.detail}"
    low = [name for name, least in LOWEST.items() if (row.get(name) or least) < least]  # type: ignore[operator]
    return f"{low[0]}: at least {LOWEST[low[0]]}" if low else None if row["event_type"] else "event_type: empty"


class EventDecoder(NamedTuple):
    """The decoder of a job (`core.decode_rows.Decoder`)."""

    wire: Chunked
    stream_field: str
    split: Split | None = None

    def __call__(self, values: pa.Array) -> Decoded:
        found = self.wire(values)
        given = dict(zip((known.name for known in self.wire.plan.fields), found.columns))
        data = given["data"]
        given["stream_id"] = pc.coalesce(given["stream_id"], pc.struct_field(data, "field"))
        given["occurred_at"] = pc.coalesce(given["occurred_at"], given["timestamp"])
        given["schema_version"] = pc.fill_null(given["schema_version"], FIRST_SCHEMA)
        given["data"] = pc.struct_field(data, "text")
        given |= self.split(given["data"], given["stream_id"]) if self.split else {}
        columns = [given[name] for name in (*INCOMING, *((SUBJECT, PERSONAL) if self.split else ()))]
        return _without(Decoded(columns, found.places, found.rejected), self._faults(given))

    def _faults(self, given: dict[str, pa.Array]) -> dict[int, Rejection]:
        """Of rows that are good by themselves; the first reason that fits."""
        found: dict[int, Rejection] = {}
        for name, least in LOWEST.items():
            detail = f"$.{name}: less than {least}"
            found |= dict.fromkeys(_where(pc.less(given[name], least)), Rejection(Reason.OUT_OF_RANGE, detail))
        missing = {
            "occurred_at": (pc.is_null(given["occurred_at"]), "$.occurred_at, $.timestamp: missing"),
            "stream_id": (_blank(given["stream_id"]), f"$.stream_id, $.data.{self.stream_field}: no text, no integer"),
            "event_type": (_blank(given["event_type"]), "$.event_type: empty"),
        }
        if self.split:
            of_nobody = pc.and_(given[PERSONAL].is_valid(), _blank(given[SUBJECT]))
            missing[SUBJECT] = (of_nobody, f"{self.split.place}: no text, no integer, and there are personal fields")
        for mask, detail in missing.values():
            found |= dict.fromkeys(_where(mask), Rejection(Reason.MISSING_REQUIRED, detail[:200]))
        return found


@dataclass(frozen=True)
class Careful:
    """One record, with the text of `data` as it was written."""

    reader: JsonReader

    def __call__(self, value: bytes) -> Row | Rejection:
        row = self.reader(value)
        if isinstance(row, Rejection):
            return row
        written = msgspec.json.decode(value, type=Written).data
        return {**row, "data": {**row["data"], "text": bytes(written).decode()}}  # type: ignore[dict-item]


class Written(msgspec.Struct):
    data: msgspec.Raw


def _wire(given: DecodeSettings) -> DecodeSettings:
    schema = T.StructType([T.StructField(name, kind) for name, kind in WIRE.items()])
    return replace(given, schema=schema, required=("event_type",), timestamps={"timestamp": "epoch_s"})


def _data(stream_field: str, max_depth: int) -> Field:
    return Field("data", Document(stream_field, max_depth - 1), required=True, present=True, nullable=False)


def _blank(texts: pa.Array) -> pa.Array:
    return pc.fill_null(pc.equal(texts, ""), True)


def _where(mask: pa.Array) -> Iterable[int]:
    return rows_where(pc.fill_null(mask, False)) if pc.any(mask).as_py() else ()


def _without(found: Decoded, faults: dict[int, Rejection]) -> Decoded:
    """The same, some of its rows rejected after all."""
    if not faults:
        return found
    places = list(range(len(found.columns[0]))) if found.places is None else found.places
    rejected = {record: faults[place] for record, place in enumerate(places) if place in faults}
    kept = [None if place in faults else place for place in places]
    return Decoded(found.columns, kept, {**found.rejected, **rejected})


def _as_python(columns: list[pa.Array]) -> list[pa.Array]:
    return [column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in columns]


def _envelope(
    stream_id: str,
    stream_version: int | None,
    expected_version: int | None,
    event_id: str | None,
    event_type: str,
    schema_version: int,
    data: str,
    metadata: list[tuple[str, str]] | None,
    occurred_at: int,
) -> Envelope:
    return Envelope(
        stream_id,
        event_type,
        msgspec.json.decode(data),
        EPOCH + timedelta(microseconds=occurred_at),
        event_id,
        schema_version,
        dict(metadata or ()),
        stream_version,
        expected_version,
    )
