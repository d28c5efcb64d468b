"""The ledger of a sink in PostgreSQL: a row a batch, written in the transaction that moves the batch's rows into their table.

Either both are there or none. Numbers have no holes and are the table's key, so of two writers that go on from the same
record one is refused, with all of its rows: another instance, or one that was stopped and woke up.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any
from uuid import uuid4

import psycopg2
from psycopg2.errors import UniqueViolation

from jobs.core.errors import DependencyMissing, LedgerMismatch, SinkFailed
from jobs.core.failures import Kind, SinkFailure, kind, sqlstate, words
from jobs.core.ledger import BATCH, CONTINUED, WRITTEN, Counts, Entry, Told, untold
from jobs.core.postgres import Cursor, Database
from jobs.core.sinks.postgres import PostgresSink

COLUMNS = "kind, job, query_id, batch_id, start_offsets, end_offsets, counts, reasons, note, written_at::text"
INSERT = """
    INSERT INTO stream_patterns.ledger
        (job, seq, kind, query_id, batch_id, start_offsets, end_offsets, counts, reasons, note, written_at, instance)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
Fence = Callable[[Cursor], None]
TAKEN = {("stream_patterns", name) for name in ("ledger_pkey", "ledger_batch")}


def unfenced(cursor: Cursor) -> None:
    """For a ledger that is only read."""


class PostgresLedger:
    """`stream_patterns.ledger`, one job's rows of it."""

    atomic = True

    def __init__(
        self, database: Database, job: str, sink: PostgresSink, told: Told = untold, fence: Fence = unfenced
    ) -> None:
        """`sink` has what is staged for the next record; `fence` refuses what an instance of the past would write.

        Raises DependencyMissing where there is no ledger.
        """
        self._database, self._job, self._sink, self._told, self._fence = database, job, sink, told, fence
        self._instance = str(uuid4())
        self.path = f"stream_patterns.ledger at {database.address}"
        self.next, self.last_batch = self._newest()

    def append(self, entry: Entry) -> None:
        """Moves the batch's rows and writes its record, or neither; what an earlier attempt at it did, stays.

        Raises SinkFailure where another attempt, or fewer rows, may help; else LeaseLost, LedgerMismatch, StagingLost,
        SinkFailed.
        """
        try:
            whole = self._appended(entry)
        except psycopg2.Error as failure:
            raise self._explained(failure, entry) from None
        self._passed(whole)

    def written(self) -> int:
        with self._database.transaction() as cursor:
            mine = self._mine(cursor)
            asked = "SELECT coalesce(max(seq), -1) FROM stream_patterns.ledger WHERE job = %s AND kind = ANY (%s)"
            cursor.execute(asked, (self._job, list(WRITTEN)))
            (newest,) = cursor.fetchone() or (-1,)
        if mine:
            self._passed(mine)
        return int(newest)

    def holds(self, query_id: str, batch_id: int) -> bool:
        last = self.last_batch
        return last is not None and last.query_id == query_id and batch_id <= last.batch_id

    def entries(self) -> list[Entry]:
        with self._database.transaction() as cursor:
            cursor.execute(f"SELECT {COLUMNS} FROM stream_patterns.ledger WHERE job = %s ORDER BY seq", (self._job,))
            return [_entry(row) for row in cursor.fetchall()]

    def _passed(self, whole: Entry) -> None:
        self.next += 1
        if whole.kind in CONTINUED:
            self.last_batch = whole
        self._told(whole)

    def _appended(self, entry: Entry) -> Entry:
        """The record as it is there; while an earlier attempt's commit was still under way, this one waited for its end."""
        try:
            with self._database.transaction() as cursor:
                self._fence(cursor)
                return self._mine(cursor) or self._write(cursor, entry)
        except UniqueViolation:
            with self._database.transaction() as cursor:
                mine = self._mine(cursor)
            if mine is None:
                raise
            return mine

    def _mine(self, cursor: Cursor) -> Entry | None:
        """The next record, where this instance wrote it in a transaction whose end it never heard of."""
        asked = f"SELECT {COLUMNS} FROM stream_patterns.ledger WHERE job = %s AND seq = %s AND instance = %s"
        cursor.execute(asked, (self._job, self.next, self._instance))
        row = cursor.fetchone()
        return _entry(row) if row else None

    def _write(self, cursor: Cursor, entry: Entry) -> Entry:
        whole = self._moved(cursor, entry)
        cursor.execute(INSERT, (*_values(whole, self.next), self._instance))
        return whole

    def _moved(self, cursor: Cursor, entry: Entry) -> Entry:
        """The record, with what turned out to be older than what the table has. A batch without rows stages none, too."""
        if entry.kind != BATCH and not entry.counts.written:
            return entry
        older = self._sink.move(cursor, entry.mark)
        return replace(entry, counts=replace(entry.counts, written=entry.counts.written - older, superseded=older))

    def _explained(self, failure: psycopg2.Error, entry: Entry) -> Exception:
        """Without the values of a row that was refused: PostgreSQL's own detail has them."""
        if isinstance(failure, UniqueViolation) and (failure.diag.schema_name, failure.diag.constraint_name) in TAKEN:
            cause = f"record {self.next} of {self._job} was written by another instance"
            return LedgerMismatch("-", self.path, cause, "Stop one of them.")
        if kind(failure) is not Kind.PERMANENT:
            return SinkFailure(sqlstate(failure), words(failure))
        return SinkFailed(self._sink.name, entry.batch_id, words(failure))

    def _newest(self) -> tuple[int, Entry | None]:
        asked = (
            f"SELECT {COLUMNS} FROM stream_patterns.ledger WHERE job = %s AND kind = ANY (%s) ORDER BY seq DESC LIMIT 1",
            "SELECT coalesce(max(seq) + 1, 0) FROM stream_patterns.ledger WHERE job = %s",
        )
        try:
            with self._database.transaction() as cursor:
                cursor.execute(asked[0], (self._job, list(CONTINUED)))
                row = cursor.fetchone()
                cursor.execute(asked[1], (self._job,))
                return int((cursor.fetchone() or (0,))[0]), _entry(row) if row else None
        except psycopg2.Error as failure:
            cause = f"{words(failure)}; `patterns migrate` makes what is missing"
            raise DependencyMissing("ledger", self.path, cause) from None


def _values(entry: Entry, seq: int) -> tuple[Any, ...]:
    place = (entry.job, seq, entry.kind, entry.query_id, entry.batch_id, entry.start, entry.end)
    found = (json.dumps(asdict(entry.counts)), json.dumps(entry.reasons), json.dumps(entry.note))
    return (*place, *found, entry.written_at)


def _entry(row: tuple[Any, ...]) -> Entry:
    kind, job, query_id, batch_id, start, end, counts, reasons, note, written_at = row
    return Entry(kind, job, query_id, batch_id, start, end, Counts(**counts), written_at, reasons, note)
