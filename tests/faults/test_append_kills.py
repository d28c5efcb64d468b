"""kill -9 of the job that appends events, at random and under load: each event is in the log once, versions without a hole."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from _faults.driver import Driver
from _faults.servers import Servers
from chispa import assert_df_equality
from pyspark.sql import SparkSession

from jobs.core import layers
from jobs.core.audit import audit
from jobs.event_append import Config, start

SEED = 20261127
STREAMS = 7
PLACED = "stream_id STRING, stream_version BIGINT, event_id STRING, _offset BIGINT"
AGAIN = 3  # each so many-th event is sent twice


class Appending:
    """A topic of events, the job's config, and its log."""

    def __init__(self, servers: Servers, spark: SparkSession, path: Path) -> None:
        self.servers, self.spark, self.path = servers, spark, path
        self.topic, self.sent = servers.topic("events"), 0
        (path / "faults").mkdir()
        self.config = self._load({"every": "100ms"})

    def _load(self, trigger: dict[str, object]) -> Config:
        servers = self.servers.stack.bootstrap_servers
        given = {
            "job": "append",
            "kafka": {"bootstrap_servers": servers},
            "source": {"kafka": {"topic": self.topic}, "format": "event"},
            "events": {"buckets": 2},
            "sink": {"delta": {"path": str(self.path / "log")}},
            "dead_letters": {"delta": {"path": str(self.path / "dead")}},
            "checkpoint": str(self.path / "checkpoint"),
            "trigger": trigger,
        }
        file = self.path / "job.yaml"
        file.write_text(json.dumps(given))
        return layers.load(Config, file, None, (), {}).config

    def send(self, count: int) -> None:
        events = [
            json.dumps(
                {"stream_id": f"s{n % STREAMS}", "event_id": f"e{n}", "event_type": "t", "data": {}, "timestamp": 1e9}
            )
            for n in range(self.sent, self.sent + count)
        ]
        repeated = [event for n, event in enumerate(events) for _ in range(1 if n % AGAIN else 2)]
        self.servers.send(self.topic, [event.encode() for event in repeated])
        self.sent += count

    def start(self) -> Driver:
        places = (self.path / "job.yaml", self.path / "faults", self.path / "said")
        return Driver(*places, self.servers.environment(), job="jobs.event_append")

    def batches(self) -> int:
        return len(list((self.path / "log" / "_ledger" / "append").glob("[0-9]*.json")))

    def drain(self) -> None:
        assert start(self.spark, self._load({"available_now": True})).wait(120), "the job did not end"

    def expected(self) -> Iterator[tuple[str, int, str, int]]:
        """By the topic alone: the first of each id, in the order of the stream."""
        seen, versions = set(), dict.fromkeys((f"s{n}" for n in range(STREAMS)), 0)
        for record in self.servers.records(self.topic):
            event = json.loads(record.value or b"")
            stream, event_id = event["stream_id"], event["event_id"]
            if event_id not in seen:
                seen.add(event_id)
                versions[stream] += 1
                yield stream, versions[stream], event_id, record.offset

    def check(self) -> None:
        found = self.spark.read.format("delta").load(str(self.path / "log"))
        expected = self.spark.createDataFrame(list(self.expected()), PLACED)
        columns = ("stream_id", "stream_version", "event_id", "_offset")
        assert_df_equality(found.select(*columns), expected, ignore_row_order=True, ignore_nullable=True)
        report = audit(self.spark, self.config)
        assert report.holds and report.counts.written == self.sent, report


@pytest.mark.parametrize("kills", [2, pytest.param(5, marks=pytest.mark.long)])
def test_kills_at_random_under_load(servers: Servers, spark: SparkSession, tmp_path: Path, kills: int) -> None:
    """Each some records after the first batch of a start."""
    appending, pick = Appending(servers, spark, tmp_path), random.Random(SEED)
    for _ in range(kills):
        before, more = appending.batches(), pick.randrange(30)
        driver = appending.start()
        appending.send(5)
        driver.until(lambda before=before: appending.batches() > before, "a batch in the ledger")  # type: ignore[misc]
        for _ in range(more):
            appending.send(5)
        driver.kill()
    appending.drain()
    appending.check()
