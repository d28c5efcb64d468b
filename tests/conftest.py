"""One Spark session and one local stack for the whole run; a topic, a table and a folder of its own for each test."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from _orders import TOPIC
from _stack import Stack
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from pyspark.sql import DataFrame, SparkSession

from jobs.core.session import session

SMALL = {
    "spark.master": "local[2]",
    "spark.sql.shuffle.partitions": "2",
    "spark.default.parallelism": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.sql.codegen.cache.maxEntries": "1000",  # a whole run has more plans than a job
    "spark.ui.enabled": "false",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
    "spark.driver.memory": "2g",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.streaming.noDataMicroBatches.enabled": "false",
}


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    started = session("tests", SMALL)
    started.sparkContext.setLogLevel("ERROR")
    yield started
    started.stop()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A real Kafka broker and a real PostgreSQL server on free loopback ports."""
    with Stack.start(tmp_path_factory.mktemp("stack")) as running:
        yield running


class Broker:
    """Topics and records on the running broker."""

    def __init__(self, stack: Stack) -> None:
        self.servers = stack.bootstrap_servers
        self._admin = AdminClient({"bootstrap.servers": self.servers})

    def topic(self, stem: str = "topic", partitions: int = 1, **config: str) -> str:
        """A new topic under a name of its own; its settings with _ for a dot."""
        name = f"{stem}-{uuid.uuid4().hex[:8]}"
        config = {**TOPIC, **{key.replace("_", "."): value for key, value in config.items()}}
        for future in self._admin.create_topics([NewTopic(name, partitions, 1, config=config)]).values():
            future.result(30)
        return name

    def send(self, topic: str, values: Sequence[bytes | None], partition: int = 0, **record: Any) -> None:
        """Sends record values in order and waits until the broker has them all."""
        producer = Producer({"bootstrap.servers": self.servers, "message.max.bytes": 8_000_000})
        for value in values:
            producer.produce(topic, value=value, partition=partition, on_delivery=_delivered, **record)
        assert producer.flush(30) == 0


def _delivered(error: Any, message: Any) -> None:
    assert error is None, error


@pytest.fixture(scope="session")
def broker(stack: Stack) -> Broker:
    return Broker(stack)


@pytest.fixture(scope="session")
def database(stack: Stack) -> Iterator[Any]:
    """An open connection, each statement a transaction of its own."""
    with contextlib.closing(psycopg2.connect(**stack.dsn())) as connection:
        connection.autocommit = True
        yield connection


@pytest.fixture
def table(database: Any) -> Callable[..., str]:
    """Makes a reference table from rows: table("customer_id text primary key, name text", [("c1", "Ann")])."""

    def make(columns: str, rows: Sequence[tuple[Any, ...]]) -> str:
        name = f"t{uuid.uuid4().hex[:8]}"
        with database.cursor() as cursor:
            cursor.execute(f"CREATE TABLE {name} ({columns})")
            for row in rows:
                cursor.execute(f"INSERT INTO {name} VALUES ({', '.join(['%s'] * len(row))})", row)
        return name

    return make


@pytest.fixture
def rows(spark: SparkSession) -> Callable[..., DataFrame]:
    """Literal rows under a DDL schema: rows("a INT, b STRING", (1, "x"), (2, None))."""
    return lambda schema, *values: spark.createDataFrame(list(values), schema)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
