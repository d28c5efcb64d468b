"""Events on a real broker, into the log: each id once in its stream, versions without holes, bad ones explained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from _letters import check
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.core import letters
from jobs.core.errors import ConfigError
from jobs.core.events.envelope import event_id_at
from jobs.core.events.store import EventStore

AT = 1767607200.25  # 2026-01-05T10:00:00.250Z
PLACED = "stream_id STRING, stream_version BIGINT, event_id STRING, event_type STRING, _partition INT, _offset BIGINT"


def short(user: str, kind: str = "user_updated") -> bytes:
    return json.dumps({"event_type": kind, "data": {"user_id": user}, "timestamp": AT}).encode()


def whole(stream: str, event_id: str, **fields: Any) -> bytes:
    event = {"stream_id": stream, "event_type": "e", "event_id": event_id, "data": {}, "timestamp": AT, **fields}
    return json.dumps(event).encode()


class Case:
    """A topic of events and the job that appends them."""

    def __init__(self, append: Callable[..., Any], broker: Any, path: Path, partitions: int = 1) -> None:
        self.broker, self.path, self._append = broker, path, append
        self.events, self.dead = broker.topic("events", partitions), broker.topic("dead")

    def made(self, **settings: Any) -> Any:
        source = {"kafka": {"topic": self.events}, "format": "event"}
        return self._append({"source": source, "dead_letters": {"kafka": {"topic": self.dead}}, **settings})

    def send(self, *values: bytes, partition: int = 0) -> None:
        self.broker.send(self.events, list(values), partition=partition)

    def log(self, spark: SparkSession) -> DataFrame:
        return spark.read.format("delta").load(str(self.path / "log"))

    def placed(self, spark: SparkSession) -> DataFrame:
        return self.log(spark).select("stream_id", "stream_version", "event_id", "event_type", "_partition", "_offset")


@pytest.fixture
def events(append: Callable[..., Any], broker: Any, tmp_path: Path) -> Case:
    return Case(append, broker, tmp_path)


def rejected(spark: SparkSession, made: Any) -> list[tuple[int, str, str]]:
    found = letters.read(spark, made.config).select("_offset", "reason", "detail").collect()
    return sorted(map(tuple, found))


def test_events_of_a_client_are_in_the_log_with_all_that_is_known(events: Case, spark: SparkSession) -> None:
    with EventStore(events.broker.servers, events.events, shape="envelope") as store:
        store.append_event(
            "user_created", {"user_id": "u1", "name": "Zoë"}, event_id="e1", metadata={"causation_id": "c"}
        )
        store.append_event("user_updated", {"user_id": "u1"}, event_id="e2", expected_version=1)
    check(events.made().run(), read=2, written=2)
    columns = ("stream_id", "stream_version", "event_id", "event_type", "schema_version", "data")
    found = events.log(spark).selectExpr(*columns, "to_json(metadata) AS metadata", "_topic", "_partition", "_offset")
    topic = events.events
    expected = spark.createDataFrame(
        [
            ("u1", 1, "e1", "user_created", 1, '{"user_id":"u1","name":"Zoë"}', '{"causation_id":"c"}', topic, 0, 0),
            ("u1", 2, "e2", "user_updated", 1, '{"user_id":"u1"}', None, topic, 0, 1),
        ],
        "stream_id STRING, stream_version BIGINT, event_id STRING, event_type STRING, schema_version INT, data STRING,"
        " metadata STRING, _topic STRING, _partition INT, _offset BIGINT",
    )
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)
    times = events.log(spark).selectExpr("count(*)", "count_if(recorded_at >= occurred_at)").first()
    assert times == (2, 2)


def test_an_event_is_there_once_however_often_it_comes(events: Case, spark: SparkSession) -> None:
    made = events.made()
    first = [whole("a", "1"), whole("b", "1"), whole("a", "2"), whole("a", "1")]
    events.send(*first)
    check(made.run(), read=4, written=3, duplicate=1)
    events.send(*first, short("a"), whole("a", "2"))
    check(made.run(), read=10, written=4, duplicate=6)
    expected = spark.createDataFrame(
        [
            ("a", 1, "1", "e", 0, 0),
            ("b", 1, "1", "e", 0, 1),
            ("a", 2, "2", "e", 0, 2),
            ("a", 3, event_id_at(events.events, 0, 8), "user_updated", 0, 8),
        ],
        PLACED,
    )
    assert_df_equality(events.placed(spark), expected, ignore_row_order=True, ignore_nullable=True)


def test_one_event_in_two_partitions_is_one(append: Any, broker: Any, tmp_path: Path, spark: SparkSession) -> None:
    events = Case(append, broker, tmp_path, partitions=2)
    events.send(whole("a", "1"), partition=1)
    events.send(whole("a", "1"), whole("a", "2"), partition=0)
    check(events.made().run(), read=3, written=2, duplicate=1)
    expected = spark.createDataFrame([("a", 1, "1", "e", 0, 0), ("a", 2, "2", "e", 0, 1)], PLACED)
    assert_df_equality(events.placed(spark), expected, ignore_row_order=True, ignore_nullable=True)


def test_what_insists_on_another_version_is_a_dead_letter(events: Case, spark: SparkSession) -> None:
    made = events.made()
    events.send(
        whole("a", "1", expected_version=0), whole("a", "2", expected_version=0), whole("a", "3", stream_version=3)
    )
    events.send(whole("a", "4", stream_version=2), b"{", whole("b", "1", stream_version=1))
    check(made.run(), read=6, written=3, dead_letters=3)
    assert rejected(spark, made) == [
        (1, "VERSION_CONFLICT", "$.expected_version: 0, and the stream is at 1"),
        (2, "GAP", "$.stream_version: 3, and the stream is at 1"),
        (4, "MALFORMED", rejected(spark, made)[-1][-1]),
    ]
    events.send(whole("a", "2", expected_version=2))
    check(made.run(), read=7, written=4, dead_letters=3)
    expected = spark.createDataFrame(
        [("a", 1, "1", "e", 0, 0), ("a", 2, "4", "e", 0, 3), ("b", 1, "1", "e", 0, 5), ("a", 3, "2", "e", 0, 6)], PLACED
    )
    assert_df_equality(events.placed(spark), expected, ignore_row_order=True, ignore_nullable=True)


def test_a_hole_may_be_kept(events: Case, spark: SparkSession) -> None:
    events.send(whole("a", "1", stream_version=5), whole("a", "2"))
    check(events.made(events={"gaps": "keep", "buckets": 2}).run(), read=2, written=2)
    expected = spark.createDataFrame([("a", 5, "1", "e", 0, 0), ("a", 6, "2", "e", 0, 1)], PLACED)
    assert_df_equality(events.placed(spark), expected, ignore_row_order=True, ignore_nullable=True)


def test_many_batches_number_as_one_does(events: Case, spark: SparkSession) -> None:
    values = [whole(f"s{number % 3}", str(number % 20)) for number in range(60)]
    events.send(*values)
    check(events.made(scaling={"max_offsets_per_trigger": 7}).run(), read=60, written=60)
    found = events.log(spark).groupBy("stream_id").agg({"stream_version": "max", "event_id": "count"}).collect()
    assert sorted(map(tuple, found)) == [("s0", 20, 20), ("s1", 20, 20), ("s2", 20, 20)]


def test_a_log_is_delta_and_has_no_partitions(events: Case) -> None:
    with pytest.raises(ConfigError, match="a log is a Delta table"):
        events.made(sink={"console": {}})
    with pytest.raises(ConfigError, match=r"source\.format: event"):
        events.made(source={"kafka": {"topic": "t"}, "schema": "id INT"})
    with pytest.raises(ConfigError, match=r"partition_by.*no partitions"):
        events.made(sink={"delta": {"path": str(events.path / "log"), "partition_by": ["event_type"]}})


@pytest.mark.parametrize("point", ["written", "after_dead_letters", "before_manifest"])
def test_a_kill_numbers_nothing_twice(
    events: Case, killed: Callable[..., None], spark: SparkSession, point: str
) -> None:
    events.send(whole("a", "1"), whole("a", "2", expected_version=7), whole("b", "1"), whole("a", "1"))
    made = events.made()
    if point == "before_manifest":
        made.run()
        events.send(whole("c", "1"))
    killed(made, point)
    events.send(whole("a", "3"), whole("b", "1"), whole("a", "1"))
    report = made.run()
    assert report.holds, report.checks
    assert (report.counts.duplicate, report.counts.dead_letters) == (3, 1)
    found = {(row["stream_id"], row["stream_version"], row["event_id"]) for row in events.placed(spark).collect()}
    assert found - {("c", 1, "1")} == {("a", 1, "1"), ("b", 1, "1"), ("a", 2, "3")}
    assert events.placed(spark).count() == report.counts.written == len(found)
