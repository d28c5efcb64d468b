"""A lease in PostgreSQL, a row a job: for sinks in the same database.

The holder's session has a shared advisory lock of the job, and so has each transaction that writes for it: a lease whose lock
nobody has is free, as its holder's connections are gone. Whoever takes a lease over ends the sessions that still have the lock:
what a stopped instance had open is undone. Every transaction that writes reads the epoch, and keeps the row from being
taken until it has ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg2

from jobs.core.errors import DependencyMissing
from jobs.core.failures import words
from jobs.core.holder import Holder, parse
from jobs.core.lease import Lease, Seen
from jobs.core.postgres import END_SESSION, Cursor, Database

T = TypeVar("T")
Given = dict[str, Any]
KEY = "hashtextextended('stream_patterns.lease ' || %(job)s, 0)"
LOCKED = f"""
    SELECT l.pid FROM pg_locks l, (SELECT {KEY} AS number) k
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.classid::bigint = (k.number >> 32) & 4294967295 AND l.objid::bigint = k.number & 4294967295
"""
LOOK = f"""
    SELECT holder, epoch, renewed_at::text, given_back, NOT EXISTS ({LOCKED})
    FROM stream_patterns.lease WHERE job = %(job)s
"""
END_SESSIONS = f"{END_SESSION} WHERE pid IN ({LOCKED})"
FIRST = """
    INSERT INTO stream_patterns.lease (job, epoch, holder, given_back, renewed_at)
    VALUES (%(job)s, %(epoch)s, %(holder)s, false, clock_timestamp()) ON CONFLICT DO NOTHING
"""
WAIT = "SELECT FROM stream_patterns.lease WHERE job = %(job)s FOR UPDATE"
NEXT = """
    UPDATE stream_patterns.lease
    SET epoch = %(epoch)s, holder = %(holder)s, given_back = false, renewed_at = clock_timestamp()
    WHERE job = %(job)s AND renewed_at = %(sign)s::timestamptz
"""
MINE = "job = %(job)s AND holder = %(holder)s"
RENEW = f"UPDATE stream_patterns.lease SET renewed_at = clock_timestamp() WHERE {MINE}"
GIVE_BACK = f"UPDATE stream_patterns.lease SET given_back = true WHERE {MINE}"
HOLD = f"SELECT pg_advisory_lock_shared({KEY})"
FENCE = (
    f"SELECT epoch, pg_advisory_xact_lock_shared({KEY}) FROM stream_patterns.lease WHERE job = %(job)s FOR KEY SHARE"
)


class PostgresRegister:
    """One job's row; on a connection of its own, which threads take in turn."""

    def __init__(self, database: Database, job: str) -> None:
        self.path = f"stream_patterns.lease at {database.address}"
        self._database, self._job = database, job
        self._holder = ""
        self._locked: Any = None  # the connection that has the lock
        self._turn = threading.Lock()  # a connection is one thread's at a time

    def look(self) -> Seen | None:
        """Raises DependencyMissing where there is no such table."""
        try:
            row = self._asked(_read(LOOK, self._given()))
        except psycopg2.Error as failure:
            cause = f"{words(failure)}; `patterns migrate` makes what is missing"
            raise DependencyMissing("lease", self.path, cause) from None
        if row is None:
            return None
        holder, epoch, sign, given_back, unlocked = row
        found = parse(holder)
        return Seen(found, epoch, sign, given_back, unlocked or found.is_gone())

    def claim(self, before: Seen | None, holder: Holder, epoch: int) -> bool:
        given = {"job": self._job, "holder": holder.text(), "epoch": epoch, "sign": before.sign if before else None}
        taken = self._asked(lambda cursor: _claimed(self._held(cursor), before, given))
        if not taken:
            self._database.close()  # and with it the lock
        self._holder = holder.text()
        return taken

    def renew(self) -> bool:
        return self._asked(lambda cursor: _done(self._held(cursor), RENEW, self._given()))

    def give_back(self) -> None:
        self._asked(lambda cursor: _done(cursor, GIVE_BACK, self._given()))
        self._database.close()

    def _asked(self, step: Callable[[Cursor], T]) -> T:
        """What a transaction gives; a connection that was ended meanwhile is opened again, once."""
        with self._turn:
            try:
                with self._database.transaction() as cursor:
                    return step(cursor)
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                with self._database.transaction() as cursor:
                    return step(cursor)

    def _held(self, cursor: Cursor) -> Cursor:
        """With the lock, which is the connection's: a new one has to get it again."""
        if cursor.connection is not self._locked:
            cursor.execute(HOLD, self._given())
            self._locked = cursor.connection
        return cursor

    def _given(self) -> Given:
        return {"job": self._job, "holder": self._holder}


def _claimed(cursor: Cursor, before: Seen | None, given: Given) -> bool:
    """Ends what a holder before had open, waits until its last transaction has ended, and takes its place."""
    if before:
        if not before.given_back:
            cursor.execute(END_SESSIONS, given)
        cursor.execute(WAIT, given)
    return _done(cursor, NEXT if before else FIRST, given)


def _done(cursor: Cursor, statement: str, given: Given) -> bool:
    """Whether a statement has found a row."""
    cursor.execute(statement, given)
    return bool(cursor.rowcount)


def _read(statement: str, given: Given) -> Callable[[Cursor], tuple[Any, ...] | None]:
    def step(cursor: Cursor) -> tuple[Any, ...] | None:
        cursor.execute(statement, given)
        return cursor.fetchone()

    return step


def fence(lease: Lease) -> Callable[[Cursor], None]:
    """For the beginning of each transaction that writes: it raises LeaseLost where the lease is another's."""

    def check(cursor: Cursor) -> None:
        cursor.execute(FENCE, {"job": lease.job})
        row = cursor.fetchone()
        if row is None or row[0] != lease.epoch:
            raise lease.loss()

    return check
