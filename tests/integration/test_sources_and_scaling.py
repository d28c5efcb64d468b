"""Every source and every scaling setting, seen by its effect: rows, tasks, files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.core.errors import DependencyMissing

CUSTOMER = "customer_id STRING, segment STRING"


@pytest.fixture
def settings(rows: Callable[..., DataFrame], tmp_path: Path) -> dict[str, Any]:
    """All but the source: a Delta reference table, Delta sink and Delta dead letters."""
    rows(CUSTOMER, ("c1", "gold"), ("c2", "silver")).write.format("delta").save(str(tmp_path / "customers"))
    return {
        "kafka": None,
        "postgres": None,
        "reference": {"delta": {"path": str(tmp_path / "customers"), "key": "customer_id"}},
        "join": {"on": {"customer_id": "customer_id"}},
        "sink": {"delta": {"path": str(tmp_path / "sink")}},
        "dead_letters": {"delta": {"path": str(tmp_path / "letters")}},
    }


def orders(count: int) -> list[bytes | None]:
    return [json.dumps({"order_id": f"o{n}", "customer_id": f"c{n % 2 + 1}"}).encode() for n in range(count)]


def files(path: Path) -> int:
    return len(list(path.rglob("part-*.parquet")))


def test_lines_of_files(spark: SparkSession, job: Any, settings: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(b'{"order_id": "o1", "customer_id": "c1"}\n{bad\n')
    source = {"file": {"path": str(folder)}, "schema": "order_id STRING, customer_id STRING"}
    report = job({**settings, "source": source}).run()
    assert report.holds, report.checks
    joined = spark.read.format("delta").load(str(tmp_path / "sink")).select("order_id", "segment", "_offset")
    expected = spark.createDataFrame([("o1", "gold", 0)], "order_id STRING, segment STRING, _offset BIGINT")
    assert_df_equality(joined, expected, ignore_nullable=True)
    letters = spark.read.format("delta").load(str(tmp_path / "letters")).select("reason", "_offset", "value").collect()
    assert [(row.reason, row._offset, bytes(row.value)) for row in letters] == [("MALFORMED", 40, b"{bad")]


def test_rows_of_a_delta_table(
    spark: SparkSession, job: Any, rows: Callable[..., DataFrame], settings: dict[str, Any], tmp_path: Path
) -> None:
    source = str(tmp_path / "orders")
    rows("order_id STRING, customer_id STRING", ("o1", "c1"), ("o2", "c9")).coalesce(1).write.format("delta").save(
        source
    )
    made = job(
        {**settings, "source": {"delta": {"path": source}}, "join": {**settings["join"], "on_miss": "dead_letter"}}
    )
    report = made.run()
    assert report.holds, report.checks
    found = spark.read.format("delta").load(str(tmp_path / "sink"))
    assert [(row.order_id, row.segment) for row in found.collect()] == [("o1", "gold")]
    letters = spark.read.format("delta").load(str(tmp_path / "letters")).collect()
    assert [(row.reason, json.loads(bytes(row.value))) for row in letters] == [
        ("NO_REFERENCE", {"order_id": "o2", "customer_id": "c9"})
    ]
    rows("order_id STRING, customer_id STRING", ("o3", "c2")).write.format("delta").mode("append").save(source)
    assert made.run().counts.written == 2


def test_a_rate(
    spark: SparkSession, job: Any, rows: Callable[..., DataFrame], settings: dict[str, Any], tmp_path: Path
) -> None:
    rows("number BIGINT, name STRING", (0, "zero")).write.format("delta").save(str(tmp_path / "numbers"))
    changed = {
        "source": {"rate": {"rows_per_second": 5}},
        "reference": {"delta": {"path": str(tmp_path / "numbers"), "key": "number"}},
        "join": {"on": {"value": "number"}, "how": "inner"},
        "trigger": {"every": "1s"},
        "dead_letters": None,
    }
    made = job({**settings, **changed})
    running = made.start()
    try:
        while not running.batch.ledger.last_batch or not running.batch.ledger.last_batch.counts.read:
            assert not running.wait(0.5), "the job ended by itself"
    finally:
        running.stop()
    report = made.audit()
    assert report.holds and report.counts.written == 1, report


@pytest.mark.parametrize("kind", ["file", "delta"])
def test_a_source_that_is_not_there_is_named(job: Any, settings: dict[str, Any], tmp_path: Path, kind: str) -> None:
    source: dict[str, Any] = {kind: {"path": str(tmp_path / "nothing")}}
    if kind == "file":
        source["schema"] = "order_id STRING, customer_id STRING"
    with pytest.raises(DependencyMissing, match="nothing unreachable: there is nothing at this path"):
        job({**settings, "source": source}).run()


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ({}, 1),
        ({"min_partitions": 3}, 3),
        ({"repartition": {"count": 5}}, 5),
        ({"repartition": {"by": ["customer_id"], "count": 2}}, 2),
        ({"min_partitions": 4, "coalesce": 2}, 2),
    ],
    ids=str,
)
def test_scaling_sets_the_number_of_tasks_and_files(
    broker: Any, job: Any, settings: dict[str, Any], tmp_path: Path, scaling: dict[str, Any], expected: int
) -> None:
    topic = broker.topic("orders")
    broker.send(topic, orders(40))
    source = {"kafka": {"topic": topic}, "schema": "order_id STRING, customer_id STRING"}
    made = job({**settings, "kafka": {"bootstrap_servers": broker.servers}, "source": source, "scaling": scaling})
    assert made.run().counts.written == 40
    assert files(tmp_path / "sink") == expected


def test_max_offsets_per_trigger_bounds_a_batch(broker: Any, job: Any, settings: dict[str, Any]) -> None:
    topic = broker.topic("orders")
    broker.send(topic, orders(25))
    source = {"kafka": {"topic": topic}, "schema": "order_id STRING, customer_id STRING"}
    scaling = {"max_offsets_per_trigger": 10}
    made = job({**settings, "kafka": {"bootstrap_servers": broker.servers}, "source": source, "scaling": scaling})
    assert made.run().batches == 3


def test_a_batch_bad_from_end_to_end(broker: Any, job: Any, settings: dict[str, Any]) -> None:
    topic = broker.topic("orders")
    broker.send(topic, [b"{"] * 7)
    source = {"kafka": {"topic": topic}, "schema": "order_id STRING, customer_id STRING"}
    report = job({**settings, "kafka": {"bootstrap_servers": broker.servers}, "source": source}).run()
    assert report.holds and report.reasons == {"MALFORMED": 7} and report.counts.written == 0
