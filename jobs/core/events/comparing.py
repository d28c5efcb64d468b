"""How a table of states differs from another one: which streams only one has, and which columns differ in the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobs.core.sinks.messages import AS_JSON

SHOWN = 20
KINDS = {"here": "only in the replay", "there": "only in the live table", "changed": "changed"}


@dataclass(frozen=True)
class Row:
    """One stream, with (column, replay, live) for each column that differs; of a stream that is not in both, for all."""

    stream_id: str
    kind: str
    columns: tuple[tuple[str, str | None, str | None], ...]


@dataclass(frozen=True)
class Difference:
    counts: dict[str, int]  # streams by KINDS
    rows: tuple[Row, ...]  # the first ones, by stream
    columns: tuple[str, ...]  # that only one of them has, or that differ in their type

    @property
    def is_none(self) -> bool:
        return not self.counts and not self.columns


def difference(here: DataFrame, there: DataFrame | None) -> Difference:
    """STATE of a replay x STATE of a live table, if there is one."""
    live = here.limit(0) if there is None else there
    names = [name for name in here.columns if name in live.columns and name != "stream_id"]
    joined = _side(here, "_here", names).join(_side(live, "_there", names), "stream_id", "full")
    differing = F.filter(F.array(*map(_cell, names)), lambda cell: ~cell["here"].eqNullSafe(cell["there"]))
    kind = F.when(F.col("_there").isNull(), "here").when(F.col("_here").isNull(), "there").otherwise("changed")
    found = joined.select("stream_id", kind.alias("kind"), differing.alias("cells"))
    changed = found.filter((F.col("kind") != "changed") | (F.size("cells") > 0))
    counts = {row.kind: row["count"] for row in changed.groupBy("kind").count().collect()}
    first = changed.orderBy("stream_id").limit(SHOWN).collect() if counts else []
    rows = tuple(Row(row.stream_id, row.kind, tuple(map(tuple, row.cells))) for row in first)
    return Difference({kind: counts[kind] for kind in KINDS if kind in counts}, rows, _columns(here, live))


def as_text(
    found: Difference,
    replay: str,
    live: str,
    sides: tuple[str, str] = ("replay", "live"),
    kinds: Mapping[str, str] = KINDS,
) -> RenderableType:
    """For a terminal."""
    if found.is_none:
        return f"{replay} and {live} are equal"
    head = [f"streams {kinds[kind]}: {count:,}" for kind, count in found.counts.items()]
    odd = [f"columns that differ: {', '.join(found.columns)}"] if found.columns else []
    table = Table(title=f"{replay} against {live}", title_justify="left")
    for name in ("stream", "", "column", *sides):
        table.add_column(name, overflow="fold")
    for row in found.rows:
        for number, (column, here, there) in enumerate(row.columns or [("", None, None)]):
            who = (row.stream_id, kinds[row.kind]) if number == 0 else ("", "")
            table.add_row(*map(Text, (*who, column, _shown(here), _shown(there))))
    more = sum(found.counts.values()) - len(found.rows)
    end = [f"... and {more:,} streams more"] if more else []
    return Group(*head, *odd, *([table] if found.rows else []), *end)


def _side(table: DataFrame, name: str, columns: list[str]) -> DataFrame:
    return table.select("stream_id", F.struct(F.lit(True).alias("is there"), *columns).alias(name))


def _cell(name: str) -> Column:
    """Both values as text, which is null where the value is."""
    return F.struct(F.lit(name).alias("name"), _text("_here", name).alias("here"), _text("_there", name).alias("there"))


def _text(side: str, name: str) -> Column:
    """JSON has every type; the value stands in an object, as a plain one would have no text."""
    value = F.col(side)[name]
    whole = F.to_json(F.struct(value.alias("v")), AS_JSON)
    return F.when(value.isNotNull(), _bare(whole))


def _bare(whole: Column) -> Column:
    """`{"v":7}` -> `7`."""
    return F.substring(whole, F.lit(6), F.length(whole) - 6)


def _columns(here: DataFrame, there: DataFrame) -> tuple[str, ...]:
    sides: list[dict[str, T.DataType]] = [
        {field.name: field.dataType for field in table.schema} for table in (here, there)
    ]
    names = dict.fromkeys([*sides[0], *sides[1]])
    return tuple(name for name in names if sides[0].get(name) != sides[1].get(name))


def _shown(value: str | None) -> str:
    return "null" if value is None else value
