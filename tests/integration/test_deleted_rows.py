"""Rows that delete, on a real PostgreSQL: what is gone, what stays, what is remembered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession
from test_postgres_sink import COORDINATES, WAYS, Written, config

from jobs.core import migrations
from jobs.core.ledger import Counts
from jobs.core.postgres import Database
from jobs.core.sinks import Refusal

TARGET = {"mode": "upsert", "key": ["id"], "version": "v", "delete": {"when": "op = 'd'", "drop": ["op"]}}
TABLE = "id int PRIMARY KEY, v int, name text NOT NULL CHECK (name <> 'bad')"
SCHEMA = "id INT, v INT, name STRING, op STRING, " + COORDINATES
Row = tuple[int, int | None, str | None, str | None]


@pytest.fixture
def written(spark: SparkSession, migrated: Any, table: Callable[..., str]) -> Callable[[int], Written]:
    def make(records: int) -> Written:
        name = table(TABLE, [])
        settings = config(migrated, name, **TARGET)
        assert settings.postgres
        migrations.migrate(Database(settings.postgres), settings)
        return Written(spark, migrated, name, records, **TARGET)

    return make


@pytest.fixture
def orders(rows: Callable[..., DataFrame]) -> Callable[..., DataFrame]:
    """Rows in the order of their offsets."""
    return lambda *given: rows(SCHEMA, *((*row, "t", 0, offset) for offset, row in enumerate(given)))


def check(made: Written, rows: Callable[..., DataFrame], *expected: tuple[int, int | None, str]) -> None:
    whole = rows("id INT, v INT, name STRING", *expected)
    assert_df_equality(made.rows(), whole, ignore_nullable=True, ignore_row_order=True, ignore_metadata=True)


@WAYS
def test_a_delete_takes_its_key_out_unless_what_is_there_is_newer(
    written: Any, orders: Any, rows: Any, records: int
) -> None:
    made = written(records)
    assert made.write(orders((1, 1, "a", None), (2, 5, "b", None), (3, 1, "c", "u"))) == Counts(3, 3)
    assert made.write(orders((1, 1, None, "d"), (2, 4, None, "d"), (4, 1, None, "d")), 1) == Counts(3, 2, superseded=1)
    check(made, rows, (2, 5, "b"), (3, 1, "c"))


@WAYS
def test_what_was_deleted_stays_so_for_older_rows_and_comes_back_with_newer_ones(
    written: Any, orders: Any, rows: Any, records: int
) -> None:
    made = written(records)
    made.write(orders((1, 3, None, "d"), (2, 3, None, "d"), (3, 3, None, "d"), (4, 3, None, "d")))
    late = orders((1, 2, "late", None), (2, 4, "new", None), (3, 2, None, "d"), (4, None, "unknown", None))
    assert made.write(late, 1) == Counts(4, 1, superseded=3)
    check(made, rows, (2, 4, "new"))
    assert made.write(orders((2, 3, None, "d")), 2) == Counts(1, 0, superseded=1)
    check(made, rows, (2, 4, "new"))


@WAYS
def test_within_a_batch_the_newest_row_of_a_key_decides(written: Any, orders: Any, rows: Any, records: int) -> None:
    made = written(records)
    given = orders((1, 2, None, "d"), (1, 1, "a", None), (2, 1, None, "d"), (2, 2, "b", None), (3, 1, "c", None))
    assert made.write(given) == Counts(5, 3, superseded=2)
    check(made, rows, (2, 2, "b"), (3, 1, "c"))


@WAYS
def test_a_delete_without_a_version_deletes_nothing(written: Any, orders: Any, rows: Any, records: int) -> None:
    made = written(records)
    made.write(orders((1, 1, "a", None)))
    assert made.write(orders((1, None, None, "d"), (2, None, None, "d")), 1) == Counts(2, 0, superseded=2)
    check(made, rows, (1, 1, "a"))


def test_a_delete_needs_no_more_than_its_key_and_is_not_refused(written: Any, orders: Any) -> None:
    made = written(10)
    given = orders((1, 1, None, "d"), (2, 1, "bad", None), (3, 1, None, None))
    found = made.sink.refused(given, made.mark(0), 10)
    assert [(row.offset, row.detail.partition(":")[0]) for row in found] == [
        (1, "CheckViolation"),
        (2, "NotNullViolation"),
    ]
    assert isinstance(found[0], Refusal)


def test_the_writer_may_delete_where_the_config_does(
    written: Any, orders: Any, rows: Any, migrated: Any, database: Any
) -> None:
    made = written(10)
    made.database.arguments["options"] += " -c role=patterns_writer"
    made.database.close()
    made.write(orders((1, 1, "a", None)))
    made.write(orders((1, 2, None, "d")), 1)
    check(made, rows)


def test_a_memory_is_made_once(written: Any, orders: Any, rows: Any, migrated: Any) -> None:
    made = written(10)
    made.write(orders((1, 2, None, "d")))
    settings = config(migrated, made.table, **TARGET)
    assert settings.postgres
    migrations.migrate(Database(settings.postgres), settings)
    made.write(orders((1, 1, "late", None)), 1)
    check(made, rows)
