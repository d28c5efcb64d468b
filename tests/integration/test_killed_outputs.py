"""kill -9 of the main job before a sink in Kafka, and with late records put aside: what each output holds afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid5

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.ledger import Counts
from jobs.core.sinks.messages import NAMESPACE

RECORDS = 30


@pytest.fixture
def given(broker: Any, rows: Callable[..., DataFrame], tmp_path: Path) -> dict[str, Any]:
    """All but source and sink."""
    rows("customer_id STRING, segment STRING", ("c0", "gold")).write.format("delta").save(str(tmp_path / "customers"))
    return {
        "reference": {"delta": {"path": str(tmp_path / "customers"), "key": "customer_id"}},
        "join": {"on": {"customer_id": "customer_id"}},
        "dead_letters": {"kafka": {"topic": broker.topic("dead")}},
        "scaling": {"max_offsets_per_trigger": 20},
    }


@pytest.fixture(params=["job", pytest.param("enrichment", marks=pytest.mark.long)])
def either(request: pytest.FixtureRequest, given: dict[str, Any]) -> Callable[..., Any]:
    """Makes the table join, or the enrichment job with the same table as its only step."""
    made, whole = request.getfixturevalue(request.param), dict(given)
    if request.param == "enrichment":
        whole["enrich"] = {"customer": {"table": whole.pop("reference"), **whole.pop("join")}}
    return lambda settings: made({**whole, **settings})


def source(topic: str, **more: Any) -> dict[str, Any]:
    return {"kafka": {"topic": topic}, "schema": "order_id STRING, customer_id STRING", **more}


def test_what_a_topic_holds_of_a_batch_is_not_sent_again(
    spark: SparkSession, job: Any, broker: Any, given: dict[str, Any], killed: Any
) -> None:
    """The first batch is whole, the second one is cut short with half of it in the topic."""
    orders, topic = broker.topic("orders"), broker.topic("joined")
    broker.send(orders, [b"{" if n % 10 == 0 else b'{"customer_id": "c0"}' for n in range(RECORDS)])
    made = job({**given, "source": source(orders), "sink": {"kafka": {"topic": topic}}})
    for point in ("after_ledger", "half_sent"):
        killed(made, point)
    report = made.run()
    assert report.holds, report.checks
    assert (report.counts, report.lag) == (Counts(RECORDS, 27, dead_letters=3), 0)
    reader = spark.read.format("kafka").option("kafka.bootstrap.servers", broker.servers).option("subscribe", topic)
    found = reader.option("includeHeaders", True).load().select(F.explode("headers").alias("h")).select("h.*")
    ids = [bytes(row["value"]).decode() for row in found.filter("key = 'event_id'").collect()]
    offsets = (n for n in range(RECORDS) if n % 10)
    assert sorted(ids) == sorted(str(uuid5(NAMESPACE, f"join/{orders}/0/{offset}")) for offset in offsets)


def test_late_records_are_judged_alike_after_kills_and_restarts(
    spark: SparkSession, either: Any, broker: Any, killed: Any, tmp_path: Path
) -> None:
    """Against the newest of the batches that are complete; the record dated 2099 is none of them."""
    orders, now = broker.topic("orders"), datetime.now(timezone.utc)
    late = {"max_lateness": "10m", "to": {"delta": {"path": str(tmp_path / "late")}}}
    timed = source(orders, schema="customer_id STRING, at TIMESTAMP", event_time="at", late=late)
    made = either({"source": timed, "sink": {"delta": {"path": str(tmp_path / "sink")}}})

    def order(*moments: datetime) -> None:
        broker.send(orders, [json.dumps({"customer_id": "c0", "at": at.isoformat()}).encode() for at in moments])

    def minutes(count: int) -> datetime:
        return now + timedelta(minutes=count)

    order(now, datetime(2099, 1, 1, tzinfo=timezone.utc))
    made.run()
    order(minutes(40), minutes(-5), minutes(-11))
    killed(made, "before_ledger")
    report = made.run()
    assert report.holds, report.checks
    assert (report.counts, report.reasons) == (Counts(5, 3, dead_letters=1, late=1), {"FUTURE": 1})
    order(minutes(30), minutes(31))
    report = made.run()
    assert report.holds and report.counts == Counts(7, 4, dead_letters=1, late=2), report
    letters = spark.read.format("delta").load(str(tmp_path / "late")).orderBy("_offset")
    assert [(row["_offset"], row["reason"]) for row in letters.collect()] == [(4, "LATE"), (5, "LATE")]


@pytest.mark.parametrize(("sink", "point"), [("postgres", "in_transaction"), ("delta", "before_dead_letters")])
def test_a_kill_between_refused_rows_and_the_ledger(
    spark: SparkSession,
    job: Any,
    broker: Any,
    given: dict[str, Any],
    migrated: Any,
    table: Any,
    killed: Any,
    tmp_path: Path,
    sink: str,
    point: str,
) -> None:
    """The table refuses every tenth order: in PostgreSQL it dies with their dead letters sent, before Delta without them."""
    orders, sane, path = broker.topic("orders"), "CHECK (order_id NOT LIKE '%5')", str(tmp_path / "sink")
    records = [{"order_id": f"o{n}", "customer_id": "c0"} for n in range(RECORDS)]
    broker.send(orders, [b"{" if n % 10 == 0 else json.dumps(record).encode() for n, record in enumerate(records)])
    texts = ["order_id", "customer_id", "segment", "_reference_version", "_topic"]
    columns = ", ".join([*(f"{name} {{0}}" for name in texts), "_partition int", "_offset bigint"])
    if sink == "postgres":
        target = {"table": table(f"{columns.format('text')}, {sane}", [])}
    else:
        spark.sql(f"CREATE TABLE delta.`{path}` ({columns.format('string')}) USING delta")
        spark.sql(f"ALTER TABLE delta.`{path}` ADD CONSTRAINT sane {sane}")
        target = {"path": path}
    made = job({**given, "job": f"refused_{sink}", "source": source(orders), "sink": {sink: target}})
    killed(made, point)
    report = made.run()
    assert report.holds, report.checks
    assert report.counts == Counts(RECORDS, RECORDS - 6, dead_letters=6)
    assert report.reasons == {"SINK_REJECTED": 3, "MALFORMED": 3}
