"""Events and the rows that belong to them: an equi-join whose right side has each key once."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from jobs.core.errors import ConfigError, Problem
from jobs.core.schema import MATCHED, named_beside


def matched(
    events: DataFrame, rows: DataFrame, on: Mapping[str, str], cast: Mapping[str, str], how: str = "left"
) -> DataFrame:
    """Events with the columns that `added` names, and MATCHED; `on` is event column: row column. Null keys never match."""
    keys = [F.col(right).alias(f"_key_{right}") for right in on.values()]
    right = rows.select(*keys, *added(events, rows, on).values(), F.lit(True).alias(MATCHED))
    joined = events.join(right, [key(events, left, cast) == right[f"_key_{name}"] for left, name in on.items()], how)
    return joined.drop(*(f"_key_{name}" for name in on.values()))


def added(events: DataFrame, rows: DataFrame, on: Mapping[str, str]) -> dict[str, Column]:
    """Output name -> row's column, the keys left out and clashes renamed."""
    return {out: F.col(name).alias(out, metadata={}) for name, out in added_names(events, rows, on).items()}


def added_names(events: DataFrame, rows: DataFrame, on: Mapping[str, str]) -> dict[str, str]:
    """Row's column -> output name, the keys left out."""
    return named_beside(events.columns, [name for name in rows.columns if name not in on.values()])


def hinted(rows: DataFrame, count: int, most: int) -> DataFrame:
    """For a broadcast, unless there are too many rows for one."""
    return F.broadcast(rows) if count <= most else rows.hint("shuffle_hash")


def key(events: DataFrame, name: str, cast: Mapping[str, str]) -> Column:
    """An event's column as it is compared; null, which matches nothing, where it cannot be cast."""
    return events[name].try_cast(cast[name]) if name in cast else events[name]


def check_types(
    events: StructType, rows: StructType, on: Mapping[str, str], cast: Mapping[str, str], place: str
) -> None:
    """Raises ConfigError at the config's `place` where the types of a pair differ and no cast says how."""
    for left, right in on.items():
        found = cast.get(left) or events[left].dataType.simpleString()
        wanted = rows[right].dataType.simpleString()
        if found.lower() != wanted:
            way = f"say {place}.cast: {{{left}: {wanted}}}, or change a schema"
            raise ConfigError(
                Problem(f"{place}.on.{left}", right, f"{left} is {found}, {right} is {wanted}: {way}", "conf")
            )
