"""Answers of a lookup kept on one machine: a file for each part of the keys, which the tasks of that part have in turn.

Python's workers are not bound to parts of the keys, so what one of them holds in memory, the next task would ask for again. A
file serves whichever worker comes, and ends with the application, in whose folder it lies. It is worth nothing more than the
calls that it saves: one that cannot be read or written is as good as none.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeVar

WAIT_S = 5.0  # for another attempt at the same task that has the file
ANSWERS = """
    CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value BLOB, asked_at REAL NOT NULL, used_at REAL NOT NULL)
    WITHOUT ROWID
"""
READ = "SELECT key, value, asked_at FROM answers WHERE key IN (SELECT value FROM json_each(?))"
USED = "UPDATE answers SET used_at = ? WHERE key IN (SELECT value FROM json_each(?))"
WRITE = "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)"
EVICT = """
    DELETE FROM answers WHERE key IN (SELECT key FROM answers ORDER BY used_at LIMIT max(0, (SELECT count(*) FROM answers) - ?))
"""
T = TypeVar("T")
log = logging.getLogger(__name__)


class Kept(NamedTuple):
    """An answer, None where there is none for the key, and when it was asked for, in seconds since the epoch."""

    value: bytes | None
    asked_at: float


class Cache:
    """The answers of one part of the keys."""

    def __init__(self, file: Path, most: int) -> None:
        """It keeps at most so many, those that were used last."""
        self._file, self._most = file, most
        self._open: sqlite3.Connection | None = None

    def __enter__(self) -> Cache:
        self._open = self._tried(self._connect, None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._open:
            self._open.close()

    def read(self, keys: Iterable[str], now: float) -> dict[str, Kept]:
        """What is known of these keys, however old."""
        listed = json.dumps(list(keys))

        def ask(database: sqlite3.Connection) -> dict[str, Kept]:
            with database:
                found = {key: Kept(value, asked_at) for key, value, asked_at in database.execute(READ, (listed,))}
                database.execute(USED, (now, json.dumps(list(found))))
            return found

        return self._with(ask, {})

    def write(self, answers: Mapping[str, bytes | None], now: float) -> None:
        """Keeps them, and forgets those that were not used for longest."""

        def put(database: sqlite3.Connection) -> None:
            with database:
                database.executemany(WRITE, [(key, value, now, now) for key, value in answers.items()])
                database.execute(EVICT, (self._most,))

        self._with(put, None)

    def _with(self, step: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        database = self._open
        return otherwise if database is None else self._tried(lambda: step(database), otherwise)

    def _tried(self, step: Callable[[], T], otherwise: T) -> T:
        """What the step gives; after a failure the file serves no more to this task."""
        try:
            return step()
        except (sqlite3.Error, OSError) as failure:
            log.warning("answers are not kept in %s: %s", self._file.name, failure)
            if self._open:
                self._open.close()
            self._open = None
            return otherwise

    def _connect(self) -> sqlite3.Connection:
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        database = sqlite3.connect(self._file, timeout=WAIT_S)
        try:
            database.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; {ANSWERS}")
        except BaseException:
            with closing(database):
                raise
        return database
