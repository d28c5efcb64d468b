"""A running job, watched over HTTP: behind, caught up, idle, and gone."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from confluent_kafka import Producer
from pyspark.sql import DataFrame, SparkSession

import jobs.stream_table_join as join_job
from jobs.core.checkpoint import Checkpoint
from jobs.core.clock import utc_now
from jobs.core.errors import ConfigError
from jobs.core.logs import JsonLines
from jobs.core.metrics import Metrics
from jobs.core.watch import Watch

IDLE = "spark.sql.streaming.noDataProgressEventInterval"
ENRICH = join_job.enrich


class Gate(threading.Event):
    """While it is not set, a batch hangs in the join's transform; `lines` has what it would log there."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def enrich(self, *arguments: Any) -> DataFrame:
        line = JsonLines("join").format(logging.makeLogRecord({"msg": "joining"}))
        self.lines.append(json.loads(line)["context"])
        assert self.wait(120)
        return ENRICH(*arguments)


class Watched:
    """What the job's port answers."""

    def __init__(self, url: str | None) -> None:
        assert url
        self.place = urlsplit(url).netloc

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.place, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def causes(self) -> list[str]:
        status, body = self.get("/readyz")
        found = json.loads(body)
        assert (status, found["ready"]) == ((503, False) if found["causes"] else (200, True))
        return [cause["cause"] for cause in found["causes"]]

    def series(self, name: str) -> dict[str, float]:
        """Values of one metric by its labels, without the job."""
        lines = [line for line in self.get("/metrics")[1].splitlines() if line.startswith((f"{name}{{", f"{name} "))]
        labelled = (line.removeprefix(name).rpartition(" ") for line in lines)
        return {labels.replace('job="join",', ""): float(value) for labels, _, value in labelled}

    def until(self, seen: Callable[[], Any], wanted: Any) -> None:
        deadline = time.monotonic() + 120
        while (found := seen()) != wanted:
            assert time.monotonic() < deadline, f"still {found}, not {wanted}, after two minutes"
            time.sleep(0.05)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(join_job, "enrich", gate.enrich)
    yield gate
    gate.set()


@pytest.fixture
def settings(broker: Any, table: Callable[..., str], tmp_path: Any) -> dict[str, Any]:
    return {
        "source": {
            "kafka": {"topic": broker.topic("orders", partitions=2)},
            "schema": "order_id STRING, customer_id STRING",
        },
        "reference": {"jdbc": {"table": table("customer_id text", [("c1",)]), "key": "customer_id"}},
        "join": {"on": {"customer_id": "customer_id"}},
        "sink": {"delta": {"path": str(tmp_path / "sink")}},
        "dead_letters": {"kafka": {"topic": broker.topic("dead")}},
        "trigger": {"every": "100ms"},
        "monitoring": {"port": 0, "every": "500ms", "ready": {"max_lag": 0, "for": "1ms"}},
    }


def lag(settings: dict[str, Any], first: int, second: int) -> dict[str, float]:
    topic = settings["source"]["kafka"]["topic"]
    return {f'{{partition="{number}",topic="{topic}"}}': value for number, value in enumerate((first, second))}


def test_a_job_is_watched_while_it_is_behind_and_when_it_has_caught_up(
    spark: SparkSession, broker: Any, job: Any, gate: Gate, settings: dict[str, Any]
) -> None:
    topic = settings["source"]["kafka"]["topic"]
    broker.send(topic, [b'{"order_id": "o1", "customer_id": "c1"}', b"{"] * 2)
    spark.conf.set(IDLE, "200")
    made = job(settings)
    running = made.start()
    try:
        watched = Watched(running.watch.url)
        watched.until(lambda: watched.series("patterns_lag_records"), lag(settings, 4, 0))
        watched.until(watched.causes, ["lag"])
        assert watched.get("/healthz")[0] == 200
        hanging = {"job": "join", "query_id": str(running.query.id), "batch_id": "0"}
        watched.until(lambda: gate.lines, [hanging])
        broker.send(topic, [b"{"], partition=1)  # the batch that hangs knows nothing of this one
        watched.until(lambda: watched.series("patterns_lag_records"), lag(settings, 4, 1))
        assert watched.series("patterns_ledger_offset") == {}

        gate.set()
        watched.until(lambda: watched.series("patterns_lag_records"), lag(settings, 0, 0))
        watched.until(watched.causes, [])
        assert watched.series("patterns_ledger_offset") == lag(settings, 4, 1)
        outcomes = watched.series("patterns_records_total")
        assert (outcomes['{outcome="read"}'], outcomes['{outcome="written"}']) == (5, 2)
        assert watched.series("patterns_dead_letters_total")['{reason="MALFORMED"}'] == 3
        assert watched.series("patterns_batches_total") == {'{job="join"}': 2}
        assert list(watched.series("patterns_reference_version_info").values()) == [1]

        ended = watched.series("patterns_batch_duration_seconds_count")
        assert ended['{phase="addBatch"}'] <= 2
        watched.until(lambda: watched.series("patterns_batch_duration_seconds_count").get('{phase="addBatch"}'), 2)
        own = watched.series("patterns_batch_duration_seconds_count")
        assert [own[f'{{phase="{name}"}}'] for name in ("write", "dead_letters", "ledger")] == [2, 2, 2]
        before = watched.series("patterns_last_progress_timestamp_seconds")
        watched.until(lambda: watched.series("patterns_last_progress_timestamp_seconds") != before, True)
        assert watched.series("patterns_batches_total") == {'{job="join"}': 2}
    finally:
        spark.conf.unset(IDLE)
        gate.set()
        running.stop()
    with pytest.raises(ConnectionRefusedError):
        watched.get("/healthz")
    known_again(made, settings)


