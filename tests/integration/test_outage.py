"""A database that goes away while a job writes into it, and one whose answer is lost: the batch stands, then counts once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from _proxy import Proxy

from jobs.core.running import Running

ORDERS = [b'{"order_id": "o1", "customer_id": "c1"}', b"{"] * 5


@pytest.fixture
def proxy(migrated: Any) -> Iterator[Proxy]:
    made = Proxy(migrated.dsn()["port"])
    yield made
    made.close()


@pytest.fixture
def made(job: Any, broker: Any, table: Any, stack: Any, proxy: Proxy, request: Any) -> Any:
    """A job that reaches its database through the proxy."""
    place = table(
        "order_id text, customer_id text, _reference_version text, _topic text, _partition int, _offset bigint", []
    )
    customers = table("customer_id text", [("c1",)])
    return job(
        {
            "job": f"outage_{place}",
            "postgres": {
                "url": stack.jdbc_url.replace(f":{stack.dsn()['port']}/", f":{proxy.port}/"),
                "user": stack.user,
                "password": "${POSTGRES_PASSWORD}",
            },
            "source": {"kafka": {"topic": broker.topic("orders")}, "schema": "order_id STRING, customer_id STRING"},
            "reference": {"jdbc": {"table": customers, "key": "customer_id"}, "refresh": {"every": "1h"}},
            "join": {"on": {"customer_id": "customer_id"}},
            "sink": {"postgres": {"table": place}},
            "dead_letters": {"kafka": {"topic": broker.topic("dead")}},
            "retry": {"attempts": 2, "wait_initial": "10ms", "wait_max": "50ms", "timeout": "5s"},
            "breaker": {"open_for": "200ms", "probes": 1},
            "trigger": {"every": "100ms"},
        }
    )


def until(seen: Callable[[], bool], running: Running, what: str, limit_s: float = 90) -> None:
    deadline = time.monotonic() + limit_s
    while not seen():
        assert time.monotonic() < deadline, f"after {limit_s} s still not: {what}"
        assert not running.wait(0.1), f"the job ended before: {what}"


@pytest.fixture
def read(made: Any, database: Any) -> Callable[[], int]:
    """Records that the ledger holds, asked past the proxy."""

    def ask() -> int:
        with database.cursor() as cursor:
            asked = "SELECT coalesce(sum((counts->>'read')::int), 0) FROM stream_patterns.ledger WHERE job = %s"
            cursor.execute(asked, (made.config.job,))
            return int(cursor.fetchone()[0])

    return ask


def test_while_the_database_is_away_the_batch_stands_and_then_counts_once(
    made: Any, broker: Any, proxy: Proxy, read: Any
) -> None:
    topic = made.config.source.kafka.topic
    broker.send(topic, ORDERS)
    running = made.start()
    try:
        until(lambda: read() == 10, running, "ten records in the ledger")
        last = running.batch.ledger.last_batch
        proxy.cut()
        broker.send(topic, ORDERS)
        until(lambda: running._guard.state("sink") == "open", running, "an open breaker")
        assert running.batch.ledger.last_batch == last, "offsets do not move"
        proxy.mend()
        until(
            lambda: running._guard.state("sink") == "closed" and read() == 20,
            running,
            "a closed breaker and twenty records",
        )
    finally:
        proxy.mend()
        running.stop()
    report = made.audit()
    assert report.holds, report.checks
    assert (report.counts.read, report.counts.written, report.counts.dead_letters) == (20, 10, 10)


def test_a_commit_whose_answer_is_lost_counts_once(made: Any, broker: Any, proxy: Proxy) -> None:
    seen: list[bytes] = []

    def commits_the_ledger(sent: bytes) -> bool:
        seen.append(sent)
        return b"COMMIT" in sent and any(b"INSERT INTO stream_patterns.ledger" in earlier for earlier in seen)

    broker.send(made.config.source.kafka.topic, ORDERS)
    proxy.lose_the_answer_to(commits_the_ledger)
    running = made.start()
    try:
        until(lambda: running.batch.ledger.last_batch is not None, running, "a batch")
    finally:
        running.stop()
    assert any(b"COMMIT" in sent for sent in seen)
    report = made.audit()
    assert report.holds, report.checks
    assert (report.batches, report.counts.read, report.counts.written) == (1, 10, 5)


def test_a_job_that_stands_before_a_database_ends_as_asked(made: Any, broker: Any, proxy: Proxy, read: Any) -> None:
    topic = made.config.source.kafka.topic
    broker.send(topic, ORDERS)
    running = made.start()
    try:
        until(lambda: read() == 10, running, "ten records in the ledger")
        proxy.cut()
        broker.send(topic, ORDERS)
        until(lambda: running._guard.state("sink") == "open", running, "an open breaker")
        running.request_stop()
        assert running.wait(60), "it did not end"
    finally:
        proxy.mend()
        running.stop()
    assert made.audit().counts.read == 10
    again = made.start()
    try:
        until(lambda: read() == 20, again, "twenty records in the ledger")
    finally:
        again.stop()
    report = made.audit()
    assert report.holds and report.counts.written == 10, report.checks
