"""A sink behind the config's repartition or coalesce: they set the number of tasks that write, and so of files."""

from __future__ import annotations

from typing import Any

from pyspark.sql import DataFrame

from jobs.core.config import Scaling
from jobs.core.sinks import Mark, Refusal, Sink


def scaled(target: Sink, scaling: Scaling) -> Sink:
    """The same sink behind the config's repartition or coalesce."""
    return Scaled(target, scaling) if scaling.repartition or scaling.coalesce else target


class Scaled:
    """Sets the number of tasks that write, and so of files."""

    def __init__(self, target: Sink, scaling: Scaling) -> None:
        self._target, self._scaling = target, scaling

    def append(self, rows: DataFrame, mark: Mark) -> None:
        self._target.append(spread(rows, self._scaling), mark)

    def held(self) -> DataFrame | None:
        return self._target.held()

    def records(self) -> DataFrame | None:
        return self._target.records()

    def refused(self, rows: DataFrame, mark: Mark, most: int) -> list[Refusal]:
        return self._target.refused(rows, mark, most)


def spread(rows: DataFrame, scaling: Scaling) -> DataFrame:
    """ROWS -> ROWS, in as many partitions as the config says."""
    again = scaling.repartition
    if again:
        by: list[Any] = [*([again.count] if again.count else []), *again.by]
        rows = rows.repartition(*by)
    return rows.coalesce(scaling.coalesce) if scaling.coalesce else rows
