"""Which records are behind another one of their key that fails, and what becomes of them.

A record is later than another one of its key if it stands behind it in its partition. In another partition, where a key only
gets by new partitions, a record that is read for the first time is later than any. Records without a key have no order.

HEADS   _key BINARY, _heads ARRAY<STRUCT<topic, partition, offset>>: the first record that holds a key up in each partition
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.core.dead_letters import ATTEMPT
from jobs.core.reasons import LATE, WAITING, Reason
from jobs.core.sources import COORDINATES

FIRST = "_heads"


def dead(failed: DataFrame) -> DataFrame:
    """Of rejected rows those that become dead letters."""
    return failed.filter(F.col("_reason").isNotNull() & ~F.col("_reason").isin(WAITING, LATE))


def waits(failed: DataFrame) -> DataFrame:
    """Of rejected rows those that wait."""
    return failed.filter(F.col("_reason") == WAITING)


def heads(failed: DataFrame, earlier: DataFrame | None = None) -> DataFrame:
    """Rows that hold their keys up -> HEADS; `earlier` ones do, too."""
    new = failed.select("_key", *COORDINATES)
    every = new if earlier is None else new.unionByName(earlier.select("_key", *COORDINATES))
    first = (
        every.filter("_key IS NOT NULL").groupBy("_key", "_topic", "_partition").agg(F.min("_offset").alias("_offset"))
    )
    place = F.struct(*(F.col(name).alias(name[1:]) for name in COORDINATES))
    return first.groupBy("_key").agg(F.sort_array(F.collect_list(place)).alias(FIRST))


def blocked(outcome: DataFrame, heads: DataFrame) -> DataFrame:
    """DECODED with attempts, HEADS of dead letters -> DECODED with attempts; what would wait does not wait behind them."""
    free = F.col("_reason").isNull() | (F.col("_reason") == WAITING)
    return _behind(outcome, heads, free, F.lit(Reason.KEY_BLOCKED.value), "the dead letter")


def waiting_behind(outcome: DataFrame, heads: DataFrame) -> DataFrame:
    """DECODED with attempts, HEADS of what waits -> DECODED with attempts; what was a dead letter before does not wait."""
    reason = F.when(F.col(ATTEMPT) == 1, WAITING).otherwise(Reason.KEY_BLOCKED.value)
    return _behind(outcome, heads, F.col("_reason").isNull(), reason, "the waiting record")


def _behind(outcome: DataFrame, heads: DataFrame, free: Column, reason: Column, what: str) -> DataFrame:
    joined = outcome.join(heads, "_key", "left")
    before = F.get(F.filter(FIRST, _is_before), F.lit(0))
    is_behind = free & before.isNotNull()
    place = F.format_string(
        f"behind {what} of topic %s, partition %d, offset %d",
        before["topic"],
        before["partition"],
        before["offset"],
    )
    told = {"_reason": F.when(is_behind, reason).otherwise(F.col("_reason"))}
    told["_detail"] = F.when(is_behind, place).otherwise(F.col("_detail"))
    return joined.withColumns(told).select(*outcome.columns)


def _is_before(head: Column) -> Column:
    is_here = (head["topic"] == F.col("_topic")) & (head["partition"] == F.col("_partition"))
    return F.when(is_here, head["offset"] < F.col("_offset")).otherwise(F.col(ATTEMPT) == 1)
