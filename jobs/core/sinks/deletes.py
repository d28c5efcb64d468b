"""Rows that delete: what takes a key out of a PostgreSQL table, and remembers that it did.

A row that is gone can't refuse an older one that comes late. So beside each table with deletes there is another one,
`stream_patterns.deleted_<hash of the table's name>`, with key and version of every row that was deleted; `patterns migrate`
makes it. A delete is guarded by its version as an upsert is: an older one deletes nothing newer, and one without a version
deletes nothing. A newer row brings its key back.
"""

from __future__ import annotations

import hashlib

from psycopg2 import sql

from jobs.core.config import PostgresSink as Target
from jobs.core.postgres import identifier, listed

FLAG = "_patterns_deleted"  # a column of the staging: whether a row deletes
WRITE = """
    WITH newest AS MATERIALIZED (
        SELECT DISTINCT ON ({key}) {columns}, {flag} FROM {staging} {chosen} ORDER BY {key}, {newest}
    ), forgotten AS (
        DELETE FROM {table} held USING newest
        WHERE newest.{flag} AND {held_is_it} AND (held.{version} IS NULL OR held.{version} <= newest.{version})
    ), deleted AS (
        INSERT INTO {memory} AS gone ({key}, {version})
        SELECT {key}, {version} FROM newest
        WHERE {flag} AND {version} IS NOT NULL AND NOT EXISTS (
            SELECT FROM {table} held WHERE {held_is_it} AND held.{version} > newest.{version}
        )
        ON CONFLICT ({key}) DO UPDATE SET {version} = excluded.{version} WHERE gone.{version} <= excluded.{version}
        RETURNING 1
    ), written AS (
        INSERT INTO {table} AS held ({columns})
        SELECT {columns} FROM newest
        WHERE NOT {flag} AND NOT EXISTS (
            SELECT FROM {memory} gone
            WHERE {gone_is_it} AND (newest.{version} IS NULL OR gone.{version} > newest.{version})
        )
        ON CONFLICT ({key}) DO UPDATE SET {values}
        WHERE held.{version} IS NULL OR held.{version} <= excluded.{version}
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM deleted) + (SELECT count(*) FROM written)
"""


def name(target: Target) -> str:
    """The table that remembers."""
    return f"stream_patterns.deleted_{hashlib.sha1(str(target.table).encode()).hexdigest()[:12]}"


def made(target: Target) -> list[sql.Composed]:
    """Statements that make it, where it is not there yet, in the types that the table has."""
    named = {
        "memory": identifier(name(target)),
        "index": sql.Identifier(f"{name(target).rpartition('.')[2]}_key"),
        "key": listed(target.key),
        "columns": listed([*target.key, str(target.version)]),
        "table": identifier(target.table),
    }
    asked = (
        "CREATE TABLE IF NOT EXISTS {memory} AS SELECT {columns} FROM {table} WITH NO DATA",
        "CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {memory} ({key})",
    )
    return [sql.SQL(one).format(**named) for one in asked]


def write(
    target: Target, staging: sql.Composable, columns: list[str], chosen: sql.Composable, newest: sql.Composable
) -> sql.Composed:
    """Of each key the newest staged row: deletes, or is written, unless what is there or was deleted is newer.

    Gives one row: how many of them did.
    """
    values = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in columns if name not in target.key]
    return sql.SQL(WRITE).format(
        table=identifier(target.table),
        memory=identifier(name(target)),
        staging=staging,
        chosen=chosen,
        columns=listed(columns),
        key=listed(target.key),
        flag=sql.Identifier(FLAG),
        version=sql.Identifier(str(target.version)),
        newest=newest,
        values=sql.SQL(", ").join(values),
        held_is_it=_same("held", target.key),
        gone_is_it=_same("gone", target.key),
    )


def _same(held: str, key: list[str]) -> sql.Composed:
    pairs = [sql.SQL("{0}.{1} = newest.{1}").format(sql.Identifier(held), sql.Identifier(column)) for column in key]
    return sql.SQL(" AND ").join(pairs)
