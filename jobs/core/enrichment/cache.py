"""Answers of a lookup kept on one machine: a file for each part of the keys, which the tasks of that part have in turn.

Python's workers are not bound to parts of the keys, so what one of them holds in memory, the next task would ask for again. A
file serves whichever worker comes, and ends with the application, in whose folder it lies. It is worth nothing more than the
calls that it saves: one that cannot be read or written is as good as none.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeVar

WAIT_S = 5.0  # for another attempt at the same task that has the file
ANSWERS = """
    CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value BLOB, asked_at REAL NOT NULL, used_at REAL NOT NULL)
    WITHOUT ROWID
"""
READ = "SELECT k.key, a.value, a.asked_at FROM json_each(?) k LEFT JOIN answers a ON a.key = k.value"
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
        """It keeps at most so many when it is closed, those that were used last."""
        self._file, self._most, self._has_grown = file, most, False
        self._open: sqlite3.Connection | None = None

    def __enter__(self) -> Cache:
        self._open = self._tried(self._connect, None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._has_grown:
            self._with(self._evict, None)
        if self._open:
            self._open.close()

    def read(self, keys: Sequence[str], now: float, most_bytes: int) -> dict[str, Kept | None]:
        """What is known of these keys, however old; of the first of them where answers are longer than that in all."""

        def ask(database: sqlite3.Connection) -> dict[str, Kept | None]:
            found, held = dict[str, Kept | None](), 0
            with database, closing(database.execute(READ, (json.dumps(keys),))) as rows:
                for number, value, asked_at in rows:
                    found[keys[number]] = None if asked_at is None else Kept(value, asked_at)
                    held += len(value or b"")
                    if held >= most_bytes:
                        break
                database.execute(USED, (now, json.dumps([key for key, kept in found.items() if kept])))
            return found

        return self._with(ask, dict.fromkeys(keys))

    def write(self, answers: Mapping[str, bytes | None], now: float) -> None:
        """Keeps them."""

        def put(database: sqlite3.Connection) -> None:
            with database:
                database.executemany(WRITE, [(key, value, now, now) for key, value in answers.items()])

        self._with(put, None)
        self._has_grown = True

    def _evict(self, database: sqlite3.Connection) -> None:
        with database:
            database.execute(EVICT, (self._most,))

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
