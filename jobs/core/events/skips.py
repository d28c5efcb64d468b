"""Events that a replay leaves out, each with its reason; the log keeps them. A YAML list:

- {event_id: 5f0c..., reason: "charged twice, incident 17"}
- {stream_id: o1, stream_version: 3, reason: "test data"}
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from pathlib import Path

from pydantic import Field, ValidationError
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.core.connections import Findings, Settings
from jobs.core.errors import SHOWN, ConfigError
from jobs.core.keys import NOWHERE
from jobs.core.problems import Finding, explain, problem
from jobs.core.values import Line, Whole
from jobs.core.yaml_files import read_list

ONE = "event_id, or stream_id and stream_version"


class Skip(Settings):
    """One event, by its id or by its place in its stream."""

    event_id: Line | None = None
    stream_id: Line | None = None
    stream_version: Whole | None = Field(None, ge=1)
    reason: Line

    def findings(self) -> Findings:
        by_place = (self.stream_id is not None, self.stream_version is not None)
        if by_place != (self.event_id is None,) * 2:
            yield Finding((), ONE)

    def __str__(self) -> str:
        return self.event_id or f"stream {self.stream_id}, version {self.stream_version}"


class SkipList(Settings):
    skip: list[Skip]


def read(path: Path) -> tuple[Skip, ...]:
    """The entries of a file, in its order. Raises ConfigError with all that is wrong."""
    data = {"skip": read_list(path)}
    try:
        return tuple(SkipList.model_validate(data).skip)
    except ValidationError as error:
        found = explain(error, SkipList, data)
        raise ConfigError(*(problem(one, data, str(path), (), NOWHERE) for one in found)) from None


def skipped(skips: Sequence[Skip]) -> Column:
    """Whether an event is one of them."""
    ids = [skip.event_id for skip in skips if skip.event_id is not None]
    places: dict[str, list[int]] = defaultdict(list)
    for skip in skips:
        if skip.stream_id is not None and skip.stream_version is not None:
            places[skip.stream_id].append(skip.stream_version)
    by_place = [
        (F.col("stream_id") == stream) & F.col("stream_version").isin(*versions) for stream, versions in places.items()
    ]
    return _any([*([F.col("event_id").isin(*ids)] if ids else []), *by_place])


def unfit(events: DataFrame, skips: Sequence[Skip]) -> tuple[list[Skip], list[Skip]]:
    """Entries that no event of the log fits; and those that several do, as an id is one within its stream."""
    there = events.filter(skipped(skips)).select("event_id", "stream_id", "stream_version").collect()
    fitting = Counter(row.event_id for row in there) + Counter((row.stream_id, row.stream_version) for row in there)
    counts = [(skip, fitting[skip.event_id or (skip.stream_id, skip.stream_version)]) for skip in skips]
    return [skip for skip, count in counts if not count], [skip for skip, count in counts if count > 1]


def named(skips: Sequence[Skip]) -> str:
    """The first few of them, and how many there are."""
    more = f"; and {len(skips) - SHOWN:,} more" if len(skips) > SHOWN else ""
    return f"{'; '.join(map(str, skips[:SHOWN]))}{more}"


def _any(conditions: list[Column]) -> Column:
    """A tree of them, not a chain: thousands are no deeper than a dozen."""
    while len(conditions) > 1:
        conditions = [reduce(Column.__or__, pair) for pair in _pairs(conditions)]
    return conditions[0]


def _pairs(conditions: list[Column]) -> Iterator[Iterable[Column]]:
    return (conditions[start : start + 2] for start in range(0, len(conditions), 2))
