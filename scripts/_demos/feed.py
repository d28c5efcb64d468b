"""What a demo's job reads: topics, customers in PostgreSQL, and orders that are sent a few at a time."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import psycopg2
from _orders import TOPIC, customer, orders
from _stack import Stack
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from psycopg2.extras import execute_values

from _demos import DemoFailed

CUSTOMERS = 10_000
PARTITIONS = 4
FLUSH_S = 60
LINGER_MS = 1_000  # until a flush: what is sent together arrives together, and is one batch more often than two
QUIET: dict[str, Any] = {"log_level": 4}  # warnings: what a client says about its own end is of no use to anybody


def make_topics(stack: Stack) -> None:
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers, **QUIET})
    topics = [NewTopic("orders", PARTITIONS, 1, config=TOPIC), NewTopic("orders.dead-letters", 1, 1, config=TOPIC)]
    for future in admin.create_topics(topics).values():
        future.result(30)


def make_customers(stack: Stack) -> None:
    with contextlib.closing(psycopg2.connect(**stack.dsn())) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE customers (customer_id text PRIMARY KEY, name text NOT NULL, segment text NOT NULL,"
            " country text NOT NULL, updated_at timestamptz NOT NULL DEFAULT now())"
        )
        made = [customer(number) for number in range(CUSTOMERS)]
        execute_values(cursor, "INSERT INTO customers (customer_id, name, segment, country) VALUES %s", made)


class Feed:
    """So many orders, about one in a hundred of them bad, into the topic `orders`."""

    def __init__(self, stack: Stack, rows: int) -> None:
        settings = {"linger.ms": LINGER_MS, "message.max.bytes": 8_000_000, **QUIET}
        self._producer = Producer({"bootstrap.servers": stack.bootstrap_servers, **settings})
        self._orders = enumerate(orders(rows, CUSTOMERS))
        self.ends = dict.fromkeys(range(PARTITIONS), 0)  # partition: offset after the last order

    @property
    def sent(self) -> int:
        return sum(self.ends.values())

    def send(self, count: int) -> None:
        """The next ones, as far as there are any; the broker has them at the end. Raises DemoFailed."""
        for number, value in itertools.islice(self._orders, count):
            self._producer.produce("orders", value, f"o{number}", number % PARTITIONS, self._delivered)
            if number % 1000 == 0:
                self._producer.poll(0)
        if self._producer.flush(FLUSH_S):
            raise DemoFailed(f"the broker did not take all orders within {FLUSH_S} s")

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        if error is not None or partition is None or offset is None:
            raise DemoFailed(f"the broker did not take an order: {error}")
        self.ends[partition] = offset + 1
