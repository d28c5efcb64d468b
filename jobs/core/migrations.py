"""The tables of ours in PostgreSQL, in numbered steps, each applied once: jobs/migrations/NNNN_name.sql.

All run in one transaction, one run at a time. What was applied is remembered with its SHA-256, in
`stream_patterns.migrations`; a step that was changed afterwards is refused.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

import psycopg2
from psycopg2 import sql

from jobs.core.config import JobConfig
from jobs.core.errors import DependencyMissing, MigrationChanged
from jobs.core.failures import words
from jobs.core.postgres import Cursor, Database, identifier
from jobs.core.sinks import deletes

LOCK = 0x70617474  # one migration at a time; any constant will do
OWN = """
CREATE SCHEMA IF NOT EXISTS stream_patterns;
CREATE TABLE IF NOT EXISTS stream_patterns.migrations (
    name text PRIMARY KEY,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""
READER, WRITER = "patterns_reader", "patterns_writer"


@dataclass(frozen=True)
class Step:
    """One file of SQL."""

    name: str
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def steps() -> list[Step]:
    """All of them, in order."""
    files = (entry for entry in (resources.files("jobs") / "migrations").iterdir() if entry.name.endswith(".sql"))
    return sorted((Step(file.name, file.read_text("utf-8")) for file in files), key=lambda step: step.name)


def migrate(database: Database, config: JobConfig, dry_run: bool = False) -> list[str]:
    """Brings the database up to date for one job; names of the steps and grants, all undone again with `dry_run`.

    Raises DependencyMissing where the user may not do it, MigrationChanged for a step that is not what was applied.
    """
    try:
        with database.transaction() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            cursor.execute(OWN)
            done = [*_apply(cursor, steps()), *_remember(cursor, config), *_grant(cursor, config)]
            if dry_run:
                cursor.connection.rollback()
            return done
    except psycopg2.Error as failure:
        raise DependencyMissing("PostgreSQL", database.address, words(failure)) from None


def _apply(cursor: Cursor, wanted: list[Step]) -> list[str]:
    cursor.execute("SELECT name, sha256 FROM stream_patterns.migrations")
    applied = dict(cursor.fetchall())
    for step in wanted:
        if applied.get(step.name, step.sha256) != step.sha256:
            raise MigrationChanged(step.name, applied[step.name], step.sha256)
    fresh = [step for step in wanted if step.name not in applied]
    for step in fresh:
        cursor.execute(step.text)
        cursor.execute(
            "INSERT INTO stream_patterns.migrations (name, sha256) VALUES (%s, %s)", (step.name, step.sha256)
        )
    return [step.name for step in fresh]


def _remember(cursor: Cursor, config: JobConfig) -> list[str]:
    """The memory of what the job deletes, beside the table; what is there already stays."""
    sink = config.sink.postgres
    if sink is None or sink.delete is None:
        return []
    for statement in deletes.made(sink):
        cursor.execute(statement)
    return [deletes.name(sink)]


def _grant(cursor: Cursor, config: JobConfig) -> list[str]:
    """What the job reads and writes, for the roles; granting again changes nothing."""
    sink = config.sink.postgres
    wanted = [(table, "SELECT", READER) for table in dict.fromkeys(config.tables_read())]
    if sink:
        wanted.append((sink.table, "SELECT, INSERT, UPDATE" + (", DELETE" if sink.delete else ""), WRITER))
    if sink and sink.delete:
        wanted.append((deletes.name(sink), "SELECT, INSERT, UPDATE", WRITER))
    for table, rights, role in wanted:
        grant = sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(rights), identifier(table), sql.Identifier(role))
        cursor.execute(grant)
    return [f"{rights} on {table} to {role}" for table, rights, role in wanted]
