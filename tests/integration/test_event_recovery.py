"""What happens to the job that appends events when its source or its checkpoint does not go on as it was."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from _letters import check
from chispa import assert_df_equality
from confluent_kafka.admin import AdminClient, NewPartitions
from pyspark.sql import SparkSession

from jobs.core.errors import LedgerMismatch, SourceLost
from jobs.core.letters import Wanted
from jobs.core.redrive import Done, redrive

AT = 1767607200.25
PLACED = "stream_id STRING, stream_version BIGINT, event_id STRING"
SEED = 20261126


def event(stream: str, event_id: str, **fields: Any) -> bytes:
    whole = {"stream_id": stream, "event_type": "e", "event_id": event_id, "data": {}, "timestamp": AT, **fields}
    return json.dumps(whole).encode()


class Case:
    """A topic of events, the job that appends them, and what is in the log."""

    def __init__(self, spark: SparkSession, append: Callable[..., Any], broker: Any, path: Path) -> None:
        self.spark, self.broker, self.path, self._append = spark, broker, path, append
        self.topic, self.dead, self.again, self.parked = map(broker.topic, ("events", "dead", "again", "parked"))

    def send(self, *values: bytes, partition: int = 0) -> None:
        self.broker.send(self.topic, list(values), partition=partition)

    def made(self, recover: Any = None, **settings: Any) -> Any:
        source = {"kafka": {"topic": self.topic}, "format": "event"}
        letters = {"kafka": {"topic": self.dead}, "redrive": {"topic": self.again, "parking_topic": self.parked}}
        made = self._append({"source": source, "dead_letters": letters, **settings})
        made.config = made.config.recovering(recover)
        return made

    def holds(self, *wanted: tuple[str, int, str]) -> None:
        found = (
            self.spark.read.format("delta").load(f"{self.path}/log").select("stream_id", "stream_version", "event_id")
        )
        expected = self.spark.createDataFrame(list(wanted), PLACED)
        assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"


@pytest.fixture
def case(spark: SparkSession, append: Callable[..., Any], broker: Any, tmp_path: Path) -> Case:
    return Case(spark, append, broker, tmp_path)


def test_each_event_three_times_and_shuffled_is_there_once_in_the_order_of_its_first(case: Case) -> None:
    sent = [(stream, str(number)) for stream in ("a", "b", "c") for number in range(7)] * 3
    random.Random(SEED).shuffle(sent)
    case.send(*(event(stream, event_id) for stream, event_id in sent))
    made = case.made(scaling={"max_offsets_per_trigger": 20})
    check(made.run(), read=63, written=21, duplicate=42)
    versions: dict[str, int] = {}
    wanted = []
    for stream, event_id in dict.fromkeys(sent):
        versions[stream] = versions.get(stream, 0) + 1
        wanted.append((stream, versions[stream], event_id))
    case.holds(*wanted)


def test_a_lost_checkpoint_is_refused_and_events_that_are_read_again_are_known(case: Case) -> None:
    first = [("a", 1, "1"), ("a", 2, "2"), ("b", 1, "1")]
    case.send(event("a", "1"), event("a", "2"), event("b", "1"), event("a", "3", expected_version=9))
    check(case.made().run(), read=4, written=3, dead_letters=1)
    for file in case.checkpoint.glob("commits/*"):
        file.unlink()
    check(case.made().run(), read=4, written=3, dead_letters=1)
    shutil.rmtree(case.checkpoint)
    with pytest.raises(LedgerMismatch, match="missing or empty, the sink holds batch 0"):
        case.made().start()
    case.send(event("b", "2"))
    check(case.made("from-ledger").run(), read=5, written=4, dead_letters=1)
    case.holds(*first, ("b", 2, "2"))
    shutil.rmtree(case.checkpoint)
    case.made("reprocess").run()
    case.holds(*first, ("b", 2, "2"))


def test_partitions_that_are_added_are_read_from_their_beginning(case: Case) -> None:
    case.send(event("a", "1"))
    check(case.made().run(), read=1, written=1)
    admin = AdminClient({"bootstrap.servers": case.broker.servers})
    for future in admin.create_partitions([NewPartitions(case.topic, 2)]).values():
        future.result(30)
    case.send(event("b", "1"), event("a", "2"), partition=1)
    case.send(event("a", "3"))
    check(case.made().run(), read=4, written=4)
    case.holds(("a", 1, "1"), ("b", 1, "1"), ("a", 2, "3"), ("a", 3, "2"))


def test_a_topic_that_was_made_anew_is_refused(case: Case) -> None:
    case.send(event("a", "1"), event("a", "2"))
    check(case.made().run(), read=2, written=2)
    admin = AdminClient({"bootstrap.servers": case.broker.servers})
    admin.delete_topics([case.topic])[case.topic].result(30)
    with pytest.raises(SourceLost, match="partition 0: the job stands at offset 2, the broker has no such topic"):
        case.made().start()
    case.holds(("a", 1, "1"), ("a", 2, "2"))


def test_a_conflict_that_is_redriven_twice_is_judged_anew_once(case: Case, spark: SparkSession) -> None:
    case.send(event("a", "2", expected_version=1))
    made = case.made()
    check(made.run(), read=1, dead_letters=1)
    case.send(event("a", "1"))
    assert redrive(spark, made.config, Wanted(["VERSION_CONFLICT"])) == Done(1, 0, 0)
    check(made.run(), read=3, written=1, dead_letters=1, rejected_again=1)
    assert redrive(spark, made.config, Wanted(["VERSION_CONFLICT"])) == Done(1, 0, 0)
    assert redrive(spark, made.config, Wanted(["VERSION_CONFLICT"])) == Done(0, 0, 1)
    check(made.run(), read=4, written=2, redriven=1, rejected_again=1)
    case.holds(("a", 1, "1"), ("a", 2, "2"))
