"""Rows into PostgreSQL by COPY: from an executor into a staging table, a transaction a task; or from the driver."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pyarrow as pa
from pyspark import TaskContext

from jobs.core.failures import carried
from jobs.core.postgres import Arguments, Cursor
from jobs.core.sinks.lines import LINE, joined
from jobs.core.sinks.search import search, tried
from jobs.core.sources import COORDINATES
from jobs.core.workers import in_worker

STAGED = "attempt BIGINT, rows BIGINT"
PROBED = f"{STAGED}, topic STRING, partition INT, offset BIGINT, detail STRING"
PLACE = [("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64())]
REPORT = pa.schema([("attempt", pa.int64()), ("rows", pa.int64()), *PLACE, ("detail", pa.string())])  # PROBED
NUMBER = re.compile(r"COPY \S+, line \d+, | \(COPY \S+, line \d+\)$")  # of a range that was tried, not of anything read
ATTEMPT, ATTEMPT_SETTING = "_attempt", "patterns.attempt"  # a column, and the session's setting that fills it
CHUNK_BYTES = 1 << 20
Batches = Iterator[pa.RecordBatch]


def copier(connect: Arguments, statement: str) -> Callable[[Batches], Batches]:
    """A task's work: all of its lines by COPY, in one transaction under the task's attempt. Gives STAGED, a row a task.

    Raises SinkFailure with PostgreSQL's code and sentence, which survive the way through Spark.
    """

    @in_worker
    def copy(batches: Batches) -> Batches:
        attempt, rows = _attempt(), 0
        with _transaction(connect, attempt) as cursor:
            for batch in batches:
                send(cursor, statement, batch.column(LINE))
                rows += batch.num_rows
        yield pa.RecordBatch.from_pydict({"attempt": [attempt], "rows": [rows]})

    return copy


def prober(connect: Arguments, statement: str, most: int) -> Callable[[Batches], Batches]:
    """A task's work: the same, without the rows that COPY refuses. Gives PROBED, a row a task and one for each of those.

    A task ends early once there are more than `most`.
    """

    @in_worker
    def probe(batches: Batches) -> Batches:
        attempt, rows = _attempt(), 0
        refused: list[tuple[Any, ...]] = []
        with _transaction(connect, attempt) as cursor:
            for batch in batches:
                found = _refusals(cursor, statement, batch, most - len(refused))
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
        return tried(cursor, lambda: send(cursor, statement, lines.slice(first, after - first)))

    lines, places = batch.column(LINE), [batch.column(name) for name in COORDINATES]
    found = search(batch.num_rows, trial, most)
    return [(*(place[row].as_py() for place in places), NUMBER.sub("", why)) for row, why in found.items()]


@contextlib.contextmanager
def _transaction(connect: Arguments, attempt: int) -> Iterator[Cursor]:
    with carried(), contextlib.closing(psycopg2.connect(**connect)) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT set_config(%s, %s, true)", (ATTEMPT_SETTING, str(attempt)))
            yield cursor


def _attempt() -> int:
    context = TaskContext.get()
    return int(context.taskAttemptId()) if context else 0


def send(cursor: Cursor, statement: str, lines: pa.Array | pa.ChunkedArray) -> None:
    """One COPY statement, of lines as `core.sinks.lines` makes them."""
    cursor.copy_expert(statement, pa.BufferReader(joined(lines)), CHUNK_BYTES)
