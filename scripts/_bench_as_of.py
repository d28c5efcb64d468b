"""How the time of an as-of join grows: with versions of keys that no event has, and with versions of those that events have.

Events are 200,000 at a time; each history is loaded once, as a job loads it. Each result is counted: every event has a
version, as its time lies within the history.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table

from jobs.core import layers
from jobs.core.enrichment.history import FEW, Versions, as_of
from jobs.core.schema import MATCHED
from jobs.core.session import session
from jobs.event_replay import Config  # any config that has no secrets

EVENTS, RUNS = 200_000, 5
STEP_S = 100  # from one version of a key to its next one
screen = Console(width=110)


@dataclass(frozen=True)
class Shape:
    """A history of so many keys with so many versions each, and events of so many of the keys."""

    keys: int
    versions: int
    touched: int

    @property
    def size(self) -> int:
        return self.keys * self.versions


def history(spark: SparkSession, shape: Shape) -> DataFrame:
    """HISTORY, kept."""
    numbered = spark.range(shape.size).selectExpr(f"concat('k', id % {shape.keys}) AS k", f"id DIV {shape.keys} AS n")
    table = numbered.selectExpr("k", f"timestamp_seconds(n * {STEP_S}) AS since", "CAST(n AS DECIMAL(9,2)) AS price")
    made = Versions(["k"], ["price"], "since").made(table).persist()
    made.count()
    return made


def events(spark: SparkSession, shape: Shape) -> DataFrame:
    """DECODED, as far as the join asks for it, kept; times are spread over the whole history."""
    at = f"timestamp_seconds(abs(hash(id)) % {shape.versions * STEP_S})"
    place = ["'t' AS _topic", "0 AS _partition", "id AS _offset", "CAST(NULL AS STRING) AS _reason"]
    made = spark.range(EVENTS).selectExpr(f"concat('k', id % {shape.touched}) AS key", f"{at} AS at", *place).persist()
    made.count()
    return made


def took_ms(spark: SparkSession, shape: Shape) -> float:
    """The median of some runs, the first one aside. Raises SystemExit where an event has no version."""
    known, asked = history(spark, shape), events(spark, shape)
    took = []
    for _ in range(RUNS + 1):
        began = time.perf_counter()
        found = (
            as_of(asked, known, {"key": "k"}, {}, "at", shape.size > FEW).agg(F.count(MATCHED), F.sum("price")).first()
        )
        took.append((time.perf_counter() - began) * 1_000)
        if not found or found[0] != EVENTS:
            raise SystemExit(f"{shape}: {found} where {EVENTS} have to be")
    for frame in (known, asked):
        frame.unpersist()
    return statistics.median(took[1:])


def table(spark: SparkSession, title: str, shapes: Sequence[Shape]) -> Table:
    shown = Table(
        "versions", "of a key", "keys that events have", "ms a batch", "of the first", title=title, title_justify="left"
    )
    first: float | None = None
    for shape in shapes:
        took = took_ms(spark, shape)
        first = first or took
        cells = (f"{shape.size:,}", f"{shape.versions:,}", f"{shape.touched:,}", f"{took:,.0f}", f"{took / first:.2f}")
        shown.add_row(*cells)
    return shown


def main() -> None:
    config = layers.load(Config, None, "local", (), os.environ, default_name="event_replay").config
    spark = session("bench", {**config.spark, "spark.ui.enabled": "false"})
    spark.sparkContext.setLogLevel("ERROR")
    took_ms(spark, Shape(1_000, 10, 1_000))  # the first one pays for what Java compiles
    screen.print(
        table(
            spark, "of keys that no event has", [Shape(keys, 10, 1_000) for keys in (1_000, 10_000, 100_000, 300_000)]
        )
    )
    screen.print(table(spark, "of the same 1,000 keys", [Shape(1_000, n, 1_000) for n in (10, 100, 1_000)]))
    screen.print(table(spark, "of ten keys", [Shape(10, n, 10) for n in (1_000, 10_000, 100_000)]))
    spark.stop()


if __name__ == "__main__":
    main()
