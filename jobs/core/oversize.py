"""Dead letters larger than their topic takes: cut to what it does take, and what they were is kept beside.

A record that is too large keeps key and headers, as much of its value as there is room for, and gains two headers: the value's
whole length (`patterns-value-bytes`) and its SHA-256 (`patterns-value-sha256`), both as text. What the topic takes is what it
says at the start of the job, before compression.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

BYTES, SHA256 = "patterns-value-bytes", "patterns-value-sha256"
RESERVED = 512  # a batch's and a record's own fields, and the two headers
ENVELOPE = 86  # of a batch of one record, at most
FRAMING = 10  # of a header, at most


def cut(records: DataFrame, limit: int) -> DataFrame:
    """key, value, headers -> the same, none of them larger than the limit unless its key and headers are."""
    room = F.greatest(F.lit(limit - RESERVED) - _others(), F.lit(0))
    is_large = F.length("value") > room
    told = F.array(_header(BYTES, F.length("value").cast("string")), _header(SHA256, F.sha2(F.col("value"), 256)))
    return records.select(
        "key",
        F.when(is_large, F.substring("value", F.lit(1), room)).otherwise(F.col("value")).alias("value"),
        F.when(is_large, F.concat("headers", told)).otherwise(F.col("headers")).alias("headers"),
    )


def weight(headers: Column | None = None) -> Column:
    """What a record of key, value and headers weighs alone in a batch, before compression, give or take 30 bytes."""
    return F.coalesce(F.length("value"), F.lit(0)) + _others(headers) + ENVELOPE


def _others(headers: Column | None = None) -> Column:
    """Of key and headers."""
    given = F.col("headers") if headers is None else headers
    bytes = F.aggregate(given, F.lit(0), lambda sum, header: sum + _header_bytes(header))
    return F.coalesce(F.length("key"), F.lit(0)) + bytes


def _header_bytes(header: Column) -> Column:
    return F.octet_length(header["key"]) + F.coalesce(F.length(header["value"]), F.lit(0)) + FRAMING


def _header(key: str, text: Column) -> Column:
    return F.struct(F.lit(key).alias("key"), text.cast("binary").alias("value"))
