"""The main job into topics of a real broker: what is sent, what is refused, what an audit sees."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from pyspark.sql import DataFrame, SparkSession

from jobs.core import letters
from jobs.core.audit import Check
from jobs.core.errors import DependencyMissing
from jobs.core.ledger import Counts
from jobs.core.sinks import Mark

ORDER = "order_id STRING, customer_id STRING, note STRING"
JOINED = "topic STRING, key STRING, value STRING, headers MAP<STRING, STRING>"


class Case:
    """Topics and settings of one test; a customer's country is the topic of an order."""

    def __init__(self, broker: Any, rows: Callable[..., DataFrame], path: Path) -> None:
        self.broker = broker
        self.orders, self.dead, self.out = (broker.topic(stem) for stem in ("orders", "dead", "out"))
        customers = [("c1", self.out), ("c2", "elsewhere")]
        rows("customer_id STRING, country STRING", *customers).write.format("delta").save(str(path / "customers"))
        self.reference = {"delta": {"path": str(path / "customers"), "key": "customer_id"}}

    def settings(self, **target: Any) -> dict[str, Any]:
        return {
            "source": {"kafka": {"topic": self.orders}, "schema": ORDER, "required": ["order_id"]},
            "reference": self.reference,
            "join": {"on": {"customer_id": "customer_id"}},
            "sink": {"kafka": target},
            "dead_letters": {"kafka": {"topic": self.dead}},
        }

    def order(self, *records: dict[str, Any] | None) -> None:
        self.broker.send(self.orders, [json.dumps(record).encode() if record else b"{" for record in records])


@pytest.fixture
def case(broker: Any, rows: Callable[..., DataFrame], tmp_path: Path) -> Case:
    return Case(broker, rows, tmp_path)


def received(spark: SparkSession, case: Case) -> DataFrame:
    """JOINED, without headers that differ from run to run."""
    reader = spark.read.format("kafka").option("kafka.bootstrap.servers", case.broker.servers)
    records = reader.option("subscribe", case.out).option("includeHeaders", True).load().orderBy("offset")
    texts = "transform(headers, h -> struct(h.key, cast(h.value AS STRING)))"
    headers = f"map_filter(map_from_entries({texts}), (name, value) -> name != 'event_id') AS headers"
    return records.selectExpr("topic", "cast(key AS STRING)", "cast(value AS STRING)", headers)


def event_ids(spark: SparkSession, case: Case) -> list[str]:
    """Of every record in the topic, in order."""
    reader = spark.read.format("kafka").option("kafka.bootstrap.servers", case.broker.servers)
    records = reader.option("subscribe", case.out).option("includeHeaders", True).load().orderBy("offset")
    named = records.selectExpr("cast(map_from_entries(headers)['event_id'] AS STRING) AS id")
    return [row["id"] for row in named.collect()]


def place(case: Case, offset: int) -> dict[str, str]:
    topic = {"patterns-topic": case.orders, "patterns-partition": "0"}
    return {**topic, "patterns-offset": str(offset), "patterns-job": "join"}


def test_each_row_goes_to_its_topic_or_to_the_dead_letters(spark: SparkSession, case: Case, job: Any) -> None:
    columns = {"key": ["order_id"], "value": "note", "headers": {"customer": "customer_id"}}
    made = job(case.settings(topic_column="country", topics=[case.out], **columns))
    case.order({"order_id": "o0", "customer_id": "c1", "note": "n"}, None, {"order_id": "o2", "customer_id": "c2"})
    case.order({"order_id": "o3", "customer_id": "c9"}, {"order_id": "o4", "customer_id": "c1"})
    report = made.run()
    expected = [("o0", "n", 0), ("o4", None, 4)]
    rows = [(case.out, key, value, {"customer": "c1", **place(case, at)}) for key, value, at in expected]
    assert_df_equality(received(spark, case), spark.createDataFrame(rows, JOINED), ignore_nullable=True)
    assert report.holds, report.checks
    assert (report.counts, report.lag) == (Counts(5, 2, 0, 3), 0)
    assert report.reasons == {"MALFORMED": 1, "NO_TOPIC": 2}


def test_a_batch_without_a_good_record_sends_nothing(spark: SparkSession, case: Case, job: Any) -> None:
    made = job(case.settings(topic=case.out))
    case.order(None, None)
    report = made.run()
    assert report.holds and report.counts == Counts(2, 0, 0, 2), report
    assert received(spark, case).count() == 0


def test_a_repeat_is_one_record_and_a_loss_is_found(
    spark: SparkSession, case: Case, job: Any, rows: Callable[..., DataFrame]
) -> None:
    """The second record is sent again, as by a task that ran twice; then the first one is deleted from the topic."""
    made = job(case.settings(topic=case.out))
    case.order({"order_id": "o0", "customer_id": "c1"}, {"order_id": "o1", "customer_id": "c1"})
    running = made.start()
    assert running.wait(120)
    again = rows("order_id STRING, _topic STRING, _partition INT, _offset BIGINT", ("o1", case.orders, 0, 1))
    running.batch.outlets.good.append(again, Mark("join", "q1", 0, "[null]", "[null]"))
    ids = event_ids(spark, case)
    assert len(ids) == 3 and ids[1] == ids[2] != ids[0]
    report = made.audit()
    assert report.holds and report.counts == Counts(2, 2), report
    admin = AdminClient({"bootstrap.servers": case.broker.servers})
    (gone,) = admin.delete_records([TopicPartition(case.out, 0, 1)]).values()
    gone.result(30)
    assert [check for check in made.audit().checks if not check.holds] == [Check("sink: records written", 2, 1)]


def test_a_topic_that_is_not_there_is_named(case: Case, job: Any) -> None:
    made = job(case.settings(topic_column="country", topics=[case.out, "nowhere"]))
    with pytest.raises(DependencyMissing, match="Kafka topic nowhere on .* the broker has no such topic"):
        made.run()
    assert not Path(made.config.checkpoint).exists()


def test_a_record_that_is_too_large_for_its_topic_becomes_a_dead_letter(
    spark: SparkSession, case: Case, job: Any, broker: Any
) -> None:
    case.out = broker.topic("small", max_message_bytes="20000")
    made = job(case.settings(topic=case.out))
    notes = ["small", "x" * 30_000, "y" * 19_000]
    case.order(*({"order_id": f"o{n}", "customer_id": "c1", "note": note} for n, note in enumerate(notes)))
    report = made.run()
    assert report.holds and report.counts == Counts(3, 2, 0, 1), report
    assert report.reasons == {"SINK_REJECTED": 1}
    (letter,) = letters.read(spark, made.config).select("_offset", "detail").collect()
    assert letter["_offset"] == 1
    assert letter["detail"].startswith(f"topic {case.out} takes records of 20,000 bytes, this one has about 30,")
