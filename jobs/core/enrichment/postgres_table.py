"""A table in PostgreSQL that is asked by key: many keys a call, each answer the row's columns as JSON."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import POLL_OK, POLL_READ
from psycopg2.extensions import connection as Connection

from jobs.core.enrichment.asking import Ask, Given, NoAnswer
from jobs.core.errors import DependencyMissing
from jobs.core.failures import carried, words
from jobs.core.postgres import Arguments, Cursor, Database, identifier, quoted

COLUMNS = """
    SELECT a.attname, format_type(kind.oid, -1) FROM pg_attribute a, LATERAL (
        WITH RECURSIVE known AS (
            SELECT oid, typbasetype FROM pg_type WHERE oid = a.atttypid
            UNION ALL SELECT t.oid, t.typbasetype FROM known JOIN pg_type t ON t.oid = known.typbasetype
        )
        SELECT oid FROM known WHERE typbasetype = 0
    ) kind
    WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""  # without a length, which would cut a key that is longer, and without a domain, which would not take some
ASKED = """
    SELECT k._nth::int, {row}::text FROM jsonb_to_recordset(%s::jsonb) AS k (_nth int, {keys}) JOIN {table} t ON {on}
"""


TWO_ROWS = NoAnswer("the table has more than one row for the key")


@dataclass(frozen=True)
class PostgresTable:
    """Keys -> rows of one table; `statement` takes the keys as one JSON array.

    A server that stands still does not say so, and libpq would wait for it: so the connection is polled, within `timeout_s`.
    """

    name: str
    connect: Arguments = field(repr=False)
    statement: str
    timeout_s: float  # to connect, and of each statement

    @contextlib.contextmanager
    def open(self) -> Iterator[Ask]:
        limit = f"{self.connect.get('options', '')} -c statement_timeout={max(1, int(self.timeout_s * 1_000))}"
        with carried():
            connection = psycopg2.connect(**{**self.connect, "options": limit}, async_=True)
        with contextlib.closing(connection):
            with carried():
                self._await(connection)
            with connection.cursor() as cursor:
                yield lambda keys: self._asked(cursor, keys)

    def _asked(self, cursor: Cursor, keys: Sequence[str]) -> Given:
        with carried():
            return self._fitting(cursor, keys)

    def _fitting(self, cursor: Cursor, keys: Sequence[str]) -> Given:
        """Those that the table does not take as keys, as its type has no such value, are found by halves."""
        try:
            return self._rows(cursor, keys)
        except psycopg2.DataError as unfit:
            if len(keys) == 1:
                return {keys[0]: NoAnswer(f"the table takes no such key ({type(unfit).__name__})")}
            half = len(keys) // 2
            return {**self._fitting(cursor, keys[:half]), **self._fitting(cursor, keys[half:])}

    def _rows(self, cursor: Cursor, keys: Sequence[str]) -> Given:
        """Keys are JSON objects; each gets its number beside its columns."""
        asked = ", ".join(f'{{"_nth": {number}, {key[1:]}' for number, key in enumerate(keys))
        found: dict[str, bytes | NoAnswer | None] = dict.fromkeys(keys)
        cursor.execute(self.statement, (f"[{asked}]",))
        self._await(cursor.connection)
        rows = cursor.fetchall()
        for number, row in rows:
            key = keys[number]
            found[key] = row.encode() if found[key] is None else TWO_ROWS
        return found

    def _await(self, connection: Connection) -> None:
        """Until what was begun is done. Raises TimeoutError."""
        ends = time.monotonic() + self.timeout_s
        while (state := connection.poll()) != POLL_OK:
            poller = select.poll()
            poller.register(connection.fileno(), select.POLLIN if state == POLL_READ else select.POLLOUT)
            left = ends - time.monotonic()
            if left <= 0 or not poller.poll(left * 1_000):
                raise TimeoutError(f"no answer within {self.timeout_s:g} s")


def postgres_table(
    database: Database, table: str, key: Sequence[str], columns: Sequence[str], timeout_s: float = 5.0
) -> PostgresTable:
    """Of a table that is there. Raises DependencyMissing for one that is not, or lacks a column."""
    try:
        with database.transaction() as cursor:
            cursor.execute(COLUMNS, (quoted(table),))
            types: dict[str, str] = dict(cursor.fetchall())
            missing = [name for name in (*key, *columns) if name not in types]
            whys = [] if types else ["the database has no such table"]
            whys += [f"it has no column {name}" for name in missing]
            whys += [
                f"{name} is {types[name]}, which is not looked up" for name in columns if types.get(name) in NOT_SHOWN
            ]
            if whys:
                raise DependencyMissing(f"table {table} at", database.address, whys[0])
            statement = _statement(table, key, columns, types).as_string(cursor)
            return PostgresTable(table, database.arguments, statement, timeout_s)
    except psycopg2.Error as failure:
        raise DependencyMissing(f"table {table} at", database.address, words(failure)) from None


def _statement(table: str, key: Sequence[str], columns: Sequence[str], types: Mapping[str, str]) -> sql.Composed:
    """A key's type is what the database itself calls it."""
    keys = [sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(types[name])) for name in key]
    on = [sql.SQL("t.{0} = k.{0}").format(sql.Identifier(name)) for name in key]
    row = sql.SQL("json_build_object({})").format(
        sql.SQL(", ").join(part for name in columns for part in (sql.Literal(name), _shown(name, types[name])))
    )
    parts = {"row": row, "keys": sql.SQL(", ").join(keys), "table": identifier(table), "on": sql.SQL(" AND ").join(on)}
    return sql.SQL(ASKED).format(**parts)


# How a column of a type becomes JSON that a record's decoder reads; the others do by themselves.
SHOWN = {
    "bytea": "replace(encode(t.{}, 'base64'), E'\\n', '')",
    "json": "t.{}::text",
    "jsonb": "t.{}::text",
    "timestamp without time zone": "t.{} AT TIME ZONE 'UTC'",
}
NOT_SHOWN = ("timestamp without time zone[]", "bytea[]")


def _shown(name: str, kind: str) -> sql.Composable:
    return sql.SQL(SHOWN.get(kind, "t.{}")).format(sql.Identifier(name))
