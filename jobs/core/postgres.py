"""PostgreSQL as the jobs meet it outside of Spark's JDBC: connections and their time-outs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from jobs.core import urls
from jobs.core.config import Postgres

__all__ = ["Cursor"]  # so that nobody else needs to know where psycopg2 keeps it
END_SESSION = """
    SELECT pg_terminate_backend(pid) FROM (
        SELECT pid FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()
    ) own
"""  # those of the same user that a condition on `pid` names
LIBPQ = {
    "ApplicationName": "application_name",
    "connectTimeout": "connect_timeout",
    "sslmode": "sslmode",
    "sslrootcert": "sslrootcert",
    "sslNegotiation": "sslnegotiation",
    "channelBinding": "channel_binding",
    "gssEncMode": "gssencmode",
}  # properties of the JDBC driver that libpq has, too; the others tune the driver alone
SESSIONS = {
    "any": "any",
    "primary": "primary",
    "secondary": "standby",
    "preferSecondary": "prefer-standby",
    "preferPrimary": "any",
}  # targetServerType: target_session_attrs
ALIVE = {  # a connection that is gone without a word is noticed in a minute, not in a quarter of an hour; seconds
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",  # milliseconds
}
Arguments = dict[str, Any]  # what psycopg2.connect takes; holds the password, so it is never printed


def arguments(postgres: Postgres) -> Arguments:
    """How to connect with the settings that JDBC uses, and under the config's time-outs."""
    host, port, database = urls.place(str(postgres.url))
    given = {**postgres.options, **urls.parameters(str(postgres.url))}
    shared = {LIBPQ[name]: value for name, value in given.items() if name in LIBPQ}
    if "targetServerType" in given:
        shared["target_session_attrs"] = SESSIONS[given["targetServerType"]]
    password = {"password": postgres.password.get_secret_value()} if postgres.password else {}
    place = {"host": host, "port": port, "dbname": database, "user": postgres.user}
    return {**ALIVE, **shared, **place, **password, "options": _limits(postgres)}


def jdbc_options(postgres: Postgres) -> dict[str, str]:
    """The same for Spark's JDBC reader."""
    secret = {"password": postgres.password.get_secret_value()} if postgres.password else {}
    fixed = {"url": str(postgres.url), "user": postgres.user, "driver": "org.postgresql.Driver", "fetchsize": "10000"}
    return {**postgres.options, **fixed, **secret}


def _limits(postgres: Postgres) -> str:
    limits = postgres.timeouts
    named = {
        "statement_timeout": limits.statement,
        "lock_timeout": limits.lock,
        "idle_in_transaction_session_timeout": limits.idle_in_transaction,
    }
    return " ".join(f"-c {name}={limit.ms}" for name, limit in named.items())


class Database:
    """The driver's own connection: opened when first used, and anew after it broke."""

    def __init__(self, postgres: Postgres) -> None:
        self.arguments, self.address = arguments(postgres), str(postgres.url)
        self.jdbc = jdbc_options(postgres)
        self._connection: Connection | None = None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Cursor]:
        """Commits at the end; rolls back what raised. After either the connection serves the next one, if it can."""
        connection = self._open()
        try:
            with connection, connection.cursor() as cursor:
                yield cursor
        except psycopg2.Error:
            if connection.closed:
                self._connection = None
            raise

    @contextlib.contextmanager
    def undone(self) -> Iterator[Cursor]:
        """A transaction that is rolled back at its end, to see what would happen."""
        with self.transaction() as cursor:
            yield cursor
            cursor.connection.rollback()

    def close(self) -> None:
        """Ends the connection; the next transaction opens another."""
        if self._connection is not None:
            self._connection.close()

    def _open(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg2.connect(**self.arguments)
        return self._connection


def identifier(name: str) -> sql.Composable:
    """A table, or schema.table, quoted."""
    return sql.Identifier(*name.split("."))


def quoted(name: str) -> str:
    """The same as text; the config lets nothing but identifiers through."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))


def listed(names: list[str]) -> sql.Composable:
    """Column names, quoted, with commas between them."""
    return sql.SQL(", ").join(map(sql.Identifier, names))
