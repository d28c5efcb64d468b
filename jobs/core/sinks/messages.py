"""Rows as Kafka records, and back to where they came from; a record's `event_id` is the same whenever its row is sent.

SENT     topic STRING, key BINARY, value BINARY, headers ARRAY<STRUCT<key: STRING, value: BINARY>>
headers  those of the config; `event_id`, a UUIDv5 of job, topic, partition and offset of the record that the row came from;
         and these one by one: `patterns-topic`, `patterns-partition`, `patterns-offset`, `patterns-job`, as text
value    JSON with all columns but the coordinates, in their order, nulls too: timestamps as RFC 3339 in UTC, decimals with
         every digit, binary as base64; or one column as it is
"""

from __future__ import annotations

from uuid import UUID

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BinaryType, DataType, StringType

from jobs.core import uuids
from jobs.core.checks_sinks import EVENT_ID, JSON, OURS
from jobs.core.config import KafkaSink as Target
from jobs.core.reasons import Reason
from jobs.core.sources import COORDINATES

SENT = "topic STRING, key BINARY, value BINARY, headers ARRAY<STRUCT<key: STRING, value: BINARY>>"
NAMESPACE = UUID("0be04940-1be4-55bd-ae1b-65610bcef175")  # of event ids; never to change
AS_JSON = {"ignoreNullFields": "false", "timeZone": "UTC", "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"}


def sent(rows: DataFrame, job: str, target: Target) -> DataFrame:
    """ROWS -> SENT."""
    topic = F.lit(target.topic) if target.topic else F.col(str(target.topic_column)).cast("string")
    headers = [*(_entry(name, as_bytes(rows, column)) for name, column in target.headers.items()), *_own_headers(job)]
    return rows.select(
        topic.alias("topic"),
        _key(rows, target.key).alias("key"),
        _value(rows, target.value).alias("value"),
        F.array(*headers).alias("headers"),
    )


def routed(outcome: DataFrame, target: Target) -> DataFrame:
    """DECODED -> DECODED: a row whose topic column names none of the topics gets its reason."""
    if not target.topic_column:
        return outcome
    known = F.coalesce(F.col(target.topic_column).cast("string").isin(*target.topics), F.lit(False))
    stray, detail = F.col("_reason").isNull() & ~known, f"{target.topic_column} names none of sink.kafka.topics"
    return outcome.withColumns(
        {
            "_detail": F.when(stray, F.lit(detail)).otherwise(F.col("_detail")),
            "_reason": F.when(stray, F.lit(Reason.NO_TOPIC.value)).otherwise(F.col("_reason")),
        }
    )


def event_id(job: str) -> Column:
    """The UUIDv5 of `job/topic/partition/offset`, alike at every repeat; two jobs tell apart what they make of one record."""
    name = F.concat_ws("/", F.lit(job), *(F.col(place).cast("string") for place in COORDINATES))
    return uuids.version_5(NAMESPACE, name)


def as_bytes(rows: DataFrame, name: str) -> Column:
    """A column as it stands in a record: bytes and text as they are, anything else as in JSON, without quotes around it."""
    return _as_bytes(F.col(name), rows.schema[name].dataType)


def _as_bytes(column: Column, kind: DataType) -> Column:
    if isinstance(kind, (BinaryType, StringType)):
        return column.cast("binary")
    inside = F.regexp_extract(F.to_json(F.array(column), AS_JSON), r'(?s)^\["?(.*?)"?\]$', 1)
    return F.when(column.isNotNull(), inside).cast("binary")


def _key(rows: DataFrame, columns: list[str]) -> Column:
    if len(columns) == 1:
        return as_bytes(rows, columns[0])
    return (F.to_json(F.struct(*columns), AS_JSON) if columns else F.lit(None)).cast("binary")


def _value(rows: DataFrame, value: str) -> Column:
    if value != JSON:
        return as_bytes(rows, value)
    own = [name for name in rows.columns if name not in COORDINATES]
    return F.to_json(F.struct(*own), AS_JSON).cast("binary")


def _own_headers(job: str) -> list[Column]:
    places = {name: F.col(f"_{name}").cast("string") for name in ("topic", "partition", "offset")}
    named = {EVENT_ID: event_id(job), **{f"{OURS}{name}": value for name, value in places.items()}}
    return [_entry(name, value.cast("binary")) for name, value in {**named, f"{OURS}job": F.lit(job)}.items()]


def _entry(name: str, value: Column) -> Column:
    return F.struct(F.lit(name).alias("key"), value.alias("value"))


def coordinates() -> list[Column]:
    """Where a record that was sent came from, by its headers; null where it is none of ours."""
    kinds = {"topic": "string", "partition": "int", "offset": "bigint"}
    return [header(name).try_cast(kind).alias(f"_{name}") for name, kind in kinds.items()]


def header(name: str) -> Column:
    return F.get(F.filter("headers", lambda header: header["key"] == OURS + name), F.lit(0))["value"].cast("string")
