"""A broker, a PostgreSQL server and a service of rates of one's own, that may be killed, stopped and started again."""

from __future__ import annotations

import contextlib
import signal
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg2
from _lib import rates
from _lib.processes import until
from _orders import TOPIC
from _stack import Stack
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from _faults.verdict import Record

GONE_S = 20


class Servers:
    """All of them, and clients for them; data and addresses stay what they were."""

    def __init__(self, folder: Path) -> None:
        self.stack = Stack.start(folder)
        self._admin = AdminClient({"bootstrap.servers": self.stack.bootstrap_servers, "log_level": 0})

    def kill(self, name: str) -> None:
        """kill -9 of `kafka`, `postgres` or `rates` with all of its processes."""
        server = self.stack.processes()[name]
        server.signal(signal.SIGKILL)
        assert until(lambda: not server.alive, GONE_S), f"{name} is still there"

    def revive(self) -> None:
        """Starts again what was killed, and waits until it serves."""
        self.stack = Stack.start(self.stack.directory)

    @contextlib.contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """SIGSTOP until the end of the block: it answers nothing, and nothing tells that it is gone."""
        server = self.stack.processes()[name]
        server.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            server.signal(signal.SIGCONT)

    def tell_rates(self, mode: str) -> None:
        """How their service answers from now on (`_rates`)."""
        rates.told(self.stack.rates_url, {"mode": mode})

    def environment(self) -> dict[str, str]:
        return self.stack.environment()

    def connection(self) -> Any:
        """A session whose statements are transactions of their own."""
        made = psycopg2.connect(**self.stack.dsn(), connect_timeout=5)
        made.autocommit = True
        return made

    def ask(self, statement: Any, arguments: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of one statement, on a connection of its own; none where it has no rows."""
        with contextlib.closing(self.connection()) as connection, connection.cursor() as cursor:
            cursor.execute(statement, arguments)
            return list(cursor.fetchall()) if cursor.description else []

    def topic(self, stem: str, partitions: int = 1, name: str | None = None, **config: str) -> str:
        """A new topic, under a name of its own unless one is given."""
        made = name or f"{stem}-{uuid.uuid4().hex[:8]}"
        _done(self._admin.create_topics([NewTopic(made, partitions, 1, config={**TOPIC, **config})]))
        return made

    def add_partitions(self, topic: str, whole: int) -> None:
        _done(self._admin.create_partitions([NewPartitions(topic, whole)]))

    def delete_topic(self, topic: str) -> None:
        """Returns once the broker has none of that name."""
        _done(self._admin.delete_topics([topic]))
        assert until(lambda: topic not in self._admin.list_topics(timeout=10).topics, GONE_S), topic

    def delete_records(self, topic: str, before: int, partition: int = 0) -> None:
        """As retention does it: the partition then begins at that offset."""
        _done(self._admin.delete_records([TopicPartition(topic, partition, before)]))

    def send(self, topic: str, values: Sequence[bytes | None], partition: int = 0) -> None:
        """In order, without repeats; returns when the broker has them all."""
        settings = {"bootstrap.servers": self.stack.bootstrap_servers, "enable.idempotence": True}
        producer = Producer(settings)
        for value in values:
            producer.produce(topic, value=value, partition=partition)
        assert producer.flush(60) == 0, "not sent"

    def records(self, topic: str) -> list[Record]:
        """All that a topic holds."""
        consumer = Consumer({"bootstrap.servers": self.stack.bootstrap_servers, "group.id": uuid.uuid4().hex})
        try:
            partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
            return [record for number in partitions for record in _read(consumer, topic, number)]
        finally:
            consumer.close()

    def stop(self) -> None:
        self.stack.stop()


def _read(consumer: Consumer, topic: str, partition: int) -> Iterator[Record]:
    first, after = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
    if first == after:
        return
    consumer.assign([TopicPartition(topic, partition, first)])
    at = first
    while at < after:
        message = consumer.poll(20)
        assert message is not None and message.error() is None, f"{topic} {partition} at {at} of {after}"
        at = (message.offset() or 0) + 1
        given: Any = message.headers()  # the client's types leave their parts open
        headers = {name: value or b"" for name, value in given or []}
        yield Record(topic, partition, at - 1, message.value(), headers)


def _done(futures: Any) -> None:
    for future in futures.values():
        future.result(30)
