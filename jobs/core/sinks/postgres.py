"""Rows into a PostgreSQL table, in two steps: staged by `append`, and moved into the table by the ledger's transaction.

STAGING  the rows' columns in the table's types, `_attempt BIGINT`: one unlogged table a batch, committed by the executors'
         tasks; a batch of few rows, none of them very long, is held by the driver instead, and has no staging table
append   each staged row becomes a row
upsert   of each key the newest staged row (highest version, then latest coordinates), unless the table has a newer one
What is staged and not moved changes nothing: the batch runs again. Neither does what a task staged that Spark ran twice: only
attempts that were reported count, and they must be there with as many rows as they said. If either step fails for the data,
`refused` says which rows are at fault: it stages them anew, and tries them on the table (`probe`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from uuid import uuid4

import psycopg2
import pyarrow as pa
from psycopg2 import sql
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.config import PostgresSink as Target
from jobs.core.errors import DependencyMissing, StagingLost
from jobs.core.failures import words
from jobs.core.postgres import END_SESSION, Cursor, Database, quoted
from jobs.core.sinks import Mark, Refusal, copying, lines, probe, statements
from jobs.core.sinks.copying import ATTEMPT
from jobs.core.sinks.deletes import FLAG
from jobs.core.sinks.lines import LINE
from jobs.core.sources import COORDINATES

STAGING = "stream_patterns_staging"
STAGED = "SELECT tablename FROM pg_tables WHERE schemaname = %s AND starts_with(tablename, %s) AND tablename < %s"
END_COPIES = f"{END_SESSION} WHERE pid IN (SELECT pid FROM pg_locks WHERE relation = to_regclass(%s))"
DRAFT = "patterns_draft"  # the session's own table for a batch that the driver holds
SHORT_ROWS = 10_000  # batches of at most so many records take the short way
SHORT_BYTES = 512 << 20  # and the driver holds no more than this: each record has its share of it


@dataclass(frozen=True)
class Tasks:
    """Staged by executors."""

    table: str
    attempts: dict[int, int]  # task attempt: rows


@dataclass(frozen=True)
class Held:
    """Held by the driver."""

    lines: pa.Table


@dataclass(frozen=True)
class Staged:
    """A batch on its way into the table."""

    mark: Mark
    columns: list[str]
    where: Tasks | Held

    @property
    def count(self) -> int:
        return sum(self.where.attempts.values()) if isinstance(self.where, Tasks) else self.where.lines.num_rows


class PostgresSink:
    """One table, which exists with the columns that the rows bring."""

    def __init__(self, spark: SparkSession, database: Database, job: str, target: Target, epoch: int = 0) -> None:
        """`epoch` is the lease's. Raises DependencyMissing for a database, table or unique index that is not there."""
        self._spark, self._database, self._target = spark, database, target
        self.name = f"table {target.table} at {database.address}"
        self._prefix, self._epoch = f"s{hashlib.sha1(job.encode()).hexdigest()[:12]}_", epoch
        self._short = SHORT_ROWS
        self._columns = self._described()
        self._staged: Staged | None = None

    def append(self, rows: DataFrame, mark: Mark) -> None:
        """Stages the rows of a batch, in place of what was staged before. Raises DependencyMissing for missing columns."""
        if self._staged is None or self._staged.mark == mark:
            self._sweep()
        self._staged = None  # whatever fails from here on leaves something to sweep
        rows = self._flagged(rows)
        columns = self._fitting(rows.columns)
        ready = rows.select(lines.line(rows.select(*columns)))
        records = mark.records()
        held = self._held(ready, records) if records is not None and records <= self._short else None
        where = held or self._by_tasks(ready, columns, mark)
        self._staged = Staged(mark, columns, where)

    def refused(self, rows: DataFrame, mark: Mark, most: int) -> list[Refusal]:
        """First what the staging does not take, its types; then what the table does not, its constraints and triggers."""
        self._sweep()
        self._staged, rows = None, self._flagged(rows)
        columns = self._fitting(rows.columns)
        table, statement = self._empty_staging(columns, mark)
        prober = copying.prober(self._database.arguments, statement, most)
        ready = rows.select(lines.line(rows.select(*columns)), *COORDINATES)
        copied = ready.mapInArrow(prober, copying.PROBED).collect()
        unfit = [Refusal(*row[2:]) for row in copied if row["detail"] is not None]
        if len(unfit) > most:
            return sorted(unfit)
        staging = sql.Identifier(STAGING, table)
        ranking = statements.ranked(self._target, staging, columns)
        insert = statements.insert(self._target, statements.RANKED, self._written(columns), statements.TURN)
        attempts = [row["attempt"] for row in copied if row["rows"]]
        with self._database.undone() as cursor:
            return sorted([*unfit, *probe.refusals(cursor, ranking, attempts, insert, most - len(unfit))])

    def held(self) -> DataFrame | None:
        """What was appended: of use only while offsets are read again that the ledger covers already."""
        return self.records()

    def records(self) -> DataFrame | None:
        """Coordinates of what was appended; an upsert keeps only the last record of a key."""
        if self._target.mode == "upsert" or not set(COORDINATES) <= set(self._columns):
            return None
        reader = self._spark.read.format("jdbc").options(**self._database.jdbc)
        return reader.option("dbtable", quoted(self._target.table)).load().select(*COORDINATES)

    def move(self, cursor: Cursor, mark: Mark) -> int:
        """Moves what is staged for a write into the table; how many rows of it were older than what is there.

        The caller's transaction decides whether this has happened. Raises StagingLost.
        """
        staged = self._staged
        if staged is None or staged.mark != mark:
            raise StagingLost(self._target.table, 0, 0)
        return staged.count - self._moved(cursor, staged)

    def _moved(self, cursor: Cursor, staged: Staged) -> int:
        if isinstance(staged.where, Held):
            return self._move_held(cursor, staged, staged.where)
        self._check(cursor, staged, staged.where)
        cursor.execute(statements.MEMORY, {"kb": self._target.work_mem // 1024})
        moved = self._insert(cursor, sql.Identifier(STAGING, staged.where.table), staged, list(staged.where.attempts))
        cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(STAGING, staged.where.table)))
        return moved

    def _held(self, rows: DataFrame, records: int) -> Held | None:
        """None where a row is longer than its share; from then on only smaller batches are tried, as its like may come."""
        share = SHORT_BYTES // max(records, 1)
        taken = rows.selectExpr(f"CASE WHEN octet_length({LINE}) <= {share} THEN {LINE} END AS {LINE}").toArrow()
        if taken.column(LINE).null_count:
            self._short = records // 2
            return None
        return Held(taken)

    def _by_tasks(self, rows: DataFrame, columns: list[str], mark: Mark) -> Tasks:
        table, statement = self._empty_staging(columns, mark)
        copied = rows.mapInArrow(copying.copier(self._database.arguments, statement), copying.STAGED).collect()
        return Tasks(table, {row["attempt"]: row["rows"] for row in copied if row["rows"]})

    def _empty_staging(self, columns: list[str], mark: Mark) -> tuple[str, str]:
        """Its name, and the statement that fills it."""
        table = f"{self._of_epoch(self._epoch)}{mark.batch_id}_{uuid4().hex[:8]}"
        staging = sql.Identifier(STAGING, table)
        with self._database.transaction() as cursor:
            cursor.execute(statements.create(staging, self._target, columns, self._columns, temporary=False))
            return table, statements.copy(staging, columns).as_string(cursor)

    def _move_held(self, cursor: Cursor, staged: Staged, held: Held) -> int:
        """The short way: the driver's rows, by COPY, in the one transaction there is."""
        draft = sql.Identifier(DRAFT)
        cursor.execute(statements.create(draft, self._target, staged.columns, self._columns, temporary=True))
        copying.send(cursor, statements.copy(draft, staged.columns).as_string(cursor), held.lines.column(0))
        return self._insert(cursor, draft, staged, [])

    def _check(self, cursor: Cursor, staged: Staged, tasks: Tasks) -> None:
        asked = "SELECT {attempt}, count(*) FROM {table} GROUP BY 1"
        table = sql.Identifier(STAGING, tasks.table)
        cursor.execute(sql.SQL(asked).format(attempt=sql.Identifier(ATTEMPT), table=table))
        found = {attempt: rows for attempt, rows in cursor.fetchall() if attempt in tasks.attempts}
        if found != tasks.attempts:
            raise StagingLost(self._target.table, staged.count, sum(found.values()))

    def _insert(self, cursor: Cursor, staging: sql.Composable, staged: Staged, attempts: list[int]) -> int:
        chosen = statements.REPORTED if attempts else statements.EVERY
        written = self._written(staged.columns)
        cursor.execute(statements.insert(self._target, staging, written, chosen), {"attempts": attempts})
        (moved,) = cursor.fetchone() or (0,) if self._target.delete else (cursor.rowcount,)
        return int(moved)

    def _flagged(self, rows: DataFrame) -> DataFrame:
        """With whether each deletes, where rows do."""
        delete = self._target.delete
        if delete is None:
            return rows
        return rows.withColumn(FLAG, F.coalesce(F.expr(delete.when), F.lit(False))).drop(*delete.drop)

    def _written(self, columns: list[str]) -> list[str]:
        """Of staged columns, those that the table has."""
        return [name for name in columns if name in self._columns]

    def _fitting(self, columns: list[str]) -> list[str]:
        """Columns to stage: all of them. An upsert needs coordinates to tell which is the latest, not to keep them."""
        missing = [name for name in columns if name not in self._columns and name not in statements.TYPES]
        if missing:
            raise DependencyMissing("PostgreSQL", self.name, f"it has no column {', '.join(missing)}")
        return columns

    def _described(self) -> list[str]:
        """The table's columns, once it is sure that it can take what the config says."""
        target = self._target
        try:
            with self._database.transaction() as cursor:
                columns = _columns(cursor, target.table)
                unique = _is_unique(cursor, target.table, target.key) if columns and target.key else True
        except psycopg2.Error as failure:
            raise DependencyMissing("PostgreSQL", self.name, words(failure)) from None
        needed = [*target.key, *([target.version] if target.version else [])] or COORDINATES
        lacking = [name for name in needed if name not in columns]
        if not columns or lacking:
            cause = f"it has no column {', '.join(lacking)}" if columns else "there is no such table"
            raise DependencyMissing("PostgreSQL", self.name, cause)
        if not unique:
            cause = f"it has no unique index on exactly ({', '.join(target.key)})"
            raise DependencyMissing("PostgreSQL", self.name, cause)
        return columns

    def _sweep(self) -> None:
        """What this instance, or one before it, left in the staging, and whoever still fills it; never a successor's."""
        with self._database.transaction() as cursor:
            cursor.execute(STAGED, (STAGING, self._prefix, self._of_epoch(self._epoch + 1)))
            for (table,) in cursor.fetchall():
                cursor.execute(END_COPIES, (f"{STAGING}.{table}",))
                cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(STAGING, table)))

    def _of_epoch(self, epoch: int) -> str:
        """How the names of an epoch's staging tables begin: in its order, so that an earlier instance's come first."""
        return f"{self._prefix}{epoch:010d}_"


def _columns(cursor: Cursor, table: str) -> list[str]:
    cursor.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        (quoted(table),),
    )
    return [name for (name,) in cursor.fetchall()]


def _is_unique(cursor: Cursor, table: str, key: list[str]) -> bool:
    cursor.execute(
        "SELECT array_agg(a.attname::text) FROM pg_index i, pg_attribute a WHERE i.indrelid = to_regclass(%s)"
        " AND i.indisunique AND i.indpred IS NULL AND a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)"
        " GROUP BY i.indexrelid",
        (quoted(table),),
    )
    return any(sorted(found) == sorted(key) for (found,) in cursor.fetchall())
