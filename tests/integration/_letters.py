"""Three orders of which two become dead letters, and the topics by which these come again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from jobs.core.audit import Report
from jobs.core.ledger import Counts

GOOD, MISSED = b'{"order_id": "o0", "customer_id": "c1"}', b'{"order_id": "o1", "customer_id": "c9"}'
OWN = [("trace", b"\xff\x00"), ("kafka_dlt-original-topic", b"elsewhere"), ("none", None)]
Record = tuple[bytes, bytes, list[tuple[str, Any]]]


class Case:
    """Three orders: a good one, one of a customer that is not known yet, and garbage."""

    def __init__(self, job: Callable[..., Any], broker: Any, table: Callable[..., str], path: Path) -> None:
        self.broker, self.path, self._job = broker, path, job
        self.orders, self.dead, self.again, self.parking = map(broker.topic, ("orders", "dead", "again", "parking"))
        self.customers = table("customer_id text primary key, segment text", [("c1", "gold")])
        self.broker.send(self.orders, [GOOD, MISSED, b"{"], key=b"k", headers=OWN)

    def made(self, redriving: bool = True, **settings: Any) -> Any:
        whole = {
            "source": {"kafka": {"topic": self.orders}, "schema": "order_id STRING, customer_id STRING"},
            "reference": {"jdbc": {"table": self.customers, "key": "customer_id", "columns": ["segment"]}},
            "join": {"on": {"customer_id": "customer_id"}, "on_miss": "dead_letter"},
            "sink": {"delta": {"path": str(self.path / "sink")}},
            "dead_letters": {"kafka": {"topic": self.dead}, **(self.redrive if redriving else {})},
        }
        return self._job({**whole, **settings})

    @property
    def redrive(self) -> dict[str, Any]:
        return {"redrive": {"topic": self.again, "max_attempts": 2, "parking_topic": self.parking}}

    def mend(self, database: Any) -> None:
        database.cursor().execute(f"INSERT INTO {self.customers} VALUES ('c9', 'new')")

    def records(self, topic: str) -> list[Record]:
        """Key, value and headers of all that a topic holds."""
        consumer = Consumer({"bootstrap.servers": self.broker.servers, "group.id": "look", "enable.auto.commit": False})
        first, after = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)
        consumer.assign([TopicPartition(topic, 0, first)])
        found = [consumer.poll(30) for _ in range(first, after)]
        consumer.close()
        return [(message.key(), message.value(), message.headers()) for message in found]

    def send(self, record: Record, topic: str, times: int = 1) -> None:
        key, value, headers = record
        self.broker.send(topic, [value] * times, key=key, headers=headers)


def check(report: Report, **counts: int) -> None:
    assert report.holds, report.checks
    assert report.counts == Counts(**counts)
