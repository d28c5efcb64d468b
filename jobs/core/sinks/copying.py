"""Rows into PostgreSQL by COPY: from an executor into a staging table, a transaction a task; or from the driver."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator

import psycopg2
import pyarrow as pa
import pyarrow.csv
from pyspark import TaskContext
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, BinaryType, MapType, StructType

from jobs.core.failures import carried
from jobs.core.postgres import Arguments, Cursor

STAGED = "attempt BIGINT, rows BIGINT"
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
        context = TaskContext.get()
        attempt = int(context.taskAttemptId()) if context else 0
        rows = 0
        with carried(), contextlib.closing(psycopg2.connect(**connect)) as connection:
            with connection, connection.cursor() as cursor:
                for batch in batches:
                    send(cursor, statement, _with_attempt(batch, attempt))
                    rows += batch.num_rows
        yield pa.RecordBatch.from_pydict({"attempt": [attempt], "rows": [rows]})

    return copy


def send(cursor: Cursor, statement: str, rows: pa.RecordBatch | pa.Table) -> None:
    """One COPY statement; a null is an empty field, an empty text a quoted one."""
    buffer = io.BytesIO()
    pa.csv.write_csv(rows, buffer, PLAIN)
    buffer.seek(0)
    cursor.copy_expert(statement, buffer, CHUNK_BYTES)


def _with_attempt(batch: pa.RecordBatch, attempt: int) -> pa.RecordBatch:
    return batch.append_column(ATTEMPT, pa.repeat(pa.scalar(attempt, pa.int64()), batch.num_rows))
