"""Rows into PostgreSQL by COPY: from an executor into a staging table, a transaction a task; or from the driver."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pyarrow as pa
import pyarrow.csv
from pyspark import TaskContext
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, BinaryType, MapType, StructType

from jobs.core.failures import carried
from jobs.core.postgres import Arguments, Cursor
from jobs.core.sinks.search import search, tried
from jobs.core.sources import COORDINATES

STAGED = "attempt BIGINT, rows BIGINT"
PROBED = f"{STAGED}, topic STRING, partition INT, offset BIGINT, detail STRING"
PLACE = [("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64())]
REPORT = pa.schema([("attempt", pa.int64()), ("rows", pa.int64()), *PLACE, ("detail", pa.string())])  # PROBED
LINE = re.compile(r"COPY \S+, line \d+, | \(COPY \S+, line \d+\)$")  # of a range that was tried, not of anything read
ATTEMPT = "_attempt"
CHUNK_BYTES = 1 << 20
PLAIN = pa.csv.WriteOptions(include_header=False)
Batches = Iterator[pa.RecordBatch]


def portable(rows: DataFrame) -> DataFrame:
    """ROWS -> ROWS that CSV can carry: binary as PostgreSQL's hex, nested columns as JSON."""
    return rows.select(*(_portable(rows, field.name) for field in rows.schema))


def _portable(rows: DataFrame, name: str) -> Column:
    kind, column = rows.schema[name].dataType, F.col(name)
    if isinstance(kind, BinaryType):
        return F.concat(F.lit("\\x"), F.hex(column)).alias(name)
    return F.to_json(column).alias(name) if isinstance(kind, (ArrayType, MapType, StructType)) else column


def copier(connect: Arguments, statement: str) -> Callable[[Batches], Batches]:
    """A task's work: all of its batches by COPY, and the task's attempt, in one transaction. Gives STAGED, a row a task.

    Raises SinkFailure with PostgreSQL's code and sentence, which survive the way through Spark.
    """

    def copy(batches: Batches) -> Batches:
        attempt, rows = _attempt(), 0
        with _transaction(connect) as cursor:
            for batch in batches:
                send(cursor, statement, _with_attempt(batch, attempt))
                rows += batch.num_rows
        yield pa.RecordBatch.from_pydict({"attempt": [attempt], "rows": [rows]})

    return copy


def prober(connect: Arguments, statement: str, most: int) -> Callable[[Batches], Batches]:
    """A task's work: the same, without the rows that COPY refuses. Gives PROBED, a row a task and one for each of those.

    A task ends early once there are more than `most`.
    """

    def probe(batches: Batches) -> Batches:
        attempt, rows = _attempt(), 0
        refused: list[tuple[Any, ...]] = []
        with _transaction(connect) as cursor:
            for batch in batches:
                found = _refusals(cursor, statement, _with_attempt(batch, attempt), most - len(refused))
                refused += found
                rows += batch.num_rows - len(found)
                if len(refused) > most:
                    break
        whole = [(attempt, rows, None, None, None, None), *((attempt, 0, *refusal) for refusal in refused)]
        columns = [pa.array(column, field.type) for column, field in zip(zip(*whole), REPORT)]
        yield pa.RecordBatch.from_arrays(columns, schema=REPORT)

    return probe


def _refusals(cursor: Cursor, statement: str, batch: pa.RecordBatch, most: int) -> list[tuple[Any, ...]]:
    """Coordinates of rows that COPY refuses, and why; the others are copied."""

    def trial(first: int, after: int) -> str | None:
        return tried(cursor, lambda: send(cursor, statement, batch.slice(first, after - first)))

    places = [batch.column(name) for name in COORDINATES]
    found = search(batch.num_rows, trial, most)
    return [(*(place[row].as_py() for place in places), LINE.sub("", why)) for row, why in found.items()]


@contextlib.contextmanager
def _transaction(connect: Arguments) -> Iterator[Cursor]:
    with carried(), contextlib.closing(psycopg2.connect(**connect)) as connection:
        with connection, connection.cursor() as cursor:
            yield cursor


def _attempt() -> int:
    context = TaskContext.get()
    return int(context.taskAttemptId()) if context else 0


def send(cursor: Cursor, statement: str, rows: pa.RecordBatch | pa.Table) -> None:
    """One COPY statement; a null is an empty field, an empty text a quoted one."""
    buffer = io.BytesIO()
    pa.csv.write_csv(rows, buffer, PLAIN)
    buffer.seek(0)
    cursor.copy_expert(statement, buffer, CHUNK_BYTES)


def _with_attempt(batch: pa.RecordBatch, attempt: int) -> pa.RecordBatch:
    return batch.append_column(ATTEMPT, pa.repeat(pa.scalar(attempt, pa.int64()), batch.num_rows))
