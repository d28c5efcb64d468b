"""What every format's decoder gives back, and how it is put together from fast columns and single rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import pyarrow as pa

from jobs.core.decode_plan import MAX_DETAIL, Rejection, Struct
from jobs.core.reasons import Reason

Row = Mapping[str, object]
CHUNK_ROWS, CHUNK_BYTES = 2048, 4 << 20  # decoded at once: small enough to stay in the processor's cache
Examine = Callable[[bytes], Row | Rejection]


class Decoded(NamedTuple):
    """Columns by the schema, and for each record the place of its row in them; None where it was rejected.

    `places` None means: each record at its own place.
    """

    columns: list[pa.Array]
    places: list[int | None] | None
    rejected: dict[int, Rejection]


class Decoder(Protocol):
    """A format: values, none of them null, to columns. Raises nothing."""

    def __call__(self, values: pa.Array) -> Decoded: ...


class Fast(NamedTuple):
    """Rows decoded many at a time: columns, and which records of the chunk they are of."""

    columns: list[pa.Array]
    records: list[int]
    doubtful: frozenset[int] = frozenset()  # of these records, to be examined one by one


@dataclass
class Assembly:
    """Collects the rows of a batch, chunk by chunk."""

    plan: Struct
    examine: Examine
    count: int = 0
    chunks: list[list[pa.Array]] = field(default_factory=list)
    places: list[int | None] = field(default_factory=list)
    rows: list[tuple[int, Row]] = field(default_factory=list)
    rejected: dict[int, Rejection] = field(default_factory=dict)
    whole: bool = True

    def add(self, values: pa.Array, fast: Fast) -> None:
        """A chunk's columns; whatever is not in them, or doubtful, is examined."""
        start, length = len(self.places), len(values)
        self.chunks.append(fast.columns)
        if len(fast.records) == length and not fast.doubtful:
            self.places.extend(range(self.count, self.count + length))
        else:
            self._add_part(values, fast, start)
        self.count += len(fast.records)

    def _add_part(self, values: pa.Array, fast: Fast, start: int) -> None:
        self.whole = False
        places: list[int | None] = [None] * len(values)
        for row, record in enumerate(fast.records, self.count):
            places[record] = row
        for record in fast.doubtful:
            places[record] = None
        self.places += places
        for record, place in enumerate(places):
            if place is None:
                self._examine(start + record, values[record].as_py())

    def _examine(self, record: int, value: bytes) -> None:
        try:
            found = self.examine(value)
        except Exception as error:  # whatever it is: one record must not stop a batch
            found = Rejection(Reason.MALFORMED, type(error).__name__[:MAX_DETAIL])
        if isinstance(found, Rejection):
            self.rejected[record] = found
        else:
            self.rows.append((record, found))

    def decoded(self) -> Decoded:
        single = self._examined()
        for place, (record, _) in enumerate(self.rows, self.count):
            self.places[record] = place
        joined = [pa.concat_arrays(parts) for parts in zip(*self.chunks, single)]
        return Decoded(joined, None if self.whole else self.places, self.rejected)

    def _examined(self) -> list[pa.Array]:
        """Columns of the rows that were examined; should Arrow not take one of them, it is rejected after all."""
        try:
            return columns(self.plan, [row for _, row in self.rows])
        except Exception:
            self.rows = [(record, row) for record, row in self.rows if self._fits(record, row)]
        return columns(self.plan, [row for _, row in self.rows])

    def _fits(self, record: int, row: Row) -> bool:
        try:
            columns(self.plan, [row])
        except Exception as error:
            self.rejected[record] = Rejection(Reason.MALFORMED, type(error).__name__[:MAX_DETAIL])
        return record not in self.rejected


def columns(plan: Struct, rows: list[Row]) -> list[pa.Array]:
    return [pa.array([row[known.name] for row in rows], known.node.arrow) for known in plan.fields]


@dataclass(frozen=True)
class Chunked:
    """A decoder made of a fast path for many records and a careful look at one."""

    plan: Struct
    fast: Callable[[pa.Array], Fast] | None  # None: every record is examined
    examine: Examine

    def __call__(self, values: pa.Array) -> Decoded:
        found = Assembly(self.plan, self.examine)
        for chunk in chunks(values, CHUNK_ROWS, CHUNK_BYTES):
            found.add(chunk, self._quickly(chunk))
        return found.decoded()

    def _quickly(self, chunk: pa.Array) -> Fast:
        nothing = Fast([pa.nulls(0, known.node.arrow) for known in self.plan.fields], [])
        try:
            return self.fast(chunk) if self.fast else nothing
        except Exception:  # the fast path may give up, for any reason: each record is then examined
            return nothing


def chunks(values: pa.Array, rows: int, size: int) -> Iterable[pa.Array]:
    """Slices of so many rows, fewer where records are large."""
    mean = values.nbytes // max(1, len(values)) + 1
    step = max(1, min(rows, size // mean))
    return (values[start : start + step] for start in range(0, len(values), step))
