"""Dead letters redriven on a real broker: each record is written once, attempts are capped, and the audit holds throughout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from pyspark.sql import DataFrame, SparkSession

from jobs.core import letters
from jobs.core.audit import Report
from jobs.core.ledger import Counts
from jobs.core.letters import Wanted
from jobs.core.redrive import Done, redrive

GOOD, MISSED = b'{"order_id": "o0", "customer_id": "c1"}', b'{"order_id": "o1", "customer_id": "c9"}'
OWN = [("trace", b"\xff\x00"), ("kafka_dlt-original-topic", b"elsewhere"), ("none", None)]
COLUMNS = "order_id text, customer_id text, segment text, _reference_version text"
PLACE = "_topic text, _partition int, _offset bigint"


class Case:
    """Three orders: a good one, one of a customer that is not known yet, and garbage."""

    def __init__(self, job: Callable[..., Any], broker: Any, table: Callable[..., str], path: Path) -> None:
        self.broker, self.path, self._job = broker, path, job
        self.orders, self.dead, self.again, self.parking = map(broker.topic, ("orders", "dead", "again", "parking"))
        self.customers = table("customer_id text primary key, segment text", [("c1", "gold")])
        self.broker.send(self.orders, [GOOD, MISSED, b"{"], key=b"k", headers=OWN)

    def made(self, **settings: Any) -> Any:
        whole = {
            "source": {"kafka": {"topic": self.orders}, "schema": "order_id STRING, customer_id STRING"},
            "reference": {"jdbc": {"table": self.customers, "key": "customer_id", "columns": ["segment"]}},
            "join": {"on": {"customer_id": "customer_id"}, "on_miss": "dead_letter"},
            "sink": {"delta": {"path": str(self.path / "sink")}},
            "dead_letters": {"kafka": {"topic": self.dead}, "redrive": self.redrive},
        }
        return self._job({**whole, **settings})

    @property
    def redrive(self) -> dict[str, Any]:
        return {"topic": self.again, "max_attempts": 3, "parking_topic": self.parking}

    def mend(self, database: Any) -> None:
        database.cursor().execute(f"INSERT INTO {self.customers} VALUES ('c9', 'new')")

    def records(self, topic: str) -> list[tuple[bytes, bytes, list[tuple[str, bytes]]]]:
        """Key, value and headers of all that a topic holds."""
        consumer = Consumer({"bootstrap.servers": self.broker.servers, "group.id": "look", "enable.auto.commit": False})
        first, after = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)
        consumer.assign([TopicPartition(topic, 0, first)])
        found = [consumer.poll(30) for _ in range(first, after)]
        consumer.close()
        return [(message.key(), message.value(), message.headers()) for message in found]

    def send_again(self, record: tuple[bytes, bytes, list[tuple[str, bytes]]], topic: str, times: int = 1) -> None:
        key, value, headers = record
        self.broker.send(topic, [value] * times, key=key, headers=headers)


@pytest.fixture
def case(job: Any, broker: Any, table: Callable[..., str], tmp_path: Path) -> Case:
    return Case(job, broker, table, tmp_path)


def check(report: Report, **counts: int) -> None:
    assert report.holds, report.checks
    assert report.counts == Counts(**counts)


def test_letters_are_redriven_until_they_are_parked(
    case: Case, spark: SparkSession, database: Any, rows: Callable[..., DataFrame]
) -> None:
    made = case.made()
    check(made.run(), read=3, written=1, dead_letters=2)
    assert redrive(spark, made.config, Wanted(["NO_REFERENCE"]), dry_run=True) == Done(1, 0, 0)
    assert redrive(spark, made.config, Wanted(["NO_REFERENCE"])) == Done(1, 0, 0)
    assert redrive(spark, made.config, Wanted(["NO_REFERENCE"])) == Done(0, 0, 1), (
        "what the topic has is not sent again"
    )
    (sent,) = case.records(case.again)
    assert (sent[0], sent[1], sent[2][: len(OWN)]) == (b"k", MISSED, OWN)
    check(made.audit(), read=3, written=1, dead_letters=2)

    case.mend(database)
    check(made.run(), read=4, written=2, dead_letters=1, redriven=1)
    case.send_again(sent, case.again, times=2)
    case.send_again(sent, case.orders)  # where its headers are not believed
    case.send_again((b"k", MISSED, []), case.again)
    check(made.run(), read=8, written=4, dead_letters=1, redriven=1, duplicate=2)
    found = spark.read.format("delta").load(str(case.path / "sink")).select("order_id", "_topic", "_offset").collect()
    assert sorted(map(tuple, found)) == sorted(
        [("o0", case.orders, 0), ("o1", case.orders, 1), ("o1", case.orders, 3), ("o1", case.again, 3)]
    )

    for attempt in (2, 3):
        assert redrive(spark, made.config, Wanted()) == Done(1, 0, 1)
        check(
            made.run(), read=7 + attempt, written=4, dead_letters=1, redriven=1, duplicate=2, rejected_again=attempt - 1
        )
    assert redrive(spark, made.config, Wanted()) == Done(0, 1, 1)
    assert redrive(spark, made.config, Wanted()) == Done(0, 0, 2)
    assert case.records(case.parking) == case.records(case.dead)[-1:], "a parked letter is the letter as it was"
    check(made.run(), read=10, written=4, dead_letters=1, redriven=1, duplicate=2, rejected_again=2)
    last = letters.current(letters.read(spark, made.config)).filter("reason = 'MALFORMED'").select("_offset", "attempt")
    assert [tuple(row) for row in last.collect()] == [(2, 3)]
