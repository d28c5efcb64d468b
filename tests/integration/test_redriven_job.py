"""Dead letters redriven on a real broker: each record is written once, attempts are capped, and the audit holds throughout."""

from __future__ import annotations

from typing import Any

import pytest
from _letters import MISSED, OWN, Case, check
from pyspark.sql import SparkSession

from jobs.core import letters
from jobs.core.letters import Wanted
from jobs.core.redrive import Done, redrive

COLUMNS = "order_id text, customer_id text, segment text, _reference_version text, ordered_at int default 1"
PLACE = "_topic text, _partition int, _offset bigint"
MISSES = Wanted(["NO_REFERENCE"])


def test_letters_are_redriven_and_written_once_or_parked(case: Case, spark: SparkSession, database: Any) -> None:
    """The first run knows nothing of a redrive topic: a checkpoint goes on with it."""
    check(case.made(redriving=False).run(), read=3, written=1, dead_letters=2)
    made = case.made()
    assert redrive(spark, made.config, MISSES, dry_run=True) == Done(1, 0, 0)
    assert redrive(spark, made.config, MISSES, rate=100) == Done(1, 0, 0)
    assert redrive(spark, made.config, Wanted(limit=1)) == Done(1, 0, 1), "only what the topic has not got yet"
    miss, _ = case.records(case.again)
    assert (miss[0], miss[1], miss[2][: len(OWN)]) == (b"k", MISSED, OWN)
    check(made.audit(), read=3, written=1, dead_letters=2)

    case.mend(database)
    case.send(miss, case.again, times=2)
    case.send(miss, case.orders)  # where its headers are not believed
    case.send((b"k", MISSED, []), case.again)
    check(made.run(), read=9, written=4, dead_letters=1, redriven=1, rejected_again=1, duplicate=2)
    found = spark.read.format("delta").load(str(case.path / "sink")).select("order_id", "_topic", "_offset").collect()
    expected = [("o0", case.orders, 0), ("o1", case.orders, 1), ("o1", case.orders, 3), ("o1", case.again, 4)]
    assert sorted(map(tuple, found)) == sorted(expected)

    assert redrive(spark, made.config, Wanted()) == Done(0, 1, 1), "two attempts are enough"
    assert redrive(spark, made.config, Wanted()) == Done(0, 0, 2)
    *_, garbage = [letter for letter in case.records(case.dead) if letter[1] == b"{"]
    assert case.records(case.parking) == [garbage], "a parked letter is the letter as it was"
    case.send(miss, case.again)
    check(made.run(), read=10, written=4, dead_letters=1, redriven=1, rejected_again=1, duplicate=3)
    last = letters.at(letters.read(spark, made.config), case.orders, 0, 2)
    assert last and (last["attempt"], last["reason"], last["headers"]) == (2, "MALFORMED", OWN)


@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_a_redriven_row_in_postgres(
    case: Case, spark: SparkSession, migrated: Any, table: Any, database: Any, mode: str
) -> None:
    """Dead letters are in Delta here. Of an upsert only the ledger can prove what became of each record."""
    key = "PRIMARY KEY (order_id), " if mode == "upsert" else ""
    rows = table(f"{key}{COLUMNS}, {PLACE}", [])
    upsert = {"mode": "upsert", "key": ["order_id"], "version": "_offset"} if mode == "upsert" else {}
    made = case.made(
        job=f"redriven_{rows}",
        sink={"postgres": {"table": rows, **upsert}},
        dead_letters={"delta": {"path": str(case.path / "letters")}, **case.redrive},
    )
    check(made.run(), read=3, written=1, dead_letters=2)
    case.mend(database)
    assert redrive(spark, made.config, MISSES) == Done(1, 0, 0)
    check(made.audit(), read=3, written=1, dead_letters=2)
    check(made.run(), read=4, written=2, dead_letters=1, redriven=1)
    (miss,) = case.records(case.again)
    case.send(miss, case.again)
    check(made.run(), read=5, written=2, dead_letters=1, redriven=1, duplicate=1)
    with database.cursor() as cursor:
        cursor.execute(f"SELECT order_id, segment, _topic, _offset FROM {rows} ORDER BY order_id")
        assert cursor.fetchall() == [("o0", "gold", case.orders, 0), ("o1", "new", case.orders, 1)]


def test_a_kill_between_a_redriven_row_and_its_record(
    case: Case, spark: SparkSession, database: Any, killed: Any
) -> None:
    made = case.made()
    made.run()
    case.mend(database)
    assert redrive(spark, made.config, Wanted()) == Done(2, 0, 0)
    killed(made, "written")
    check(made.run(), read=5, written=2, dead_letters=1, redriven=1, rejected_again=1)