def known_again(made: Any, settings: dict[str, Any]) -> None:
    """A process that has written nothing knows where the ledger stands."""
    again = made.start()
    try:
        watched = Watched(again.watch.url)
        assert watched.series("patterns_ledger_offset") == lag(settings, 4, 1)
        watched.until(lambda: watched.series("patterns_lag_records"), lag(settings, 0, 0))
        assert watched.series("patterns_batches_total") == {'{job="join"}': 0}
    finally:
        again.stop()


def test_a_port_that_is_taken_ends_the_start_before_the_query(
    spark: SparkSession, job: Any, settings: dict[str, Any]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        made = job({**settings, "monitoring": {"port": port}})
        with pytest.raises(ConfigError, match=f"monitoring.port = {port}: a port of 127.0.0.1 that is free"):
            made.start()
    assert spark.streams.active == []
    assert Checkpoint(spark, str(made.config.checkpoint)).query_id() is None


def looker(spark: SparkSession, config: Any, first: Any) -> tuple[Watch, Metrics]:
    """A look-out whose query has planned its first batch from there, and written none."""
    metrics = Metrics("join", utc_now)
    checkpoint: Any = SimpleNamespace(start=lambda batch_id: [first])
    return Watch(spark, config, metrics, checkpoint, utc_now), metrics


@pytest.mark.parametrize("level", ["read_uncommitted", "read_committed"])
def test_topics_of_a_pattern_and_records_that_the_source_would_read(
    spark: SparkSession, broker: Any, stack: Any, configured: Any, settings: dict[str, Any], level: str
) -> None:
    topic = broker.topic("lagging", partitions=2)
    broker.send(topic, [b"{"] * 3)
    with uncommitted(stack.bootstrap_servers, topic):
        settings["source"]["kafka"] = {"topic_pattern": topic.replace("lagging", "la[g]+ing")}
        broker_of = {"bootstrap_servers": stack.bootstrap_servers, "options": {"isolation.level": level}}
        watch, metrics = looker(spark, configured({**settings, "kafka": broker_of}), {topic: {"0": 1, "1": 0}})
        watch.look()
        assert metrics.lag.behind() == {(topic, 0): 2, (topic, 1): 0 if level == "read_committed" else 1}


@contextmanager
def uncommitted(servers: str, topic: str) -> Iterator[None]:
    """A record in partition 1 whose transaction is open meanwhile."""
    producer = Producer({"bootstrap.servers": servers, "transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"{", partition=1)
    assert producer.flush(30) == 0
    try:
        yield
    finally:
        producer.abort_transaction(30)


def test_while_the_broker_does_not_answer_the_lag_is_not_known(
    spark: SparkSession, configured: Any, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    away = {"bootstrap_servers": "127.0.0.1:9", "timeout": "300ms"}
    watch, metrics = looker(spark, configured({**settings, "kafka": away}), {"orders": {"0": 0}})
    metrics.lag.ends({"orders": {0: (0, 5)}})
    for _ in range(2):
        watch.look()
    assert metrics.lag.behind() is None
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "jobs.core.watch"]
    assert warning.startswith("the lag is not known: Kafka 127.0.0.1:9 unreachable: ")
