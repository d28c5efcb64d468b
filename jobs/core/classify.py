"""From what a source gives to DECODED: the event's columns, its coordinates, and why it was rejected, if it was.

DECODED  the event's columns, `_topic, _partition, _offset, _timestamp`, `_reason, _detail` (null for a good record) and the
         record itself, `_key, _value, _headers`, byte for byte (null for a good one, unless it is asked for)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from jobs.core.config import Source
from jobs.core.dead_letters import ATTEMPT
from jobs.core.decode import DecodeSettings, decode, format_decoder
from jobs.core.errors import ConfigError, Problem
from jobs.core.events import reading
from jobs.core.events.envelope import STREAM_FIELD
from jobs.core.events.personal import Split
from jobs.core.reasons import INSTEAD, Reason
from jobs.core.sources import COORDINATES

Decode = Callable[[DataFrame, datetime, bool], DataFrame]
Transform = Callable[[DataFrame], DataFrame]
REJECTION = ["_reason", "_detail"]
RAW = ["_key", "_value", "_headers"]
TECHNICAL = ["_timestamp", *REJECTION, *RAW]


def decoder(source: Source) -> Decode:
    """(RECORDS or EVENTS, now, keep the raw record) -> DECODED. Raises ConfigError for a schema its format can't have."""
    if not (source.kafka or source.file):
        return lambda events, now, keep: constrain(typed(events), source.constraints)
    settings = checked(source)
    return lambda records, now, keep: constrain(decode(records, settings, now, keep), source.constraints)


def planned(records: DataFrame, source: Source, lateness: float) -> DataFrame:
    """RECORDS -> DECODED, in a query's plan: each batch says its time and its watermark, which is `lateness` seconds behind.

    Raises ConfigError for a schema its format can't have.
    """
    settings = replace(checked(source), max_lateness=lateness)
    return constrain(decode(records, settings, None), source.constraints)


def as_it_came(decoded: DataFrame, now: datetime, keep: bool) -> DataFrame:
    """DECODED by the query's plan -> the same."""
    return decoded


def checked(source: Source) -> DecodeSettings:
    """How records are decoded. Raises ConfigError for a schema its format can't have."""
    settings = decode_settings(source)
    try:
        format_decoder(settings)
    except ValueError as unfit:
        raise ConfigError(
            Problem("source.schema", source.schema_ or "", str(unfit), f"format {source.format}")
        ) from None
    return settings


def decode_settings(source: Source) -> DecodeSettings:
    return DecodeSettings(
        format=source.format,
        schema=_schema(source),
        required=tuple(source.required),
        nullable=source.nullable,
        unknown_fields=source.unknown_fields,
        timestamps=source.timestamps,
        min_year=source.min_year,
        max_year=source.max_year,
        event_time=source.event_time,
        max_future=source.max_future.seconds_total,
        max_record_bytes=int(source.max_record_bytes),
    )


def _schema(source: Source) -> StructType:
    if source.format == reading.FORMAT:
        own = source.personal
        split = Split(own.subject, tuple(own.fields)) if own else None
        return reading.incoming(source.stream_field or STREAM_FIELD, split)
    schema = StructType.fromDDL(source.schema_ or "value STRING")
    assert isinstance(schema, StructType), "the config has checked the schema's columns"
    return schema


def typed(events: DataFrame) -> DataFrame:
    """EVENTS -> DECODED: nothing to decode; a dead letter's value is the row as JSON."""
    own = [name for name in events.columns if not name.startswith("_")]
    nothing = {
        "_reason": F.lit(None).cast("string"),
        "_detail": F.lit(None).cast("string"),
        "_key": F.lit(None).cast("binary"),
        "_value": F.to_json(F.struct(*own)).cast("binary"),
        "_headers": F.lit(None).cast("array<struct<key: string, value: binary>>"),
    }
    return events.select(*own, *COORDINATES, "_timestamp", *(column.alias(name) for name, column in nothing.items()))


def constrain(decoded: DataFrame, constraints: Mapping[str, str]) -> DataFrame:
    """Rejects good records for which a constraint is not true; the first one that fails is named."""
    if not constraints:
        return decoded
    holds = {name: F.coalesce(F.expr(sql), F.lit(False)) for name, sql in constraints.items()}
    failed: Column = F.coalesce(*(F.when(~held, F.lit(name)) for name, held in holds.items()))
    broken = F.col("_reason").isNull() & failed.isNotNull()
    return decoded.withColumns(
        {
            "_detail": F.when(broken, failed).otherwise(F.col("_detail")),
            "_reason": F.when(broken, F.lit(Reason.CONSTRAINT.value)).otherwise(F.col("_reason")),
        }
    )


def rejected(decoded: DataFrame) -> DataFrame:
    """DECODED -> what a dead letter or a parked record needs, with its attempt where that is known."""
    known = [ATTEMPT] if ATTEMPT in decoded.columns else []
    return decoded.filter("_reason IS NOT NULL").select(*COORDINATES, *TECHNICAL, *known)


def good(outcome: DataFrame) -> DataFrame:
    """What a sink gets: rows without a reason, their coordinates last."""
    own = [name for name in outcome.columns if name not in {*COORDINATES, *TECHNICAL, ATTEMPT, INSTEAD}]
    return outcome.filter("_reason IS NULL").select(*own, *COORDINATES)
