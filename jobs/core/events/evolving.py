"""A fold in Python: `evolve(state, event)` of a domain, run in the executors, stream by stream. EVENT -> PARTIAL.

PARTIAL is that of `core.events.folding`, and so is what it promises: order by `stream_version`, one shuffle, and a PARTIAL
with later events gives the PARTIAL of all. A partition is sorted by Spark, and read an Arrow batch at a time; the state is
carried from batch to batch, so that a stream of any length takes the memory of one batch and one state.

A state is None (there is none), a mapping or a dataclass; fields that are no columns are left out, and columns that it lacks
are null. It is made again from a PARTIAL's columns by `restored`: where `evolve` looks at fields that are no columns, it has
to be given the whole history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from jobs.core.errors import JobError
from jobs.core.workers import in_worker

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
SLICE = 4096  # events that are Python objects at a time
PARTIAL = "stream_id STRING, stream_version BIGINT, has_state BOOLEAN"
READ = ("stream_id", "stream_version", "event_type", "data", "occurred_at", "_standing")


class Recorded(NamedTuple):
    """What `evolve` gets of an event."""

    event_type: str
    data: dict[str, Any]
    stream_version: int
    occurred_us: int  # microseconds since 1970

    @property
    def occurred_at(self) -> datetime:
        """In UTC; made only where it is asked for, as it costs more than all the rest."""
        return EPOCH + timedelta(microseconds=self.occurred_us)


class EvolveFailed(JobError):
    """`evolve` raised, or its state does not fit the columns."""

    def __init__(self, stream_id: str, stream_version: int, what: str, cause: str) -> None:
        super().__init__(f"stream {stream_id}, version {stream_version}: {what}: {cause}")
        self.stream_id, self.stream_version, self.what, self.cause = stream_id, stream_version, what, cause

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.stream_id, self.stream_version, self.what, self.cause)


@dataclass(frozen=True)
class PythonFold:
    """A domain's functions; they travel to the executors."""

    state: str  # DDL
    evolve: Callable[[Any, Any], Any]
    initial_state: Callable[[], Any] = lambda: None
    restored: Callable[[dict[str, Any]], Any] = lambda columns: columns


def partials(events: DataFrame, fold: PythonFold, base: DataFrame | None = None) -> DataFrame:
    """EVENT, and PARTIAL to go on from -> PARTIAL. Raises, once it runs, EvolveFailed in the executor."""
    schema = T.StructType.fromDDL(f"{PARTIAL}, {fold.state}")
    assert isinstance(schema, T.StructType), "columns, not a single type"
    standing = T.StructType(schema.fields[2:])
    rows = events.select(*READ[:3], _text(events), "occurred_at", F.lit(None).cast(standing).alias("_standing"))
    if base is not None:
        rows = rows.unionByName(_standing(base, standing), allowMissingColumns=True)
    order = ("stream_id", "stream_version", F.col("_standing").isNotNull())
    run = partial(fold_batches, fold=fold, schema=to_arrow_schema(schema, timezone="UTC"))
    return rows.repartition("stream_id").sortWithinPartitions(*order).mapInArrow(run, schema)


@in_worker
def fold_batches(batches: Iterable[pa.RecordBatch], fold: PythonFold, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """What runs in the executors, on one sorted partition."""
    running = Running(fold, schema)
    for batch in batches:
        for start in range(0, len(batch), SLICE):
            part = batch.slice(start, SLICE)
            running.add(*(_items(part.column(name)) for name in READ))
        yield running.finished()
    running.end()
    yield running.finished()


@dataclass
class Running:
    """The stream in hand, and the rows of those that are done."""

    fold: PythonFold
    schema: pa.Schema
    stream: str | None = None
    version: int = 0
    state: Any = None
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, *columns: Iterable[Any]) -> None:
        """Events in order, column by column."""
        for stream, version, event_type, data, at, standing in zip(*columns):
            if stream != self.stream:
                self.end()
                self.stream, self.state = stream, self.fold.initial_state()
            self.version = version
            self.state = self._evolved(event_type, data, at) if standing is None else self._stands(standing)

    def end(self) -> None:
        """The stream in hand is done."""
        if self.stream is not None:
            there = self.state is not None
            own = {"stream_id": self.stream, "stream_version": self.version, "has_state": there}
            self.rows.append({**as_row(self.state), **own} if there else own)
        self.stream = None

    def finished(self) -> pa.RecordBatch:
        """Rows of the streams that are done, each once. Raises EvolveFailed for a state that does not fit the columns."""
        rows, self.rows = self.rows, []
        try:
            return _batch(rows, self.schema)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as unfit:
            raise self._misfit(rows, unfit) from unfit

    def _evolved(self, event_type: str, data: str, at: int) -> Any:
        try:
            return self.fold.evolve(self.state, Recorded(event_type, msgspec.json.decode(data), self.version, at))
        except Exception as failure:
            cause = f"{type(failure).__name__}: {failure}"
            raise EvolveFailed(str(self.stream), self.version, event_type, cause) from failure

    def _stands(self, columns: dict[str, Any]) -> Any:
        """What the PARTIAL of the stream says; whatever came before is covered by it."""
        there = columns.pop("has_state")
        return self.fold.restored(columns) if there else self.fold.initial_state()

    def _misfit(self, rows: list[dict[str, Any]], unfit: Exception) -> Exception:
        for row in rows:
            for known in self.schema:
                try:
                    pa.array([row.get(known.name)], known.type)
                except Exception as cause:
                    what = f"column {known.name}"
                    return EvolveFailed(row["stream_id"], row["stream_version"], what, str(cause))
        return unfit


def as_row(state: Any) -> dict[str, Any]:
    """A mapping's items, or a dataclass's fields. Raises TypeError for anything else."""
    if isinstance(state, Mapping):
        return dict(state)
    if is_dataclass(state) and not isinstance(state, type):
        return {known.name: getattr(state, known.name) for known in fields(state)}
    raise TypeError(f"a state is None, a mapping or a dataclass, and not a {type(state).__name__}")


def _items(column: pa.Array) -> Iterable[Any]:
    """A column as Python has it, times as integers; nothing is made of one that is null throughout."""
    if column.null_count == len(column):
        return repeat(None, len(column))
    plain = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
    items: list[Any] = plain.to_pylist(maps_as_pydicts="strict")  # as `evolve` gave them
    return items


def _batch(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [pa.array([row.get(known.name) for row in rows], known.type) for known in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _text(events: DataFrame) -> Any:
    """`data` as JSON text, also where the log has it as VARIANT."""
    is_text = isinstance(events.schema["data"].dataType, T.StringType)
    return F.col("data") if is_text else F.to_json("data").alias("data")


def _standing(base: DataFrame, standing: T.StructType) -> DataFrame:
    columns = F.struct("has_state", *(known.name for known in standing.fields[1:]))
    return base.select("stream_id", "stream_version", columns.cast(standing).alias("_standing"))
