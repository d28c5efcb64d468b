"""kill -9 at named points and at a random one; a restart makes every record count once."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.core.audit import Report

RECORDS = 300
SEED = 20261124


@pytest.fixture
def orders(broker: Any) -> str:
    """Known and unknown customers in turn, every tenth record bad."""
    topic = str(broker.topic("orders"))
    values = [
        b"{" if n % 10 == 0 else json.dumps({"order_id": f"o{n}", "customer_id": f"c{n % 4}"}).encode()
        for n in range(RECORDS)
    ]
    broker.send(topic, values)
    return topic


@pytest.fixture
def customers(table: Callable[..., str]) -> str:
    return table("customer_id text primary key, segment text", [("c0", "gold"), ("c1", "silver")])


def settings(broker: Any, orders: str, customers: str, path: Path, **join: Any) -> dict[str, Any]:
    return {
        "source": {
            "kafka": {"topic": orders},
            "schema": "order_id STRING, customer_id STRING",
            "required": ["order_id"],
        },
        "reference": {"jdbc": {"table": customers, "key": "customer_id", "columns": ["segment"]}},
        "join": {"on": {"customer_id": "customer_id"}, **join},
        "sink": {"delta": {"path": str(path / "sink")}},
        "dead_letters": {"kafka": {"topic": broker.topic("dead")}},
        "scaling": {"max_offsets_per_trigger": 100},
    }


def killed(made: Any, point: str, stack: Any) -> None:
    """Runs the job until it is killed at the point."""
    command = [sys.executable, str(Path(__file__).with_name("dying_job.py")), str(made.path / "job.yaml"), point]
    done = subprocess.run(
        command,
        env={**os.environ, **stack.environment()},
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=300,  # on a machine that has more to do
    )
    assert done.returncode == -9, done.stderr[-3000:]


def check(report: Report) -> None:
    assert report.holds, report.checks
    assert report.counts.read == RECORDS and report.lag == 0


@pytest.mark.parametrize("point", ["before_ledger", "before_commit"])
def test_a_kill_at_a_named_point(
    job: Any, broker: Any, orders: str, customers: str, stack: Any, tmp_path: Path, point: str
) -> None:
    made = job(settings(broker, orders, customers, tmp_path, how="inner"))
    killed(made, point, stack)
    check(made.run())


@pytest.mark.parametrize("point", ["before_ledger", "in_transaction", "before_commit"])
def test_a_kill_before_a_sink_in_postgres(
    job: Any,
    broker: Any,
    orders: str,
    customers: str,
    stack: Any,
    migrated: Any,
    table: Any,
    tmp_path: Path,
    point: str,
) -> None:
    columns = "order_id text, customer_id text, segment text, _reference_version text"
    sink = {"postgres": {"table": table(f"{columns}, _topic text, _partition int, _offset bigint", [])}}
    given = {**settings(broker, orders, customers, tmp_path, how="inner"), "job": f"killed_{point}", "sink": sink}
    made = job(given)
    killed(made, point, stack)
    check(made.run())


@pytest.mark.parametrize(("sink", "point"), [("postgres", "in_transaction"), ("delta", "before_ledger")])
def test_a_kill_between_refused_rows_and_the_ledger(
    job: Any,
    broker: Any,
    orders: str,
    customers: str,
    stack: Any,
    migrated: Any,
    table: Any,
    spark: SparkSession,
    tmp_path: Path,
    sink: str,
    point: str,
) -> None:
    """The table refuses every tenth order: in PostgreSQL it dies with their dead letters sent, before Delta without them."""
    columns = (
        "order_id {0}, customer_id {0}, segment {0}, _reference_version {0}, _topic {0}, _partition int, _offset bigint"
    )
    sane, path = "CHECK (order_id NOT LIKE '%5')", str(tmp_path / "sink")
    if sink == "postgres":
        given = {"table": table(f"{columns.format('text')}, {sane}", [])}
    else:
        spark.sql(f"CREATE TABLE delta.`{path}` ({columns.format('string')}) USING delta")
        spark.sql(f"ALTER TABLE delta.`{path}` ADD CONSTRAINT sane {sane}")
        given = {"path": path}
    whole = {**settings(broker, orders, customers, tmp_path), "job": f"refused_{sink}", "sink": {sink: given}}
    made = job(whole)
    killed(made, point, stack)
    report = made.run()
    check(report)
    assert report.reasons == {"SINK_REJECTED": RECORDS // 10, "MALFORMED": RECORDS // 10}


def test_a_kill_at_a_random_point(
    job: Any, broker: Any, orders: str, customers: str, stack: Any, tmp_path: Path
) -> None:
    delay = random.Random(SEED).randrange(200, 2500)
    made = job(settings(broker, orders, customers, tmp_path, how="inner"))
    killed(made, f"after_ms={delay}", stack)
    check(made.run())


def test_a_reference_that_moved_on_between_kill_and_restart(
    spark: SparkSession, job: Any, broker: Any, orders: str, customers: str, stack: Any, database: Any, tmp_path: Path
) -> None:
    """What was written stays as it was; what had missed, and was neither written nor sent, sees the new version."""
    made = job(settings(broker, orders, customers, tmp_path, on_miss="dead_letter"))
    killed(made, "before_ledger", stack)
    database.cursor().execute(f"UPDATE {customers} SET segment = 'new' WHERE customer_id = 'c0'")
    database.cursor().execute(f"INSERT INTO {customers} VALUES ('c2', 'new')")
    check(made.run())
    sink = spark.read.format("delta").load(str(tmp_path / "sink")).where("_offset < 100")
    found = {(row.customer_id, row.segment) for row in sink.select("customer_id", "segment").distinct().collect()}
    assert found == {("c0", "gold"), ("c1", "silver"), ("c2", "new")}


def test_waiting_records_survive_a_kill(
    job: Any, broker: Any, orders: str, customers: str, stack: Any, database: Any, tmp_path: Path
) -> None:
    made = job(
        settings(broker, orders, customers, tmp_path, on_miss="wait", wait_for="1h", parked=str(tmp_path / "waiting"))
    )
    killed(made, "before_ledger", stack)
    first = made.run()
    check(first)
    database.cursor().execute(f"INSERT INTO {customers} VALUES ('c2', 'new')")
    second = made.run()
    check(second)
    assert 0 < second.counts.parked < first.counts.parked
