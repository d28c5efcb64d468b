"""Rows that a real PostgreSQL table refuses: they are dead letters with the table's own words, all others are written once."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.core.batch import MicroBatch
from jobs.core.config import JobConfig
from jobs.core.config import PostgresSink as Target
from jobs.core.dead_letters import DeltaDeadLetters
from jobs.core.errors import RowsRefused, SinkFailed
from jobs.core.ledger import Counts
from jobs.core.ledger_postgres import PostgresLedger
from jobs.core.outlets import Outlets
from jobs.core.postgres import Database
from jobs.core.sinks.postgres import SHORT_ROWS, PostgresSink

PLACE = "_topic STRING, _partition INT, _offset BIGINT"
TECHNICAL = (
    f"{PLACE}, _timestamp TIMESTAMP, _reason STRING, _detail STRING, "
    "_key BINARY, _value BINARY, _headers ARRAY<STRUCT<key: STRING, value: BINARY>>"
)
LETTERS = f"{PLACE}, reason STRING, detail STRING, value BINARY"
WAYS = pytest.mark.parametrize("records", [SHORT_ROWS, SHORT_ROWS + 1], ids=["short", "staged"])
UPSERT = {"mode": "upsert", "key": ["id"], "version": "v"}


@dataclass
class OneBatch:
    """A checkpoint of one batch of so many records."""

    records: int

    def query_id(self) -> str:
        return "q1"

    def start(self, batch_id: int) -> list[Any]:
        return [{"t": {"0": 0}}]

    def end(self, batch_id: int) -> list[Any]:
        return [{"t": {"0": self.records}}]


class Case:
    """A table, and what is written to it, batch for batch, by a job of its own."""

    def __init__(self, spark: SparkSession, stack: Any, path: Path, table: str, records: int, **target: Any) -> None:
        self.spark, self.table, self.job = spark, table, f"job_{uuid.uuid4().hex[:8]}"
        postgres = {"url": stack.jdbc_url, "user": stack.user, "password": stack.password}
        whole = {"job": self.job, "postgres": postgres, "source": {"rate": {}}, "checkpoint": "data/cp"}
        settings = JobConfig.model_validate({**whole, "sink": {"postgres": {"table": table, **target}}})
        assert settings.postgres
        self.database = Database(settings.postgres)
        self.sink = PostgresSink(spark, self.database, self.job, Target(table=table, **target))
        self.ledger = PostgresLedger(self.database, self.job, self.sink)
        self.dead = DeltaDeadLetters(spark, str(path / f"dead_{self.job}"))
        self.records = records

    def run(self, columns: str, *rows: tuple[Any, ...], max_refused: int = 1_000, dead: bool = True) -> Counts:
        """One batch of records, the offset of each its number."""
        whole = [(*row, "t", 0, at, None, None, None, None, f"{at}".encode(), None) for at, row in enumerate(rows)]
        records = self.spark.createDataFrame(whole, f"{columns}, {TECHNICAL}")
        checkpoint: Any = OneBatch(self.records)
        outlets = Outlets(self.sink, self.dead if dead else None, None, max_refused=max_refused)
        batch = MicroBatch(
            self.job, checkpoint, self.ledger, outlets, lambda df, *_: df, lambda df: df, clock=lambda: NOON
        )
        batch.run(records, 0 if self.ledger.last_batch is None else self.ledger.last_batch.batch_id + 1)
        assert self.ledger.last_batch
        return self.ledger.last_batch.counts

    def rows(self) -> DataFrame:
        return self.spark.read.format("jdbc").options(**self.database.jdbc).option("dbtable", self.table).load()

    def expect(self, columns: str, *rows: tuple[Any, ...]) -> None:
        expected = self.spark.createDataFrame(list(rows), columns)
        assert_df_equality(self.rows(), expected, ignore_nullable=True, ignore_row_order=True, ignore_metadata=True)

    def expect_dead(self, refused: dict[int, str]) -> None:
        rows = [("t", 0, at, "SINK_REJECTED", said, f"{at}".encode()) for at, said in refused.items()]
        found = self.dead.rows().select("_topic", "_partition", "_offset", "reason", "detail", "value")
        assert_df_equality(
            found, self.spark.createDataFrame(rows, LETTERS), ignore_nullable=True, ignore_row_order=True
        )


NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


@pytest.fixture
def case(spark: SparkSession, migrated: Any, table: Callable[..., str], tmp_path: Path) -> Callable[..., Case]:
    def made(columns: str, records: int = SHORT_ROWS, **target: Any) -> Case:
        return Case(spark, migrated, tmp_path, table(columns, []), records, **target)

    return made


@pytest.fixture
def strict(database: Any, case: Callable[..., Case]) -> Callable[[int], Case]:
    """A table that demands much: types, constraints of its own, another table's key, and a trigger's consent."""

    def made(records: int) -> Case:
        mark = uuid.uuid4().hex[:8]
        with database.cursor() as cursor:
            cursor.execute(f"CREATE TYPE mood_{mark} AS ENUM ('fine', 'sad')")
            cursor.execute(f"CREATE DOMAIN even_{mark} AS int CHECK (VALUE % 2 = 0)")
            cursor.execute(f"CREATE TABLE parents_{mark} (p int PRIMARY KEY)")
            cursor.execute(f"INSERT INTO parents_{mark} VALUES (1)")
        one = case(
            f"id int UNIQUE CONSTRAINT small CHECK (id < 100000), name varchar(4) NOT NULL, amount numeric(5,2), "
            f"mood mood_{mark}, pair even_{mark}, parent int REFERENCES parents_{mark}, "
            "_topic text, _partition int, _offset bigint",
            records,
        )
        with database.cursor() as cursor:
            cursor.execute(
                f"CREATE FUNCTION no_{mark}() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN IF NEW.name = 'boom' THEN RAISE 'no such name here'; END IF; RETURN NEW; END $$"
            )
            cursor.execute(f"CREATE TRIGGER no BEFORE INSERT ON {one.table} FOR EACH ROW EXECUTE FUNCTION no_{mark}()")
        return one

    return made


ROW = "id INT, name STRING, amount DECIMAL(9,2), mood STRING, pair INT, parent INT"


def row(number: int, **other: Any) -> tuple[Any, ...]:
    whole = {"id": number, "name": "ok", "amount": Decimal("1.50"), "mood": "fine", "pair": 2, "parent": 1, **other}
    return tuple(whole.values())


@WAYS
def test_each_refused_row_is_a_dead_letter_and_all_others_are_written(strict: Any, records: int) -> None:
    one = strict(records)
    foreign = f'"{one.table}_parent_fkey"'
    relation, mood, even = f'"{one.table}"', type_of(one, "mood"), type_of(one, "pair")
    bad = {
        7: (
            {"name": "too long"},
            "StringDataRightTruncation: value too long for type character varying(4) (column name)",
        ),
        8: ({"name": "a\0b"}, 'CharacterNotInRepertoire: invalid byte sequence for encoding "...": 0x00'),
        100: ({"amount": Decimal("12345.00")}, "NumericValueOutOfRange: numeric field overflow (column amount)"),
        101: ({"mood": "odd"}, f'InvalidTextRepresentation: invalid input value for enum {mood}: "..." (column mood)'),
        102: (
            {"pair": 3},
            f'CheckViolation: value for domain {even} violates check constraint "{even}_check" (column pair)',
        ),
        499: (
            {"name": None},
            f'NotNullViolation: null value in column "name" of relation {relation} violates not-null constraint',
        ),
        500: ({"id": 100_007}, f'CheckViolation: new row for relation {relation} violates check constraint "small"'),
        501: ({"id": 500}, None),  # nobody else has it: 500 is refused
        502: ({"id": 499}, None),
        503: ({"id": 3}, f'UniqueViolation: duplicate key value violates unique constraint "{one.table}_id_key"'),
        504: (
            {"parent": 2},
            f"ForeignKeyViolation: insert or update on table {relation} violates foreign key constraint {foreign}",
        ),
        899: ({"name": "boom"}, "RaiseException: no such name here"),
    }
    given = [row(at, **(bad[at][0] if at in bad else {})) for at in range(900)]
    refused = {at: said for at, (_, said) in bad.items() if said}
    assert one.run(ROW, *given) == Counts(900, 900 - len(refused), dead_letters=len(refused))
    one.expect(
        f"{ROW.replace('9,2', '5,2')}, {PLACE}", *((*r, "t", 0, at) for at, r in enumerate(given) if at not in refused)
    )
    one.expect_dead(refused)
    assert one.ledger.last_batch.reasons == {"SINK_REJECTED": len(refused)}
    assert one.run(ROW, row(2_000)) == Counts(1, 1), "the next batch is written as ever"


def type_of(one: Case, column: str) -> str:
    with one.database.transaction() as cursor:
        cursor.execute(
            "SELECT atttypid::regtype::text FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s",
            (one.table, column),
        )
        return str(cursor.fetchall()[0][0])


@WAYS
def test_a_batch_that_is_refused_whole_is_dead_letters_alone(case: Any, records: int) -> None:
    one = case("id int CONSTRAINT small CHECK (id < 9), _topic text, _partition int, _offset bigint", records)
    said = f'CheckViolation: new row for relation "{one.table}" violates check constraint "small"'
    assert one.run("id INT", *[(9,)] * 20) == Counts(20, 0, dead_letters=20)
    assert one.rows().count() == 0
    one.expect_dead(dict.fromkeys(range(20), said))


@pytest.mark.parametrize("column", ["id int CHECK (id < 9)", "id int2"], ids=["table", "staging"])
def test_more_bad_rows_than_are_allowed_end_the_job_with_nothing_written(case: Any, column: str) -> None:
    one = case(f"{column}, _topic text, _partition int, _offset bigint")
    bad = [(1,), *[(99_999,)] * 12]
    said = r"more than 11 of its rows are refused \(sink.max_refused\), one of them: topic t, partition 0, offset 1: "
    with pytest.raises(RowsRefused, match=f"batch 0: {said}") as refused:
        one.run("id INT", *bad, max_refused=11)
    assert "99999" not in str(refused.value), "values of a row are not told"
    assert (one.rows().count(), one.ledger.last_batch, one.dead.exists()) == (0, None, False)
    assert one.run("id INT", *bad, max_refused=12) == Counts(13, 1, dead_letters=12)


def test_without_a_place_for_dead_letters_the_row_is_named(case: Any) -> None:
    one = case("id int CHECK (id < 9), _topic text, _partition int, _offset bigint")
    with pytest.raises(SinkFailed, match="without dead_letters .*: topic t, partition 0, offset 2: CheckViolation: "):
        one.run("id INT", (1,), (2,), (9,), dead=False)
    assert (one.rows().count(), one.ledger.last_batch) == (0, None)


@WAYS
def test_an_upsert_judges_what_it_would_write(case: Any, records: int) -> None:
    """Of each key the newest, and the next one where that is refused; one that is overtaken by a good one is superseded."""
    one = case("id int PRIMARY KEY, v int, name text CONSTRAINT sane CHECK (name <> 'bad')", records, **UPSERT)
    columns = "id INT, v INT, name STRING"
    first = [(1, 1, "bad"), (1, 2, "good"), (2, 3, "bad"), (2, 2, "good"), (2, 1, "good"), (3, 2, "bad"), (3, 1, "bad")]
    said = f'CheckViolation: new row for relation "{one.table}" violates check constraint "sane"'
    assert one.run(columns, *first, (4, 1, "good")) == Counts(8, 3, dead_letters=3, superseded=2)
    one.expect(columns, (1, 2, "good"), (2, 2, "good"), (4, 1, "good"))
    one.expect_dead({2: said, 5: said, 6: said})
    assert one.run(columns, (4, 2, "bad"), (4, 0, "good"), (None, 1, "no"), (None, 2, "no")) == Counts(
        4, 0, dead_letters=3, superseded=1
    )


def test_constraints_that_wait_for_the_end_are_judged_too(case: Any, database: Any) -> None:
    """A row may rely on a later one of its batch, also where the batch has to be parted."""
    one = case("id int PRIMARY KEY, up int, _topic text, _partition int, _offset bigint")
    key = "FOREIGN KEY (up) REFERENCES {0} DEFERRABLE INITIALLY DEFERRED"
    database.cursor().execute(f"ALTER TABLE {one.table} ADD CONSTRAINT up {key.format(one.table)}")
    said = f'ForeignKeyViolation: insert or update on table "{one.table}" violates foreign key constraint "up"'
    assert one.run("id INT, up INT", (1, 5), (2, 9), (3, 2), (5, None)) == Counts(4, 2, dead_letters=2)
    one.expect(f"id INT, up INT, {PLACE}", (1, 5, "t", 0, 0), (5, None, "t", 0, 3))
    one.expect_dead({1: said, 2: said})


def test_a_job_goes_on_past_refused_rows_and_the_audit_holds(
    job: Any, broker: Any, migrated: Any, table: Any, spark: SparkSession, tmp_path: Path
) -> None:
    orders = broker.topic("orders")
    broker.send(
        orders, [b"{" if n == 3 else json.dumps({"order_id": f"o{n}", "customer_id": "c1"}).encode() for n in range(30)]
    )
    check = "CHECK (order_id NOT LIKE '%7')"
    target = table(
        f"order_id text {check}, customer_id text, _topic text, _partition int, _offset bigint, _reference_version text",
        [],
    )
    made = job(
        {
            "job": f"poison_{uuid.uuid4().hex[:8]}",
            "source": {"kafka": {"topic": orders}, "schema": "order_id STRING, customer_id STRING"},
            "reference": {"jdbc": {"table": table("customer_id text", [("c1",)]), "key": "customer_id"}},
            "join": {"on": {"customer_id": "customer_id"}},
            "sink": {"postgres": {"table": target}},
            "dead_letters": {"kafka": {"topic": broker.topic("dead")}},
            "scaling": {"max_offsets_per_trigger": 10},
        }
    )
    report = made.run()
    assert report.holds, report.checks
    assert report.counts == Counts(30, 26, dead_letters=4) and report.batches == 3
    assert report.reasons == {"SINK_REJECTED": 3, "MALFORMED": 1}


def test_a_record_that_waited_can_be_refused_in_the_end(
    job: Any, broker: Any, table: Any, database: Any, spark: SparkSession, tmp_path: Path
) -> None:
    """Before a Delta table of the user's own, in the batch and in the release of what waited."""
    orders, customers, path = broker.topic("orders"), table("customer_id text", [("c1",)]), str(tmp_path / "sink")
    columns = "order_id STRING NOT NULL, customer_id STRING, _reference_version STRING, _topic STRING, _partition INT"
    spark.sql(f"CREATE TABLE delta.`{path}` ({columns}, _offset BIGINT) USING delta")
    spark.sql(f"ALTER TABLE delta.`{path}` ADD CONSTRAINT sane CHECK (order_id <> 'odd')")
    pairs = [("odd", "c1"), ("odd", "c9"), ("o1", "c9"), (None, "c1"), ("o2", "c1")]
    broker.send(
        orders, [json.dumps({"order_id": order, "customer_id": customer}).encode() for order, customer in pairs]
    )
    made = job(
        {
            "source": {"kafka": {"topic": orders}, "schema": "order_id STRING, customer_id STRING"},
            "reference": {"jdbc": {"table": customers, "key": "customer_id"}},
            "join": {
                "on": {"customer_id": "customer_id"},
                "on_miss": "wait",
                "wait_for": "1h",
                "parked": str(tmp_path / "parked"),
            },
            "sink": {"delta": {"path": path}},
            "dead_letters": {"delta": {"path": str(tmp_path / "dead")}},
        }
    )
    first = made.run()
    assert first.holds and first.counts == Counts(5, 1, dead_letters=2, parked=2), first
    database.cursor().execute(f"INSERT INTO {customers} VALUES ('c9')")
    second = made.run()
    assert second.holds and second.counts == Counts(5, 2, dead_letters=3), second
    found = spark.read.format("delta").load(path).select("order_id", "customer_id", "_offset")
    expected = spark.createDataFrame(
        [("o1", "c9", 2), ("o2", "c1", 4)], "order_id STRING, customer_id STRING, _offset LONG"
    )
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)
    sane, null = (
        "CHECK constraint sane (order_id <> 'odd') violated",
        "NOT NULL constraint violated for column: order_id",
    )
    letters = spark.read.format("delta").load(str(tmp_path / "dead")).select("_offset", "reason", "detail")
    told = [(at, "SINK_REJECTED", said) for at, said in ((0, sane), (1, sane), (3, null))]
    expected = spark.createDataFrame(told, "_offset LONG, reason STRING, detail STRING")
    assert_df_equality(letters, expected, ignore_row_order=True, ignore_nullable=True)
