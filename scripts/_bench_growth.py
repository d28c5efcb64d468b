"""How a replay's time grows: with the log's events, with its streams, with its commits; from a snapshot and without.

Each log is made for it, by commits of events that all look alike. A replay from a snapshot folds the events of the last
commit alone; it has to come to the same states as the replay of the whole log, or the bench ends.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _events import log_of
from pyspark.sql import SparkSession
from rich.console import Console
from rich.table import Table

from jobs.core import layers
from jobs.core.events import projection
from jobs.core.events.folds import Fold
from jobs.core.events.rebuilding import Rebuild, Request
from jobs.core.events.snapshots import summed
from jobs.core.session import session
from jobs.event_replay import Config

STATE = "user_id STRING, name STRING, email STRING"
USERS = projection.declared(
    Fold.model_validate({"state": STATE, "events": {"user_created": "set", "user_updated": "merge"}}), None, "pass"
)
LAST = 10_000  # events that came after the snapshot
screen = Console(width=110)


@dataclass(frozen=True)
class Shape:
    """A log: so many events before the last commit, of so many streams, in so many commits."""

    events: int
    streams: int = 10_000
    commits: int = 10


@dataclass(frozen=True)
class Took:
    whole_s: float
    from_snapshot_s: float


class Bench:
    """Replays in one session."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self._spark, self._folder = spark, folder

    def took(self, shape: Shape) -> Took:
        place = tempfile.mkdtemp(dir=self._folder)
        each = shape.events // shape.commits
        for first in range(0, each * shape.commits, each):
            self._append(place, first, first + each, shape.streams)
        self._replay(place, "first", snapshots=f"{place}/snapshots", every=1)
        self._append(place, each * shape.commits, each * shape.commits + LAST, shape.streams)
        kept = {"snapshots": f"{place}/snapshots", "every": 1 << 60}
        took = Took(self._replay(place, "whole"), self._replay(place, "some", from_snapshot=True, **kept))
        if self._summed(place, "whole") != self._summed(place, "some"):
            raise SystemExit(f"{shape}: from a snapshot a replay comes to other states")
        return took

    def _append(self, place: str, first: int, after: int, streams: int) -> None:
        log = log_of(self._spark, first, after, streams).write.format("delta")
        log.mode("append").save(f"{place}/log")

    def _replay(self, place: str, name: str, **changes: Any) -> float:
        began = time.monotonic()
        request = Request("bench", f"{place}/log", f"{place}/{name}", f"{place}/work", USERS, **changes)
        Rebuild(self._spark, request).run()
        return time.monotonic() - began

    def _summed(self, place: str, name: str) -> tuple[int, str]:
        return summed(self._spark.read.format("delta").load(f"{place}/{name}"))


def curve(bench: Bench, of: str, shapes: Sequence[Shape]) -> Table:
    """Seconds by what changes, and how steep they are: 1 where they grow as it does, 0 where not at all."""
    shown = Table(of, "whole s", "from a snapshot s")
    sizes = [getattr(shape, of) for shape in shapes]
    took = [bench.took(shape) for shape in shapes]
    for size, one in zip(sizes, took):
        shown.add_row(f"{size:,}", f"{one.whole_s:.2f}", f"{one.from_snapshot_s:.2f}")
    sides = [[one.whole_s for one in took], [one.from_snapshot_s for one in took]]
    shown.add_row("slope, first to last", *(_steep(sizes, seconds) for seconds in sides))
    shown.add_row("slope of the last step", *(_steep(sizes[-2:], seconds[-2:]) for seconds in sides))
    return shown


def _steep(sizes: Sequence[int], seconds: Sequence[float]) -> str:
    return f"{math.log(seconds[-1] / seconds[0]) / math.log(sizes[-1] / sizes[0]):.2f}"


def main() -> None:
    config = layers.load(Config, None, "local", (), os.environ, default_name="event_replay").config
    spark = session("bench", {**config.spark, "spark.ui.enabled": "false"})
    spark.sparkContext.setLogLevel("ERROR")
    with tempfile.TemporaryDirectory(prefix="stream-patterns-bench-") as name:
        bench = Bench(spark, Path(name))
        bench.took(Shape(100_000))  # the first one pays for what Java compiles
        events = [Shape(10**5), Shape(10**6), Shape(10**7)]
        streams = [Shape(10**6, count) for count in (10**2, 10**3, 10**4, 10**5, 10**6)]
        commits = [Shape(10**6, commits=count) for count in (1, 10, 100)]
        for of, shapes in (("events", events), ("streams", streams), ("commits", commits)):
            screen.print(curve(bench, of, shapes))
    spark.stop()


if __name__ == "__main__":
    main()
