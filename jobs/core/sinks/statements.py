"""The statements that fill a staging table and empty it into its target; names are quoted, values are parameters."""

from __future__ import annotations

from psycopg2 import sql

from jobs.core.config import PostgresSink as Target
from jobs.core.postgres import identifier, listed
from jobs.core.sinks.copying import ATTEMPT
from jobs.core.sources import COORDINATES

TYPES = {"_topic": "text", "_partition": "int", "_offset": "bigint"}  # where the target has no such column


def create(
    table: sql.Composable, target: Target, columns: list[str], own: list[str], temporary: bool
) -> sql.Composable:
    """A staging table in the target's types, without its constraints: those speak up when the rows are moved."""
    kind, end = ("TEMPORARY", "ON COMMIT DROP") if temporary else ("UNLOGGED", "WITH (autovacuum_enabled = false)")
    asked = "CREATE {} TABLE {} {} AS SELECT {}, NULL::bigint AS {} FROM {} WITH NO DATA"
    return sql.SQL(asked).format(
        sql.SQL(kind),
        table,
        sql.SQL(end),
        sql.SQL(", ").join(_typed(name, name in own) for name in columns),
        sql.Identifier(ATTEMPT),
        identifier(target.table),
    )


def _typed(name: str, is_own: bool) -> sql.Composable:
    kind = "" if is_own else f"NULL::{TYPES[name]} AS "
    return sql.SQL(kind) + sql.Identifier(name)


def copy(table: sql.Composable, columns: list[str]) -> sql.Composable:
    """For CSV of these columns."""
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(table, listed(columns))


def append(target: Target, staging: sql.Composable, columns: list[str], chosen: bool) -> sql.Composable:
    """Every staged row becomes one."""
    asked = "INSERT INTO {target} ({columns}) SELECT {columns} FROM {staging} {chosen}"
    return sql.SQL(asked).format(
        target=identifier(target.table), columns=listed(columns), staging=staging, chosen=_chosen(chosen)
    )


def upsert(target: Target, staging: sql.Composable, columns: list[str], chosen: bool) -> sql.Composable:
    """Sorted by key, which also fills the index in its own order; the version guards what is there."""
    asked = (
        "INSERT INTO {target} AS held ({columns})"
        " SELECT DISTINCT ON ({key}) {columns} FROM {staging} {chosen} ORDER BY {key}, {newest}"
        " ON CONFLICT ({key}) DO UPDATE SET {values}"
        " WHERE held.{version} IS NULL OR held.{version} <= excluded.{version}"
    )
    latest = (str(target.version), *reversed(COORDINATES))
    newest = [sql.SQL("{} DESC NULLS LAST").format(sql.Identifier(name)) for name in latest]
    values = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in columns if name not in target.key]
    return sql.SQL(asked).format(
        target=identifier(target.table),
        columns=listed(columns),
        key=listed(target.key),
        staging=staging,
        chosen=_chosen(chosen),
        newest=sql.SQL(", ").join(newest),
        values=sql.SQL(", ").join(values),
        version=sql.Identifier(str(target.version)),
    )


def _chosen(chosen: bool) -> sql.Composable:
    clause = "WHERE {} = ANY (%(attempts)s)" if chosen else ""
    return sql.SQL(clause).format(sql.Identifier(ATTEMPT))
