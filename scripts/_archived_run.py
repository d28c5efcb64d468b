"""What the archive of classes is made of: the main job from Kafka into both of its sinks, its audits, and a MERGE."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import psycopg2
from _lib.places import ROOT
from _orders import TOPIC, customer, orders
from _stack import Stack
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from delta import DeltaTable
from pyspark.sql import SparkSession

from jobs.core import layers
from jobs.core.audit import audit
from jobs.core.migrations import migrate
from jobs.core.postgres import Database
from jobs.core.session import session
from jobs.stream_table_join import Config, start

CUSTOMER = "customer_id STRING, name STRING, segment STRING, country STRING"
ORDER = "order_id STRING, customer_id STRING, amount DECIMAL(10,2), ordered_at TIMESTAMP"
TABLES = """
    CREATE TABLE customers (customer_id text, name text, segment text, country text, updated_at timestamptz DEFAULT now());
    CREATE TABLE enriched (
        order_id text, customer_id text, amount numeric, ordered_at timestamptz, name text, segment text, country text,
        updated_at timestamptz, _reference_version text, _topic text, _partition int, _offset bigint
    );
"""
TOPICS = ("orders", "orders.dead")


def main(work: Path) -> None:
    with Stack.start(work / "stack") as stack:
        _send(stack)
        _make_tables(stack)
        spark = session("archived_run", {"spark.ui.enabled": "false"})
        for sink in ("delta", "postgres"):
            _run(spark, stack, work / sink, sink)
        _merge(spark, str(work / "merged"))
        spark.stop()


def _run(spark: SparkSession, stack: Stack, work: Path, sink: str) -> None:
    given: dict[str, Any] = {
        "job": sink,
        "source.schema": ORDER,
        "dead_letters.kafka.topic": "orders.dead",
        "checkpoint": work / "checkpoint",
        "trigger.every": "null",
        "trigger.available_now": "true",
        **({"sink.delta.path": work / "table"} if sink == "delta" else {"sink.postgres.table": "enriched"}),
        **({"sink.delta.partition_by": "[]"} if sink == "delta" else {"sink.delta": "null"}),
    }
    overrides = [f"{key}={value}" for key, value in given.items()]
    file, variables = ROOT / "conf" / "stream_table_join.yaml", stack.environment()
    config = layers.load(Config, file, "local", overrides, variables).config
    if config.sink.postgres and config.postgres:
        migrate(Database(config.postgres), config)
    start(spark, config).wait()
    assert audit(spark, config).holds


def _send(stack: Stack) -> None:
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    for made in admin.create_topics([NewTopic(name, 1, 1, config=TOPIC) for name in TOPICS]).values():
        made.result(30)
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
    for order in orders(500, customers=9):
        producer.produce("orders", order)
    assert producer.flush(60) == 0


def _make_tables(stack: Stack) -> None:
    with contextlib.closing(psycopg2.connect(**stack.dsn())) as connection, connection, connection.cursor() as cursor:
        cursor.execute(TABLES)
        for number in range(9):
            cursor.execute("INSERT INTO customers VALUES (%s, %s, %s, %s)", customer(number))


def _merge(spark: SparkSession, path: str) -> None:
    rows = spark.createDataFrame([customer(number) for number in range(9)], CUSTOMER)
    rows.write.format("delta").save(path)
    merged = DeltaTable.forPath(spark, path).alias("old").merge(rows.alias("new"), "old.customer_id = new.customer_id")
    merged.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
