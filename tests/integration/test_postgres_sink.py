"""Rows into a real PostgreSQL table: types, repeated batches, older versions, what is refused, and who may do what."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psycopg2
import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.core import migrations
from jobs.core.config import JobConfig
from jobs.core.config import PostgresSink as Target
from jobs.core.errors import DependencyMissing, LedgerMismatch, MigrationChanged, StagingLost
from jobs.core.failures import SinkFailure
from jobs.core.ledger import Counts, Entry
from jobs.core.ledger_postgres import PostgresLedger
from jobs.core.postgres import Database
from jobs.core.sinks import Mark, postgres, statements
from jobs.core.sinks.postgres import SHORT_ROWS, Held, PostgresSink, Tasks

COORDINATES = "_topic STRING, _partition INT, _offset BIGINT"
PLACE = "_topic text, _partition int, _offset bigint"
UPSERT = {"mode": "upsert", "key": ["id"], "version": "v"}
WAYS = pytest.mark.parametrize("records", [10, SHORT_ROWS + 1], ids=["short", "staged"])


def config(stack: Any, table: str = "t", reference: str | None = None, **target: Any) -> JobConfig:
    postgres = {"url": stack.jdbc_url, "user": stack.user, "password": stack.password}
    sink = {"postgres": {"table": table, **target}}
    return JobConfig.model_validate(
        {"job": "j", "postgres": postgres, "source": {"rate": {}}, "sink": sink, "checkpoint": "data/cp"}
    )


class Written:
    """One table of one job, written by batches of so many records as their offsets say."""

    def __init__(self, spark: SparkSession, stack: Any, table: str, records: int, **target: Any) -> None:
        self.spark, self.table, self.job, self.records = spark, table, f"job_{uuid.uuid4().hex[:8]}", records
        settings = config(stack, table).postgres
        assert settings
        self.target, self.database = Target(table=table, **target), Database(settings)
        self.sink = PostgresSink(spark, self.database, self.job, self.target)
        self.ledger = PostgresLedger(self.database, self.job, self.sink)

    def mark(self, batch_id: int) -> Mark:
        start, end = (json.dumps([{"t": {"0": at * self.records}}]) for at in (batch_id, batch_id + 1))
        return Mark(self.job, "q1", batch_id, start, end)

    def stage(self, rows: DataFrame, batch_id: int) -> Entry:
        mark, count = self.mark(batch_id), rows.count()
        self.sink.append(rows, mark)
        place = (mark.job, mark.query_id, batch_id, mark.start, mark.end)
        return Entry("batch", *place, Counts(count, count), "2026-01-05T00:00:00+00:00")

    def write(self, rows: DataFrame, batch_id: int = 0) -> Counts:
        self.ledger.append(self.stage(rows, batch_id))
        assert self.ledger.last_batch
        return self.ledger.last_batch.counts

    def rows(self) -> DataFrame:
        return self.spark.read.format("jdbc").options(**self.database.jdbc).option("dbtable", self.table).load()

    def again(self) -> Written:
        """Another instance of the same job."""
        other = object.__new__(Written)
        other.__dict__.update(self.__dict__)
        other.sink = PostgresSink(self.spark, self.database, self.job, self.target)
        other.ledger = PostgresLedger(self.database, self.job, other.sink)
        return other


@pytest.fixture
def written(spark: SparkSession, migrated: Any, table: Callable[..., str]) -> Callable[..., Written]:
    def made(columns: str, records: int = 10, **target: Any) -> Written:
        return Written(spark, migrated, table(columns, []), records, **target)

    return made


def found(made: Written) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in made.rows().collect())


def staged(made: Written, database: Any) -> list[str]:
    with database.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'stream_patterns_staging'")
        return [name for (name,) in cursor.fetchall() if name.startswith(made.sink._prefix)]


@WAYS
def test_every_type_arrives_as_it_was(written: Any, rows: Any, database: Any, records: int) -> None:
    made = written(
        "a text, b boolean, i int, n numeric(38,4), f double precision, d date, t timestamptz, x bytea, j jsonb, "
        + PLACE,
        records,
    )
    types = (
        "a STRING, b BOOLEAN, i INT, n DECIMAL(38,4), f DOUBLE, d DATE, t TIMESTAMP, x BINARY, j STRUCT<k: ARRAY<INT>>"
    )
    given = rows(types + ", " + COORDINATES).sparkSession.sql(
        "SELECT 'q\"uo,te\\n' a, true b, 1 i, 99999999999999999999999999999999.1234BD n, double('NaN') f,"
        " date'2026-01-05' d, timestamp'2026-01-05 10:00:00.123456Z' t, X'00ff' x,"
        " named_struct('k', array(1, null)) j, 't' _topic, 0 _partition, 0L _offset"
        " UNION ALL SELECT '', null, null, null, double('-Infinity'), null, null, X'', null, 't', 0, 1L"
    )
    assert made.write(given) == Counts(2, 2)
    with database.cursor() as cursor:
        cursor.execute(
            f"SELECT a, b, i, n::text, f::text, d::text, extract(epoch FROM t)::text, x, j, _offset FROM {made.table}"
            " ORDER BY _offset"
        )
        found = [(*row[:7], row[7] and bytes(row[7]), *row[8:]) for row in cursor.fetchall()]
    when = "1767607200.123456"
    big = "99999999999999999999999999999999.1234"
    first = ('q"uo,te\n', True, 1, big, "NaN", "2026-01-05", when, b"\x00\xff", {"k": [1, None]}, 0)
    assert found == [first, ("", None, None, None, "-Infinity", None, None, b"", None, 1)]


def test_a_batch_is_sorted_in_more_memory_than_the_server_gives_and_never_in_less(migrated: Any, database: Any) -> None:
    cursor = database.cursor()
    cursor.execute("SHOW work_mem")
    (own,) = cursor.fetchone()
    for kb, expected in ((2 << 20, "2GB"), (64, own)):
        with psycopg2.connect(**migrated.dsn()) as connection, connection.cursor() as inside:
            inside.execute(statements.MEMORY, {"kb": kb})
            inside.execute("SHOW work_mem")
            assert inside.fetchone() == (expected,)
            connection.rollback()
            inside.execute("SHOW work_mem")
            assert inside.fetchone() == (own,), "it is for one transaction"


@WAYS
def test_an_upsert_keeps_the_newest_of_each_key(written: Any, rows: Any, records: int) -> None:
    made = written("id int PRIMARY KEY, v int, name text", records, **UPSERT)
    schema = "id INT, v INT, name STRING, " + COORDINATES
    first = rows(
        schema, (1, 2, "b", "t", 0, 0), (1, 1, "a", "t", 0, 1), (2, 5, "old", "t", 0, 2), (2, 5, "x", "t", 0, 3)
    )
    assert made.write(first) == Counts(4, 2, superseded=2)
    second = rows(schema, (1, 1, "late", "t", 0, 4), (2, 6, "new", "t", 0, 5), (3, 1, "c", "t", 0, 6))
    assert made.write(second, 1) == Counts(3, 2, superseded=1)
    expected = rows("id INT, v INT, name STRING", (1, 2, "b"), (2, 6, "new"), (3, 1, "c"))
    assert_df_equality(made.rows(), expected, ignore_nullable=True, ignore_row_order=True, ignore_metadata=True)


@WAYS
def test_what_the_table_refuses_leaves_neither_rows_nor_a_record(
    written: Any, rows: Any, database: Any, records: int
) -> None:
    made = written(f"id int CHECK (id < 9), {PLACE}", records)
    schema = "id INT, " + COORDINATES
    with pytest.raises(SinkFailure) as refused:
        made.write(rows(schema, (1, "t", 0, 0), (77777, "t", 0, 1)))
    assert "CheckViolation" in str(refused.value) and made.table in str(refused.value)
    assert "77777" not in str(refused.value), "values of a row are not told"
    assert made.rows().count() == 0
    assert made.again().ledger.last_batch is None
    assert made.write(rows(schema, (1, "t", 0, 0))) == Counts(1, 1)
    assert made.again().write(rows(schema, (2, "t", 0, 1)), 1) == Counts(1, 1)
    assert staged(made, database) == [], "what the refused batch had staged was swept"


def test_a_table_may_be_called_ledger_itself(written: Any, rows: Any, database: Any) -> None:
    made = written(f"id int CONSTRAINT ledger_pkey PRIMARY KEY, {PLACE}")
    with pytest.raises(SinkFailure, match="23505"):
        made.write(rows("id INT, " + COORDINATES, (1, "t", 0, 0), (1, "t", 0, 1)))


def test_a_batch_staged_again_leaves_nothing_of_the_attempt_before(written: Any, rows: Any, database: Any) -> None:
    made = written(f"id int, {PLACE}", SHORT_ROWS + 1)
    given = rows("id INT, " + COORDINATES, (1, "t", 0, 0))
    made.stage(given, 0)
    made.stage(given, 0)
    assert len(staged(made, database)) == 1
    assert made.write(given) == Counts(1, 1)
    assert staged(made, database) == []


def test_a_row_too_long_for_the_driver_to_hold_goes_the_other_way(
    written: Any, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "SHORT_BYTES", 200)
    made, schema = written(f"a text, {PLACE}"), "a STRING, " + COORDINATES
    short, long = ("ä", "t", 0, 0), ("ä" * 20, "t", 0, 1)
    assert isinstance(held(made, rows(schema, short)), Held)
    assert isinstance(held(made, rows(schema, short, long)), Tasks)
    assert isinstance(held(made, rows(schema, short)), Tasks), "the next one does not try"
    assert made.write(rows(schema, short, long)) == Counts(2, 2)
    assert found(made) == [short, long]


def held(made: Written, rows: DataFrame) -> Held | Tasks:
    """Where the first batch waits, once it was staged."""
    made.stage(rows, 0)
    assert made.sink._staged
    return made.sink._staged.where


def test_a_commit_that_ends_while_it_is_tried_again_is_known_for_ones_own(written: Any, rows: Any) -> None:
    made = written(f"id int, {PLACE}")
    given = rows("id INT, " + COORDINATES, (1, "t", 0, 0))
    made.write(given)
    made.ledger.next, looks = 0, []
    look = made.ledger._mine
    made.ledger._mine = lambda cursor: look(cursor) if looks else looks.append(cursor)  # the first look is too early
    assert made.write(given) == Counts(1, 1)
    assert found(made) == [(1, "t", 0, 0)]


def test_a_server_that_lost_the_staging_is_noticed(written: Any, rows: Any, database: Any) -> None:
    made = written(f"id int, {PLACE}", SHORT_ROWS + 1)
    entry = made.stage(rows("id INT, " + COORDINATES, (1, "t", 0, 0)), 0)
    database.cursor().execute(f"TRUNCATE stream_patterns_staging.{staged(made, database)[0]}")
    with pytest.raises(StagingLost, match="1 rows were staged for .*, 0 are there"):
        made.ledger.append(entry)
    assert made.again().ledger.last_batch is None
    assert made.rows().count() == 0


def test_rows_of_an_attempt_that_nobody_reported_are_left_out(written: Any, rows: Any, database: Any) -> None:
    made = written(f"id int, {PLACE}", SHORT_ROWS + 1)
    entry = made.stage(rows("id INT, " + COORDINATES, (1, "t", 0, 0)), 0)
    table = f"stream_patterns_staging.{staged(made, database)[0]}"
    database.cursor().execute(f"INSERT INTO {table} SELECT id, _topic, _partition, _offset, 10 ^ 12 FROM {table}")
    made.ledger.append(entry)
    assert found(made) == [(1, "t", 0, 0)]


@WAYS
def test_of_two_instances_one_is_refused_with_its_rows(written: Any, rows: Any, records: int) -> None:
    schema = "id INT, " + COORDINATES
    made = written(f"id int, {PLACE}", records)
    made.write(rows(schema, (1, "t", 0, 0)))
    made.again().write(rows(schema, (2, "t", 0, 1)), 1)
    with pytest.raises(LedgerMismatch, match=f"record 1 of {made.job} was written by another instance"):
        made.write(rows(schema, (3, "t", 0, 1)), 1)
    assert found(made) == [(1, "t", 0, 0), (2, "t", 0, 1)]


def test_a_ledger_is_read_back_whole(written: Any, rows: Any) -> None:
    made = written(f"id int, {PLACE}")
    entry = made.stage(rows("id INT, " + COORDINATES, (1, "t", 0, 0)), 0)
    told = replace(entry, counts=Counts(3, 1, 1, 1), reasons={"FUTURE": 1}, note={"reference_version": "v1"})
    made.ledger.append(told)
    again = made.again().ledger
    assert again.entries() == [replace(told, written_at="2026-01-05 00:00:00+00")]
    assert again.last_batch == again.entries()[0]
    assert again.holds("q1", 0) and not again.holds("q1", 1) and not again.holds("q2", 0)


@pytest.mark.parametrize(
    ("columns", "target", "cause"),
    [
        ("id int", {}, "it has no column _topic, _partition, _offset"),
        ("id int PRIMARY KEY", UPSERT, "it has no column v"),
        ("id int, v int", UPSERT, r"it has no unique index on exactly \(id\)"),
        ("id int, v int, UNIQUE (id, v)", UPSERT, r"it has no unique index on exactly \(id\)"),
    ],
    ids=["coordinates", "version", "no index", "wider index"],
)
def test_a_table_that_will_not_do_is_refused_at_the_start(
    written: Any, columns: str, target: dict[str, Any], cause: str
) -> None:
    with pytest.raises(DependencyMissing, match=cause):
        written(columns, **target)


def test_a_table_that_is_not_there(spark: SparkSession, migrated: Any) -> None:
    with pytest.raises(DependencyMissing, match="table nowhere at jdbc:postgresql.*there is no such table"):
        Written(spark, migrated, "nowhere", 1)


def test_a_column_that_the_table_lacks_is_named(written: Any, rows: Any) -> None:
    made = written(f"id int, {PLACE}")
    with pytest.raises(DependencyMissing, match="it has no column more"):
        made.write(rows("id INT, more INT, " + COORDINATES, (1, 2, "t", 0, 0)))


@pytest.fixture
def empty(stack: Any, database: Any) -> Iterator[tuple[JobConfig, Database]]:
    """A database of its own with the table `t` and nothing of ours."""
    name = f"db{uuid.uuid4().hex[:8]}"
    database.cursor().execute(f"CREATE DATABASE {name}")
    settings = config(stack)
    assert settings.postgres
    url = str(settings.postgres.url).rpartition("/")[0] + "/" + name
    own = Database(settings.postgres.model_copy(update={"url": url}))
    with own.transaction() as cursor:
        cursor.execute("CREATE TABLE t (id int)")
    yield settings, own
    own.close()
    database.cursor().execute(f"DROP DATABASE {name}")


def test_migrations_run_once_and_a_dry_run_changes_nothing(empty: tuple[JobConfig, Database]) -> None:
    settings, own = empty
    grant = "SELECT, INSERT, UPDATE on t to patterns_writer"
    whole = [*(step.name for step in migrations.steps()), grant]
    assert migrations.migrate(own, settings, dry_run=True) == whole
    assert migrations.migrate(own, settings) == whole
    assert migrations.migrate(own, settings) == [grant]
    with own.transaction() as cursor:
        cursor.execute("UPDATE stream_patterns.migrations SET sha256 = 'x' WHERE name = '0001_ledger.sql'")
    with pytest.raises(MigrationChanged, match="0001_ledger.sql was applied with SHA-256 x"):
        migrations.migrate(own, settings)


def test_without_migrations_a_ledger_says_what_to_do(empty: tuple[JobConfig, Database]) -> None:
    sink: Any = None
    with pytest.raises(DependencyMissing, match="`patterns migrate` makes what is missing"):
        PostgresLedger(empty[1], "j", sink)


@pytest.fixture
def acting(migrated: Any) -> Iterator[Callable[[str], Any]]:
    """A cursor that has only what one role may do."""
    with contextlib.closing(psycopg2.connect(**migrated.dsn())) as connection:
        connection.autocommit = True

        def act(role: str) -> Any:
            cursor = connection.cursor()
            cursor.execute(f"SET ROLE {role}")
            return cursor

        yield act


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("patterns_writer", "DELETE FROM stream_patterns.ledger"),
        ("patterns_writer", "UPDATE stream_patterns.ledger SET batch_id = 0"),
        ("patterns_writer", "TRUNCATE stream_patterns.ledger"),
        ("patterns_writer", "DELETE FROM stream_patterns.lease"),
        ("patterns_writer", "DROP TABLE t"),
        ("patterns_writer", "DELETE FROM t"),
        ("patterns_writer", "CREATE TABLE stream_patterns.mine (id int)"),
        ("patterns_writer", "SELECT * FROM stream_patterns.migrations"),
        ("patterns_writer", "UPDATE stream_patterns.subject_keys SET key = NULL"),
        ("patterns_writer", "DELETE FROM stream_patterns.subject_keys"),
        ("patterns_eraser", "DELETE FROM stream_patterns.subject_keys"),
        ("patterns_eraser", "UPDATE stream_patterns.subject_keys SET log_id = ''"),
        ("patterns_eraser", "INSERT INTO stream_patterns.subject_keys (id, log_id) VALUES (gen_random_uuid(), '')"),
        ("patterns_eraser", "SELECT * FROM stream_patterns.ledger"),
        ("patterns_reader", "SELECT * FROM stream_patterns.subject_keys"),
        ("patterns_reader", "SELECT * FROM stream_patterns.ledger"),
        ("patterns_reader", "SELECT * FROM stream_patterns.lease"),
        ("patterns_reader", "SELECT * FROM t"),
        ("patterns_reader", "CREATE TABLE stream_patterns_staging.mine (id int)"),
    ],
)
def test_a_role_is_refused_what_it_must_not_do(acting: Any, role: str, statement: str) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        acting(role).execute(statement)


def test_the_writer_may_do_what_a_sink_does(
    spark: SparkSession, migrated: Any, written: Any, rows: Any, database: Any
) -> None:
    made = written("id int PRIMARY KEY, v int", SHORT_ROWS + 1, **UPSERT)
    settings = config(migrated, made.table)
    assert settings.postgres
    migrations.migrate(Database(settings.postgres), settings)
    made.database.arguments["options"] += " -c role=patterns_writer"
    made.database.close()
    assert made.write(rows("id INT, v INT, " + COORDINATES, (1, 1, "t", 0, 0))) == Counts(1, 1)
    assert made.write(rows("id INT, v INT, " + COORDINATES, (1, 2, "t", 0, 1)), 1) == Counts(1, 1)
    with database.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {made.table}")
        assert cursor.fetchall() == [(1, 2)]
