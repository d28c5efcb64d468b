"""The keys of subjects: in PostgreSQL, where one can be dropped for good; `patterns migrate` makes their table.

A key belongs to one subject in one log (its table's id), which are known by the SHA-256 of the subject's name. Executors ask
for those that a batch of rows needs, in one statement, and keep them for as long as their task.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg2
import pyarrow as pa
from psycopg2.extras import execute_values

from jobs.core.config import Postgres
from jobs.core.errors import DependencyMissing
from jobs.core.failures import SinkFailure, carried, sqlstate, words
from jobs.core.postgres import Arguments, Cursor, Database

BYTES = 32  # AES-256
SEALING = pa.struct([("id", pa.string()), ("key", pa.binary())])
OPENING = pa.struct([("key", pa.binary()), ("forgotten", pa.bool_())])
IN_USE = "SELECT subject, id::text, key FROM stream_patterns.subject_keys WHERE log_id = %s AND subject = ANY (%s)"
MAKE = "INSERT INTO stream_patterns.subject_keys (id, log_id, subject, key) VALUES %s ON CONFLICT DO NOTHING"
BY_ID = """
    SELECT id::text, key, forgotten_at IS NOT NULL FROM stream_patterns.subject_keys WHERE id = ANY (%s::uuid[])
"""
FORGOTTEN = "SELECT count(*) FROM stream_patterns.subject_keys WHERE log_id = %s AND forgotten_at IS NOT NULL"
FORGET = """
    UPDATE stream_patterns.subject_keys SET subject = NULL, key = NULL, forgotten_at = now()
    WHERE log_id = %s AND subject = %s RETURNING id::text
"""
Arrays = Iterator[pa.Array]
Ask = Callable[[Cursor, list[str]], Mapping[str, Any]]


def digest(subject: str) -> bytes:
    """What the table knows a subject by."""
    return hashlib.sha256(subject.encode()).digest()


class SealKey(NamedTuple):
    id: str
    key: bytes


class OpenKey(NamedTuple):
    """A key that there is, or was; what nobody has heard of is neither."""

    key: bytes | None = None
    forgotten: bool = False


@dataclass(frozen=True)
class SubjectKeys:
    """Those of all logs in one database."""

    connect: Arguments = field(repr=False)
    address: str

    @classmethod
    def of(cls, postgres: Postgres) -> SubjectKeys:
        database = Database(postgres)
        return cls(database.arguments, database.address)

    def sealing(self, log_id: str) -> Callable[[Arrays], Arrays]:
        """A task's work: subjects -> SEALING; a subject without a key gets one."""
        return self._asking(SEALING, lambda cursor, subjects: made(cursor, log_id, subjects))

    def opening(self) -> Callable[[Arrays], Arrays]:
        """A task's work: ids -> OPENING."""
        return self._asking(OPENING, found)

    def check(self) -> None:
        """Raises DependencyMissing unless database and table are there."""
        self.forgotten("")

    def forgotten(self, log_id: str) -> int:
        """How many subjects of a log are. Raises DependencyMissing."""
        with self._driver() as cursor:
            cursor.execute(FORGOTTEN, (log_id,))
            return int((cursor.fetchone() or (0,))[0])

    def key_of(self, log_id: str, subject: str) -> str | None:
        """The id of a subject's key. Raises DependencyMissing."""
        with self._driver() as cursor:
            cursor.execute(IN_USE, (log_id, [digest(subject)]))
            row = cursor.fetchone()
            return str(row[1]) if row else None

    def forget(self, log_id: str, subject: str) -> str | None:
        """Drops a subject's key for good; its id, or None where there is none. Raises DependencyMissing."""
        with self._driver() as cursor:
            cursor.execute(FORGET, (log_id, digest(subject)))
            row = cursor.fetchone()
            return str(row[0]) if row else None

    def _asking(self, kind: pa.DataType, ask: Ask) -> Callable[[Arrays], Arrays]:
        connect = self.connect

        def asked(arrays: Arrays) -> Arrays:
            known: dict[str, Any] = {}
            with contextlib.ExitStack() as open_ones:
                cursor: Cursor | None = None
                for array in arrays:
                    encoded = array.dictionary_encode()
                    names = encoded.dictionary.to_pylist()
                    unknown = sorted(set(names) - known.keys())
                    if unknown:
                        cursor = cursor or open_ones.enter_context(_connected(connect))
                        with carried():
                            known |= ask(cursor, unknown)
                    yield _structs([known[name] for name in names], kind).take(encoded.indices)

        return asked

    @contextlib.contextmanager
    def _driver(self) -> Iterator[Cursor]:
        try:
            with _connected(self.connect, carry=False) as cursor:
                yield cursor
        except psycopg2.Error as failure:
            cause = f"{words(failure)}; `patterns migrate` makes what is missing"
            kind = SinkFailure(sqlstate(failure), words(failure))  # whether it may pass
            raise DependencyMissing("keys of subjects", self.address, cause) from kind


def made(cursor: Cursor, log_id: str, subjects: list[str]) -> dict[str, SealKey]:
    """The key of each subject. Sorted, so that two tasks with the same new subjects wait for each other, not both."""
    digests = {digest(subject): subject for subject in subjects}
    held = _in_use(cursor, log_id, digests)
    new = [(str(uuid4()), log_id, one, os.urandom(BYTES)) for one in sorted(digests) if digests[one] not in held]
    if new:
        execute_values(cursor, MAKE, new, page_size=len(new))
        held |= _in_use(cursor, log_id, {one: digests[one] for _, _, one, _ in new})
    return held


def found(cursor: Cursor, ids: list[str]) -> dict[str, OpenKey]:
    """What is known of keys."""
    cursor.execute(BY_ID, (ids,))
    known = {name: OpenKey(None if key is None else bytes(key), gone) for name, key, gone in cursor.fetchall()}
    return {name: known.get(name, OpenKey()) for name in ids}


def _in_use(cursor: Cursor, log_id: str, digests: Mapping[bytes, str]) -> dict[str, SealKey]:
    cursor.execute(IN_USE, (log_id, list(digests)))
    return {digests[bytes(one)]: SealKey(name, bytes(key)) for one, name, key in cursor.fetchall()}


def _structs(rows: Iterable[Any], kind: pa.DataType) -> pa.Array:
    names = [kind.field(number).name for number in range(kind.num_fields)]
    return pa.array([dict(zip(names, row)) for row in rows], kind)


@contextlib.contextmanager
def _connected(connect: Arguments, carry: bool = True) -> Iterator[Cursor]:
    """Each statement is a transaction of its own: a key is there before anything is sealed with it."""
    with carried() if carry else contextlib.nullcontext():
        connection = psycopg2.connect(**connect)
    with contextlib.closing(connection), connection.cursor() as cursor:
        connection.autocommit = True
        yield cursor
