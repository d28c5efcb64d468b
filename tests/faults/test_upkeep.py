"""What happens to a sink, a source or a reference table between two starts or while nothing comes in."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from _faults.case import Case, orders
from _faults.servers import Servers
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from jobs.core import delta_log
from jobs.core.errors import ReferenceStale
from jobs.core.running import Running

SEED = 20261125
KEPT = "spark.databricks.delta.retentionDurationCheck.enabled"


def until(seen: Callable[[], bool], running: Running, what: str, limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not seen():
        assert time.monotonic() < deadline, f"after {limit_s} s still not: {what}"
        assert not running.wait(0.2), f"the job ended before: {what}"


def tidy(spark: SparkSession, path: str) -> None:
    """OPTIMIZE, VACUUM of all that is not current, and a log of which only the last checkpoint is left."""
    spark.sql(f"OPTIMIZE delta.`{path}`")
    spark.conf.set(KEPT, "false")
    spark.sql(f"VACUUM delta.`{path}` RETAIN 0 HOURS")
    spark.conf.unset(KEPT)
    delta_log.log(spark, path).checkpoint()


def test_a_restart_after_the_upkeep_of_a_delta_table(cases: Callable[..., Case], spark: SparkSession) -> None:
    """A batch whose record is there, one whose record is not, and one that is bad from end to end: none counts twice."""
    case = cases("delta")
    table = case.path / "sink"
    for values in (orders(10), orders(10, 10), [b"{"] * 5):
        case.send_values(values)
        case.drain()
    tidy(spark, str(table))
    for commit in sorted((table / "_delta_log").glob("0*.json"))[:-1]:
        commit.unlink()
    for name in ("1", "2", ".1.crc", ".2.crc"):
        (case.path / "checkpoint" / "commits" / name).unlink()
    (table / "_ledger" / case.name / f"{2:020d}.json").unlink()
    case.drain()
    case.check()
    assert case.batches() == 3


@pytest.mark.parametrize("case", ["postgres"], indirect=True)
def test_a_batch_bad_from_end_to_end_runs_again(case: Case) -> None:
    case.send_values([b"{"] * 5)
    case.drain()
    for name in ("0", ".0.crc"):
        (case.path / "checkpoint" / "commits" / name).unlink()
    case.drain()
    case.check()
    assert (case.batches(), case.rows()) == (1, [])


@pytest.mark.parametrize("case", ["delta", "enriching"], indirect=True)
def test_with_no_input_what_waits_is_released_or_given_up(case: Case) -> None:
    """Refresh, release, `wait_for` and `max_staleness` go on while no record comes."""
    case.send_values([json.dumps({"order_id": f"o{n}", "customer_id": f"c{n}"}).encode() for n in range(4)])
    with idle(case, wait_for="1h") as running:
        until(lambda: case.outcomes() == (2, 0, 2), running, "two orders that wait")
        case.change("c2", "late")
        until(lambda: case.outcomes() == (3, 0, 1), running, "an order that waited and was written")
    with idle(case, wait_for="1s") as running:
        until(lambda: case.outcomes() == (3, 1, 0), running, "an order that waited too long and is a dead letter")
        case.servers.ask(f"DROP TABLE {case.customers}")
        with pytest.raises(ReferenceStale) as stale:
            running.wait(60)
    assert stale.value.exit_code == 4
    assert {row.order_id for row in case.rows()} == {"o0", "o1", "o2"}


@contextmanager
def idle(case: Case, wait_for: str) -> Iterator[Running]:
    running = case.begin(on_miss="wait", wait_for=wait_for, max_staleness="3s")
    try:
        yield running
    finally:
        with suppress(ReferenceStale):
            running.stop()


def test_records_sent_three_times_and_shuffled_leave_the_same_state(
    cases: Callable[..., Case], servers: Servers
) -> None:
    """Into an upsert with a version, they leave what the sorted, distinct input leaves."""
    events = [{"order_id": f"o{n % 7}", "customer_id": f"v{n}", "changed": n} for n in range(40)]
    again = [json.dumps(event).encode() for event in events * 3]
    random.Random(SEED).shuffle(again)
    case, latest = cases("postgres"), f"latest_{SEED}"
    more = "segment text, _reference_version text"
    servers.ask(f"CREATE TABLE {latest} (order_id text PRIMARY KEY, customer_id text, changed int, {more})")
    case.send_values(again)
    case.drain(
        source={"kafka": {"topic": case.topic}, "schema": "order_id STRING, customer_id STRING, changed INT"},
        sink={"postgres": {"table": latest, "mode": "upsert", "key": ["order_id"], "version": "changed"}},
        scaling={"max_offsets_per_trigger": 25},
    )
    expected = {event["order_id"]: (event["customer_id"], event["changed"]) for event in events}
    found = servers.ask(f"SELECT order_id, customer_id, changed FROM {latest}")
    assert {order: tuple(rest) for order, *rest in found} == expected
    counts = [record["counts"] for record in case.ledger()]
    assert sum(one["read"] for one in counts) == 120 == sum(one["written"] + one["superseded"] for one in counts)


def test_a_source_table_that_changes_shape_or_loses_rows_stops_the_job(
    cases: Callable[..., Case], spark: SparkSession, rows: Callable[..., Any]
) -> None:
    """Nothing is passed over: the job ends, and goes on once the sink can take it, or once rows are not deleted any more."""
    case = cases("delta")
    orders, sink = str(case.path / "orders"), str(case.path / "sink")

    def more(schema: str, *values: Any, **options: Any) -> None:
        rows(schema, *values).coalesce(1).write.format("delta").mode("append").options(**options).save(orders)

    def run() -> list[str]:
        case.drain(source={"delta": {"path": orders}})
        return sorted(row.order_id for row in spark.read.format("delta").load(sink).collect())

    more("order_id STRING, customer_id STRING", ("o1", "c1"))
    assert run() == ["o1"]
    more("order_id STRING, customer_id STRING, note STRING", ("o2", "c2", "new"), mergeSchema="true")
    with pytest.raises(PySparkException, match="schema"):
        run()
    assert case.batches() == 1
    spark.sql(f"ALTER TABLE delta.`{sink}` ADD COLUMNS (note STRING AFTER customer_id)")
    assert run() == ["o1", "o2"]
    spark.sql(f"DELETE FROM delta.`{orders}` WHERE order_id = 'o1'")
    more("order_id STRING, customer_id STRING, note STRING", ("o3", "c1", None))
    with pytest.raises(PySparkException, match="DELTA_SOURCE_TABLE_IGNORE_CHANGES|Detected deleted data"):
        run()
    assert case.batches() == 2
