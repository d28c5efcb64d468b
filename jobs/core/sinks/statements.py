"""The statements that fill a staging table and empty it into its target; names are quoted, values are parameters."""

from __future__ import annotations

from psycopg2 import sql

from jobs.core.config import PostgresSink as Target
from jobs.core.postgres import identifier, listed
from jobs.core.sinks import deletes
from jobs.core.sinks.copying import ATTEMPT, ATTEMPT_SETTING
from jobs.core.sinks.deletes import FLAG
from jobs.core.sources import COORDINATES

TYPES = {
    "_topic": "text",
    "_partition": "int",
    "_offset": "bigint",
    FLAG: "boolean",
}  # where the target has no such column
EVERY = sql.SQL("")
MEMORY = (  # until the transaction ends
    "SELECT set_config('work_mem', %(kb)s || 'kB', true)"
    " WHERE pg_size_bytes(current_setting('work_mem')) < %(kb)s::bigint * 1024"
)
REPORTED = sql.SQL("WHERE {} = ANY (%(attempts)s)").format(sql.Identifier(ATTEMPT))
TURN = sql.SQL(
    "WHERE _rank = %(rank)s AND _number >= %(first)s AND _number < %(after)s"
    " AND (%(keys)s::bigint[] IS NULL OR _key = ANY (%(keys)s))"
)
RANKED = sql.Identifier("patterns_ranked")  # the session's own table of rows that are judged
INDEX = sql.SQL("CREATE INDEX ON {0} (_rank, _number); ANALYZE {0}").format(RANKED)
KEYS = sql.SQL("SELECT _key FROM {} WHERE _number = ANY (%(numbers)s)").format(RANKED)
PLACES = sql.SQL("SELECT _number, {} FROM {} WHERE _number = ANY (%(numbers)s)").format(listed(COORDINATES), RANKED)


def create(
    table: sql.Composable, target: Target, columns: list[str], own: list[str], temporary: bool
) -> sql.Composable:
    """A staging table in the target's types, without its constraints: those speak up when the rows are moved.

    Whoever fills it has its attempt in the session's setting; in the session's own table it stays empty.
    """
    kind, end = ("TEMPORARY", "ON COMMIT DROP") if temporary else ("UNLOGGED", "WITH (autovacuum_enabled = false)")
    asked = (
        "CREATE {kind} TABLE {table} {end} AS SELECT {columns}, NULL::bigint AS {attempt} FROM {target} WITH NO DATA"
    )
    filled = "; ALTER TABLE {table} ALTER {attempt} SET DEFAULT current_setting({setting}, true)::bigint"
    return sql.SQL(asked + filled).format(
        kind=sql.SQL(kind),
        table=table,
        end=sql.SQL(end),
        columns=sql.SQL(", ").join(_typed(name, name in own) for name in columns),
        attempt=sql.Identifier(ATTEMPT),
        target=identifier(target.table),
        setting=sql.Literal(ATTEMPT_SETTING),
    )


def _typed(name: str, is_own: bool) -> sql.Composable:
    kind = "" if is_own else f"NULL::{TYPES[name]} AS "
    return sql.SQL(kind) + sql.Identifier(name)


def copy(table: sql.Composable, columns: list[str]) -> sql.Composable:
    """For CSV of these columns."""
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(table, listed(columns))


def ranked(target: Target, staging: sql.Composable, columns: list[str]) -> sql.Composed:
    """What reported attempts staged, numbered by coordinates from 0; for an upsert also by key, and in each from the newest."""
    asked = (
        "CREATE TEMPORARY TABLE {ranked} ON COMMIT DROP AS"
        " SELECT row_number() OVER (ORDER BY {coordinates}) - 1 AS _number, {key} AS _key, {rank} AS _rank, {columns}"
        " FROM {staging} {reported}"
    )
    key, rank = "0", "1"
    if target.mode == "upsert":
        key, rank = "dense_rank() OVER (ORDER BY {key})", "row_number() OVER (PARTITION BY {key} ORDER BY {newest})"
    named = {"key": listed(target.key), "newest": _newest(target)}
    return sql.SQL(asked).format(
        ranked=RANKED,
        coordinates=listed(COORDINATES),
        key=sql.SQL(key).format(**named),
        rank=sql.SQL(rank).format(**named),
        columns=listed(columns),
        staging=staging,
        reported=REPORTED,
    )


def insert(target: Target, staging: sql.Composable, columns: list[str], chosen: sql.Composable) -> sql.Composed:
    """From the chosen rows of the staging into the table."""
    if target.delete:
        return deletes.write(target, staging, columns, chosen, _newest(target))
    return (_upsert if target.mode == "upsert" else _append)(target, staging, columns, chosen)


def _append(target: Target, staging: sql.Composable, columns: list[str], chosen: sql.Composable) -> sql.Composed:
    """Every staged row becomes one."""
    asked = "INSERT INTO {target} ({columns}) SELECT {columns} FROM {staging} {chosen}"
    return sql.SQL(asked).format(
        target=identifier(target.table), columns=listed(columns), staging=staging, chosen=chosen
    )


def _upsert(target: Target, staging: sql.Composable, columns: list[str], chosen: sql.Composable) -> sql.Composed:
    """Sorted by key, which also fills the index in its own order; the version guards what is there."""
    asked = (
        "INSERT INTO {target} AS held ({columns})"
        " SELECT DISTINCT ON ({key}) {columns} FROM {staging} {chosen} ORDER BY {key}, {newest}"
        " ON CONFLICT ({key}) DO UPDATE SET {values}"
        " WHERE held.{version} IS NULL OR held.{version} <= excluded.{version}"
    )
    values = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in columns if name not in target.key]
    return sql.SQL(asked).format(
        target=identifier(target.table),
        columns=listed(columns),
        key=listed(target.key),
        staging=staging,
        chosen=chosen,
        newest=_newest(target),
        values=sql.SQL(", ").join(values),
        version=sql.Identifier(str(target.version)),
    )


def _newest(target: Target) -> sql.Composed:
    latest = (str(target.version), *reversed(COORDINATES))
    return sql.SQL(", ").join(sql.SQL("{} DESC NULLS LAST").format(sql.Identifier(name)) for name in latest)
