"""The republishing on a real broker: what arrives and in which order, after kills and an end between steps, too."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from _faults import points
from _faults.driver import Driver
from chispa import assert_df_equality
from confluent_kafka import Consumer, TopicPartition
from pyspark.sql import DataFrame, SparkSession

from jobs import event_republish
from jobs.core import lease as leases
from jobs.core.connections import LeaseLimits
from jobs.core.errors import ConfigError, DependencyMissing, LeaseHeld, SinkFailed
from jobs.core.events import projection, republish_options
from jobs.core.events.envelope import EVENT
from jobs.core.events.folding import states
from jobs.core.events.folds import Fold
from jobs.core.holder import this
from jobs.core.layers import load
from jobs.core.lease_files import FileRegister
from jobs.core.runner import parser
from jobs.core.values import Duration

AT = datetime(2026, 1, 5, 10, tzinfo=timezone.utc)
FOLD = {"state": "n BIGINT", "events": {"made": "set", "counted": {"increment": {"n": 1}}}}
PLACES = ["stream_id", "stream_version", "event_id", "event_type", "schema_version", "data", "occurred_at"]


def event(stream: str, version: int, at_s: float, data: str = '{"n": 0}') -> tuple[Any, ...]:
    kind, at = "made" if version == 1 else "counted", AT + timedelta(seconds=at_s)
    return stream, version, f"{stream}-{version}", kind, 1, data, {"causation_id": "c"}, at, at, "events", 0, version


def history(hour_s: float = 3_600) -> list[tuple[Any, ...]]:
    """Of twelve streams, one whose clock runs backwards; the second half an hour later."""
    whole = [event(f"s{n}", version, version + (version > 20) * hour_s) for n in range(11) for version in range(1, 41)]
    return [*whole, *(event("back", version, 40 - version + (version > 20) * hour_s) for version in range(1, 41))]


class Republishing:
    """A log, a topic with partitions, and starts of the job, here or as processes."""

    def __init__(self, spark: SparkSession, broker: Any, folder: Path) -> None:
        self.spark, self.broker, self.folder = spark, broker, folder
        self.topic = broker.topic("again", 3)
        self.config(step={"events": 100})
        (folder / "faults").mkdir()

    def config(self, **more: Any) -> None:
        places = {name: {"path": f"{self.folder}/{name}"} for name in ("log", "work")}
        broker = {"bootstrap_servers": self.broker.servers}
        whole = {"job": "again", "kafka": broker, **places, "into": {"topic": self.topic}, **more}
        (self.folder / "again.yaml").write_text(yaml.safe_dump(whole))

    def log(self, *events: tuple[Any, ...]) -> None:
        rows = self.spark.createDataFrame(list(events), EVENT)
        rows.write.format("delta").mode("append").save(f"{self.folder}/log")

    def run(self, *argv: str) -> int:
        """In this process."""
        known = parser()
        republish_options.add(known)
        config = load(event_republish.Config, self.folder / "again.yaml", None).config
        return event_republish.start(self.spark, config, event_republish.request(config, known.parse_args(argv)))

    def start(self, *argv: str, at: str | None = None) -> Driver:
        """As a process, with a kill at a point if one is named."""
        if at:
            points.arm(self.folder / "faults", at, "kill")
        places = (self.folder / "again.yaml", self.folder / "faults", self.folder / "said")
        return Driver(*places, {}, *argv, job="jobs.event_republish")

    def ends(self, code: int, *argv: str, at: str | None = None) -> str:
        driver = self.start(*argv, at=at)
        assert driver.wait() == code, driver.said[-4000:]
        return driver.said

    def left(self) -> list[str]:
        return sorted(file.name for file in (self.folder / "work").iterdir() if file.name != "_lease")

    def received(self) -> list[Any]:
        """All records, partition by partition in order."""
        consumer = Consumer({"bootstrap.servers": self.broker.servers, "group.id": "reader"})
        found = []
        for partition in consumer.list_topics(self.topic, 30).topics[self.topic].partitions:
            end = consumer.get_watermark_offsets(TopicPartition(self.topic, partition), timeout=30)[1]
            consumer.assign([TopicPartition(self.topic, partition, 0)])
            here = consumer.consume(end, timeout=30) if end else []
            assert len(here) == end
            found += here
        consumer.close()
        return found

    def by_stream(self) -> dict[str, list[str]]:
        """The ids of the header, in order, each where it came first."""
        found: dict[str, dict[str, None]] = {}
        for record in self.received():
            ((name, event_id),) = record.headers()
            assert name == "event_id"
            assert json.loads(record.value())["event_id"] == event_id.decode()
            found.setdefault(record.key().decode(), {})[event_id.decode()] = None
        return {stream: list(ids) for stream, ids in found.items()}


@pytest.fixture
def republishing(spark: SparkSession, broker: Any, tmp_path: Path) -> Republishing:
    return Republishing(spark, broker, tmp_path)


def whole(events: list[tuple[Any, ...]]) -> dict[str, list[str]]:
    """The ids of a log, by stream in the order of versions."""
    found: dict[str, list[str]] = {}
    for one in sorted(events, key=lambda one: (one[0], one[1])):
        found.setdefault(one[0], []).append(one[2])
    return found


def test_through_kills_and_an_end_between_steps_each_event_arrives_in_its_streams_order(
    republishing: Republishing,
) -> None:
    """At the log's own pace the second half is an hour away, so it is asked to end while it waits."""
    events = history()
    republishing.log(*events)
    waiting = republishing.start("--speed", "30")
    waiting.until(lambda: len(republishing.received()) >= 240, "the first half sent")
    waiting.terminate()
    assert waiting.wait() == 0, waiting.said[-4000:]
    assert "ended as asked: 240 of 480 events are sent" in waiting.said
    assert sorted(ids[-1] for ids in republishing.by_stream().values()) == sorted(f"{s}-20" for s in whole(events))
    republishing.ends(-9, at="republish_sent")
    republishing.ends(0)
    assert republishing.by_stream() == whole(events)
    assert 480 < len(republishing.received()) < 600, "only the step that was killed came twice"
    assert republishing.left() == []


