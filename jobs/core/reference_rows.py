"""What the rows of a reference table have to be, so that a version may be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import NamedTuple, Protocol

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


class Profile(NamedTuple):
    """Of one version: how many rows, and why they may not be used; None for good ones."""

    rows: int
    wrong: str | None


class Shape(Protocol):
    """What a table's rows are made into, and how they are judged."""

    def made(self, rows: DataFrame) -> DataFrame:
        """Rows as they are read -> rows as they are kept."""

    def profile(self, rows: DataFrame) -> Profile:
        """Of rows as they are kept, in one pass."""


@dataclass(frozen=True)
class OneRowAKey:
    """Keys and columns, all of them where none is named; each key in one row."""

    keys: Sequence[str]
    columns: Sequence[str] = ()

    def made(self, rows: DataFrame) -> DataFrame:
        return rows.select(*self.keys, *self.columns) if self.columns else rows

    def profile(self, rows: DataFrame) -> Profile:
        known = reduce(and_, (F.col(key).isNotNull() for key in self.keys))
        asked = {
            "rows": F.coalesce(F.sum("count"), F.lit(0)),
            "keys": F.count_if(known),
            "repeated": F.count_if(known & (F.col("count") > 1)),
        }
        found = rows.groupBy(*self.keys).count().agg(*(column.alias(name) for name, column in asked.items())).first()
        assert found is not None, "an aggregation without groups has one row"
        return Profile(found["rows"], self._wrong(found["keys"], found["repeated"]))

    def _wrong(self, known: int, repeated: int) -> str | None:
        named = ", ".join(self.keys)
        if not known:
            return f"no row has a key ({named})"
        return f"{repeated} keys ({named}) stand in more than one row" if repeated else None
