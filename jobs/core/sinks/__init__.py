"""Where rows go. A sink recognises rows that it already holds by their coordinates, so a repeated batch changes nothing.

| sink | append | what it holds of a batch in doubt |
| --- | --- | --- |
| delta | one commit, marked with job, query, batch and offsets | rows found by coordinates, with data skipping |
| parquet | files; a crash may leave some of a batch | the same, by row-group statistics |
| postgres | staged; rows and ledger come in one transaction | nothing; after a recovery, what was appended |
| kafka | a record a row, under its event id | rows found by the coordinates in their headers, since the ledger's last record |
| memory | replaces the batch's rows under a named view | nothing: it ends with the process |
| console | prints the batch | nothing |

Rows that a sink refuses for their data are found by a Delta table's own constraints, and by trying them in PostgreSQL; the
others take any row.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import reduce
from json import dumps, loads
from typing import Protocol

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


@dataclass(frozen=True)
class Mark:
    """Names one write: whose, of which batch, over which offsets."""

    job: str
    query_id: str
    batch_id: int
    start: str
    end: str

    def text(self) -> str:
        return dumps(asdict(self))

    def records(self) -> int | None:
        """How many records the offsets cover at most; None where they are not Kafka's."""
        start, end = (_by_partition(side) for side in (self.start, self.end))
        return sum(offset - start.get(place, 0) for place, offset in end.items()) if end else None

    def narrow(self, held: DataFrame) -> DataFrame:
        """Rows that may be of this write, for data skipping; all of them where offsets are not Kafka's."""
        start, end = (_by_partition(side) for side in (self.start, self.end))
        spans: dict[str, list[int]] = {}
        for place, offset in end.items():
            spans.setdefault(place[0], []).extend([start.get(place, 0), offset])
        inside = [(F.col("_topic") == topic) & F.col("_offset").between(min(s), max(s)) for topic, s in spans.items()]
        return held.filter(reduce(Column.__or__, inside)) if inside else held


@dataclass(frozen=True, order=True)
class Refusal:
    """A row that a sink does not take, by its coordinates, and what the sink says of it, without values."""

    topic: str
    partition: int
    offset: int
    detail: str

    def __str__(self) -> str:
        return f"topic {self.topic}, partition {self.partition}, offset {self.offset}: {self.detail}"


class Outlet(Protocol):
    """A place for rows with coordinates."""

    def append(self, rows: DataFrame, mark: Mark) -> None:
        """Writes the rows in one action, or none of them that anybody sees; a sink with a ledger of its own stages them."""

    def held(self) -> DataFrame | None:
        """`_topic, _partition, _offset` of every row that may be of a batch in doubt, to be narrowed by the caller."""


class Sink(Outlet, Protocol):
    """The place for good rows, which an audit asks and which may refuse some."""

    def records(self) -> DataFrame | None:
        """`_topic, _partition, _offset` of every row it holds, for an audit; None where it cannot say."""

    def refused(self, rows: DataFrame, mark: Mark, most: int) -> list[Refusal]:
        """Rows of a batch that it did not take for their data; none where no row is at fault. Nothing is written.

        It may stop looking once there are more than `most`.
        """


def _by_partition(offsets: str) -> dict[tuple[str, str], int]:
    """One Kafka offset a topic and partition; none where the text is another source's."""
    try:
        found = loads(offsets)[0] or {}
        return {(topic, partition): int(offset) for topic, ps in found.items() for partition, offset in ps.items()}
    except (AttributeError, IndexError, TypeError, ValueError, KeyError):
        return {}