def test_a_log_is_the_same_once_it_was_republished_and_appended_again(
    republishing: Republishing, append: Callable[..., Any], rows: Callable[..., DataFrame], broker: Any, tmp_path: Path
) -> None:
    republishing.config()
    republishing.log(*history(hour_s=0))
    assert republishing.run() == 0
    source = {"kafka": {"topic": republishing.topic}, "format": "event"}
    dead = {"kafka": {"topic": broker.topic("dead")}}
    again = {"sink": {"delta": {"path": f"{tmp_path}/copy"}}, "source": source, "dead_letters": dead}
    report = append(again).run()
    assert report.holds and (report.counts.written, report.counts.dead_letters) == (480, 0), report
    copy, log = (republishing.spark.read.format("delta").load(f"{tmp_path}/{name}") for name in ("copy", "log"))
    alike = [table.select(*PLACES, "metadata.causation_id").orderBy(*PLACES) for table in (copy, log)]
    assert_df_equality(*alike, ignore_nullable=True)
    fold = projection.declared(Fold.model_validate(FOLD), None, "reject")
    found, wanted = (states(fold.partials(table, None)) for table in (copy, log))
    assert_df_equality(found, wanted, ignore_row_order=True, ignore_nullable=True)
    assert republishing.run() == 0
    assert append(again).run().counts.duplicate == 480


def test_three_seconds_of_the_log_take_three_seconds(republishing: Republishing) -> None:
    republishing.log(*(event("s", version, version / 2) for version in range(1, 8)))
    began = time.monotonic()
    assert republishing.run("--speed", "1") == 0
    assert time.monotonic() - began >= 3
    times = [record.timestamp()[1] / 1_000 for record in republishing.received()]
    assert 2 <= times[-1] - times[0] < 60, "the first events wait for those that are due within a second"
    assert republishing.by_stream() == {"s": [f"s-{version}" for version in range(1, 8)]}


def test_a_dry_run_says_what_would_be_sent(republishing: Republishing, capsys: pytest.CaptureFixture[str]) -> None:
    republishing.log(*history())
    assert republishing.run("--dry-run", "--speed", "10", "--until-version", "30") == 0
    said = capsys.readouterr().out
    assert f"360 events of 12 streams to topic {republishing.topic} at {republishing.broker.servers}\n" in said
    assert "due from 2026-01-05T10:00:01.000000Z to 2026-01-05T11:00:30.000000Z, in the log's time\n" in said
    assert "0:06:03 at 10 times the log's speed" in said
    assert republishing.received() == []
    assert not (republishing.folder / "work").exists()


def test_what_is_refused_is_named(republishing: Republishing, broker: Any) -> None:
    republishing.log(event("s", 1, 0))
    republishing.config(into={"topic": "nowhere"})
    with pytest.raises(DependencyMissing, match="Kafka topic nowhere on .*: the broker has no such topic"):
        republishing.run()
    republishing.config(into={"topic": republishing.topic, "shape": "short"})
    republishing.log((*event("t", 1, 0)[:-3], republishing.topic, 0, 0))
    with pytest.raises(ConfigError, match=f"into.shape = short: envelope: .* came from topic {republishing.topic}"):
        republishing.run()
    assert republishing.received() == []


def test_one_instance_at_a_time(republishing: Republishing) -> None:
    republishing.log(event("s", 1, 0))
    quick = LeaseLimits(renew=Duration("50ms"), ttl=Duration("1h"))
    register = FileRegister(republishing.spark, f"{republishing.folder}/work/_lease")
    other = leases.take(register, "again", this(AT), quick)
    try:
        with pytest.raises(LeaseHeld, match="again is run by process"):
            republishing.run()
    finally:
        other.give_back()
    assert republishing.run() == 0
    assert republishing.by_stream() == {"s": ["s-1"]}


def test_an_event_that_is_too_large_is_named(republishing: Republishing, broker: Any) -> None:
    republishing.topic = broker.topic("small", max_message_bytes="20000")
    republishing.config()
    large = json.dumps({"n": 1, "x": "x" * 30_000})
    republishing.log(event("s", 1, 0), event("s", 2, 1, large), event("s", 3, 2))
    said = r"stream s, version 2, event s-2 has about 30,\d{3} bytes, the topic takes 20,000: raise the topic's"
    with pytest.raises(SinkFailed, match=said):
        republishing.run()
    skips = republishing.folder / "skips.yaml"
    skips.write_text("- {event_id: s-2, reason: too large for the topic}\n")
    assert republishing.run("--skip-events", str(skips)) == 0
    assert republishing.by_stream()["s"][-1] == "s-3"
