"""Events and the rows that belong to them: an equi-join whose right side has each key once."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from jobs.core.errors import ConfigError, Problem

MATCHED = "_matched"  # true where there is a row, else null


def matched(
    events: DataFrame, rows: DataFrame, on: Mapping[str, str], cast: Mapping[str, str], how: str = "left"
) -> DataFrame:
    """Events with the columns that `added` names, and MATCHED; `on` is event column: row column. Null keys never match."""
    keys = [F.col(right).alias(f"_key_{right}") for right in on.values()]
    right = rows.select(*keys, *added(events, rows, on).values(), F.lit(True).alias(MATCHED))
    joined = events.join(right, [_key(events, left, cast) == right[f"_key_{name}"] for left, name in on.items()], how)
    return joined.drop(*(f"_key_{name}" for name in on.values()))


def added(events: DataFrame, rows: DataFrame, on: Mapping[str, str]) -> dict[str, Column]:
    """Output name -> row's column, the keys left out and clashes renamed."""
    names = {
        name: f"ref_{name}" if name in events.columns else name for name in rows.columns if name not in on.values()
    }
    return {out: F.col(name).alias(out, metadata={}) for name, out in names.items()}


def check_types(events: StructType, rows: StructType, on: Mapping[str, str], cast: Mapping[str, str], key: str) -> None:
    """Raises ConfigError at the config's `key` where the types of a pair differ and no cast says how."""
    for left, right in on.items():
        found = cast.get(left) or events[left].dataType.simpleString()
        wanted = rows[right].dataType.simpleString()
        if found.lower() != wanted:
            way = f"say {key}.cast: {{{left}: {wanted}}}, or change a schema"
            raise ConfigError(
                Problem(f"{key}.on.{left}", right, f"{left} is {found}, {right} is {wanted}: {way}", "conf")
            )


def _key(events: DataFrame, name: str, cast: Mapping[str, str]) -> Column:
    return events[name].cast(cast[name]) if name in cast else events[name]
