"""Dead letters on a real broker whose topic is too small for one, or is gone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from pyspark.sql import DataFrame, SparkSession

from jobs.core import dead_letters
from jobs.core.errors import DeadLettersRefused, DependencyMissing
from jobs.core.letters import dead_letter_topic
from jobs.core.sinks import Mark

LARGE = b"x" * 200_000  # no object
LIMIT = 100_000


@pytest.fixture
def settings(broker: Any, table: Callable[..., str], tmp_path: Path) -> dict[str, Any]:
    """A job whose second record is larger than its topic for dead letters takes."""
    orders, dead = broker.topic("orders"), broker.topic("dead")
    broker.send(orders, [b'{"order_id": "o1", "customer_id": "c1"}', LARGE, b"{"])
    return {
        "kafka": {"bootstrap_servers": broker.servers, "options": {"max.block.ms": "3000"}},
        "source": {"kafka": {"topic": orders}, "schema": "order_id STRING, customer_id STRING"},
        "reference": {"jdbc": {"table": table("customer_id text", [("c1",)]), "key": "customer_id"}},
        "join": {"on": {"customer_id": "customer_id"}},
        "sink": {"delta": {"path": str(tmp_path / "sink")}},
        "dead_letters": {"kafka": {"topic": dead}},
        "retry": {"attempts": 1},
    }


def narrow(broker: Any, topic: str) -> None:
    """From now on it takes records of 100,000 bytes."""
    admin = AdminClient({"bootstrap.servers": broker.servers})
    entry = ConfigEntry("max.message.bytes", str(LIMIT), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(30)


def test_one_that_is_too_large_stops_the_job_or_is_cut(
    job: Any, broker: Any, settings: dict[str, Any], spark: SparkSession
) -> None:
    topic = settings["dead_letters"]["kafka"]["topic"]
    narrow(broker, topic)
    source = settings["source"]["kafka"]["topic"]
    largest = f"The largest is that of topic {source}, partition 0, offset 1 with a value of 200,000 bytes"
    with pytest.raises(DeadLettersRefused, match=f"topic {topic} did not take dead letters: RecordTooLarge.*{largest}"):
        job(settings).run()
    settings["dead_letters"]["kafka"]["too_large"] = "cut"
    made = job(settings)
    report = made.run()
    assert report.holds and report.reasons == {"MALFORMED": 2}, report.checks
    found = {row["_offset"]: row for row in dead_letter_topic(spark, made.config, topic).collect()}
    kept = len(found[1]["value"])
    assert LIMIT - 2_000 < kept < LIMIT and bytes(found[1]["value"]) == LARGE[:kept]
    headers = {header["key"]: bytes(header["value"]) for header in found[1]["sent"]}
    assert headers["patterns-value-bytes"] == b"200000"
    assert headers["patterns-value-sha256"] == hashlib.sha256(LARGE).hexdigest().encode()
    assert bytes(found[2]["value"]) == b"{" and set(found) == {1, 2}


def test_a_topic_that_is_not_there_ends_the_job_at_its_start(
    job: Any, settings: dict[str, Any], tmp_path: Path
) -> None:
    settings["dead_letters"]["kafka"]["topic"] = "nowhere"
    made = job(settings)
    with pytest.raises(DependencyMissing, match="Kafka topic nowhere on .* the broker has no such topic"):
        made.run()
    assert not Path(made.config.checkpoint).exists()


def test_a_topic_that_is_deleted_in_the_run_is_named(
    job: Any, broker: Any, settings: dict[str, Any], spark: SparkSession, rows: Callable[..., DataFrame]
) -> None:
    """Its absence is no time-out that would pass."""
    topic = settings["dead_letters"]["kafka"]["topic"]
    no_lease: Any = None
    place = dead_letters.sink(spark, job(settings).config, no_lease)
    assert place
    admin = AdminClient({"bootstrap.servers": broker.servers})
    admin.delete_topics([topic])[topic].result(30)
    letter = rows(dead_letters.DEAD_LETTER, ("t", 0, 1, None, b"k", b"v", None, "FUTURE", None, "join", 1, None))
    gone = f"Kafka topic {topic} on .*: dead letters have no place to go to any more"
    with pytest.raises(DependencyMissing, match=gone):
        place.append(letter, Mark("join", "q", 0, "[null]", "[null]"))
