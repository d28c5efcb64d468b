"""Topics and folders that must be apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from _configs import VALID, config, told

from jobs.core.config import shared_checkpoints
from jobs.core.errors import Problem
from jobs.core.overlaps import overlap, shared_redrives

REDRIVE = "dead_letters.redrive={topic: orders.again, parking_topic: orders.parked}"
WAIT = "join={on_miss: wait, wait_for: 1h, parked: data/parked}"


@pytest.mark.parametrize(
    ("overrides", "path", "value", "hint"),
    [
        (
            ["dead_letters.kafka.topic=orders"],
            "dead_letters.kafka.topic",
            "orders",
            "a topic that the source does not read",
        ),
        (
            ["source.kafka.topic=[a, orders.dead]"],
            "dead_letters.kafka.topic",
            "orders.dead",
            "that the source does not read",
        ),
        (
            ["source.kafka={topic: null, topic_pattern: orders.*}"],
            "dead_letters.kafka.topic",
            "orders.dead",
            "(orders.*)",
        ),
        (
            ["sink={delta: null, kafka: {topic: orders}}"],
            "sink.kafka.topic",
            "orders",
            "a topic that the source does not read (orders)",
        ),
        (
            [REDRIVE, "dead_letters.redrive.topic=orders"],
            "dead_letters.redrive.topic",
            "orders",
            "a topic that the source does not read (orders)",
        ),
        (
            ["sink={delta: null, kafka: {topic_column: name, topics: [a, orders]}}"],
            "sink.kafka.topics.1",
            "orders",
            "a topic that the source does not read (orders)",
        ),
        (
            ["sink={delta: null, kafka: {topic: orders.dead}}"],
            "dead_letters.kafka.topic",
            "orders.dead",
            "a topic apart from sink.kafka.topic (orders.dead)",
        ),
        (
            ["source.event_time=ordered_at", "source.late={max_lateness: 10m, to: {kafka: {topic: orders.dead}}}"],
            "dead_letters.kafka.topic",
            "orders.dead",
            "a topic apart from source.late.to.kafka.topic (orders.dead)",
        ),
        (
            ["source.event_time=ordered_at", "source.late={max_lateness: 10m, to: {kafka: {topic: orders}}}"],
            "source.late.to.kafka.topic",
            "orders",
            "a topic that the source does not read (orders)",
        ),
        (
            ["source.event_time=ordered_at", "source.late={max_lateness: 10m, to: {delta: {path: data/enriched}}}"],
            "source.late.to.delta.path",
            "data/enriched",
            "a folder apart from sink.delta.path (data/enriched)",
        ),
        (
            ["sink={delta: null, kafka: {topic_column: name, topics: [a, a]}}"],
            "sink.kafka.topics.0",
            "a",
            "a topic apart from sink.kafka.topics.1 (a)",
        ),
        (
            [REDRIVE, "source.kafka.topic=[a, orders.parked]"],
            "dead_letters.redrive.parking_topic",
            "orders.parked",
            "a topic that the source does not read (orders.parked)",
        ),
        (
            [REDRIVE, "source.kafka={topic: null, topic_pattern: .*again}"],
            "dead_letters.redrive.topic",
            "orders.again",
            "a topic that the source does not read (.*again)",
        ),
        (
            [REDRIVE, "dead_letters.redrive.topic=orders.dead"],
            "dead_letters.redrive.topic",
            "orders.dead",
            "a topic apart from dead_letters.kafka.topic (orders.dead)",
        ),
        (
            [REDRIVE, "dead_letters.redrive.parking_topic=orders.dead"],
            "dead_letters.redrive.parking_topic",
            "orders.dead",
            "a topic apart from dead_letters.kafka.topic (orders.dead)",
        ),
        (
            [REDRIVE, "dead_letters.redrive.parking_topic=orders.again"],
            "dead_letters.redrive.parking_topic",
            "orders.again",
            "a topic apart from dead_letters.redrive.topic (orders.again)",
        ),
        (
            ["checkpoint=data/enriched"],
            "checkpoint",
            "data/enriched",
            "a folder apart from sink.delta.path (data/enriched)",
        ),
        (["checkpoint=data/enriched/_c"], "checkpoint", "data/enriched/_c", "a folder apart from sink.delta.path"),
        (["checkpoint=data"], "checkpoint", "data", "a folder apart from sink.delta.path"),
        (["checkpoint=./data//enriched/"], "checkpoint", "./data//enriched/", "a folder apart from sink.delta.path"),
        (
            ["ledger=data/checkpoint/l"],
            "checkpoint",
            "data/checkpoint",
            "a folder apart from ledger (data/checkpoint/l)",
        ),
        ([WAIT, "checkpoint=data/parked"], "checkpoint", "data/parked", "a folder apart from join.parked"),
        (
            [WAIT, "join.parked=data/enriched/x"],
            "join.parked",
            "data/enriched/x",
            "a folder apart from sink.delta.path",
        ),
        (
            ["dead_letters={kafka: null, delta: {path: data/enriched}}"],
            "dead_letters.delta.path",
            "data/enriched",
            "sink.delta.path",
        ),
        (
            ["dead_letters={kafka: null, delta: {path: data/checkpoint}}"],
            "checkpoint",
            "data/checkpoint",
            "dead_letters.delta.path",
        ),
        (["source={kafka: null, file: {path: data/enriched}}"], "source.file.path", "data/enriched", "sink.delta.path"),
        (["source={kafka: null, file: {path: data/checkpoint}}"], "source.file.path", "data/checkpoint", "checkpoint"),
        (
            ["source={kafka: null, delta: {path: data/enriched}, schema: null}"],
            "source.delta.path",
            "data/enriched",
            "sink.delta",
        ),
        (
            ["reference={jdbc: null, delta: {path: data/enriched, key: customer_id}}"],
            "reference.delta.path",
            "data/enriched",
            "sink",
        ),
        (
            ["sink={delta: null, parquet: {path: data/checkpoint}}"],
            "checkpoint",
            "data/checkpoint",
            "sink.parquet.path",
        ),
        (["ledger=data/enriched"], "ledger", "data/enriched", "a folder apart from sink.delta.path"),
    ],
)
def test_places_that_are_one_and_the_same(
    tmp_path: Path, overrides: list[str], path: str, value: str, hint: str
) -> None:
    found = told(tmp_path, *overrides)
    assert found[:2] == (path, value)
    assert hint in found[2]


def test_a_folder_of_dead_letters_is_not_what_the_source_reads(tmp_path: Path) -> None:
    found = told(
        tmp_path, "source={kafka: null, file: {path: data/in}}", "dead_letters={kafka: null, delta: {path: data/in/d}}"
    )
    assert found == ("source.file.path", "data/in", "a folder apart from dead_letters.delta.path (data/in/d)")


def test_the_ledger_may_lie_in_the_sink(tmp_path: Path) -> None:
    assert config(tmp_path, "ledger=data/enriched/_ledger").ledger == "data/enriched/_ledger"


@pytest.mark.parametrize(
    ("place", "other", "expected"),
    [
        ("a", "a/", True),
        ("a", "a/b", True),
        ("a/b", "a", True),
        ("a", "ab", False),
        ("a/b", "a/c", False),
        ("file:///x/y", "/x/y", True),
        ("file:/x", "/x/y", True),
        ("s3a://b/x", "s3a://b/x//", True),
        ("s3a://b/x", "s3a://c/x", False),
        ("s3a://b/x", "/b/x", False),
        ("hdfs://n/x", "hdfs://n/x/y", True),
    ],
)
def test_spellings_of_one_folder(place: str, other: str, expected: bool) -> None:
    assert overlap(place, other) is overlap(other, place) is expected


def test_a_link_to_a_folder_is_that_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert overlap(f"{tmp_path}/real", f"{tmp_path}/link/below")


def test_two_jobs_do_not_share_a_checkpoint(tmp_path: Path) -> None:
    one, two = config(tmp_path), config(tmp_path, "sink.delta.path=data/two", "checkpoint=data/checkpoint/two")
    apart = config(tmp_path, "sink.delta.path=data/three", "checkpoint=data/three.checkpoint")
    assert shared_checkpoints({"one.yaml": one, "three.yaml": apart}) == []
    assert shared_checkpoints({"one.yaml": one, "two.yaml": two}) == [
        Problem("checkpoint", "data/checkpoint", "a folder of its own; two.yaml has it as checkpoint", "one.yaml")
    ]


def test_a_checkpoint_does_not_lie_in_another_jobs_sink(tmp_path: Path) -> None:
    one = config(tmp_path, text=VALID.replace("data/checkpoint", "data/elsewhere"))
    two = config(tmp_path, "sink.delta.path=data/elsewhere/sink", "checkpoint=data/two")
    assert shared_checkpoints({"one.yaml": one, "two.yaml": two}) == [
        Problem("checkpoint", "data/elsewhere", "a folder of its own; two.yaml has it as sink.delta.path", "one.yaml")
    ]


def test_a_redrive_topic_belongs_to_one_job(tmp_path: Path) -> None:
    one = config(tmp_path, REDRIVE)
    apart = config(tmp_path, "dead_letters.redrive={topic: two.again, parking_topic: two.parked}")
    reader = config(tmp_path, "source.kafka.topic=orders.again")
    parker = config(tmp_path, "dead_letters.redrive={topic: three.again, parking_topic: orders.parked}")
    topic, parking = "dead_letters.redrive.topic", "dead_letters.redrive.parking_topic"
    assert shared_redrives({"one.yaml": one, "two.yaml": apart}) == [], "a topic of dead letters may be shared"
    assert shared_redrives({"one.yaml": one, "two.yaml": reader}) == [
        Problem(topic, "orders.again", "a topic of its own; two.yaml uses it as source.kafka", "one.yaml")
    ]
    assert shared_redrives({"one.yaml": one, "two.yaml": parker}) == [
        Problem(parking, "orders.parked", f"a topic of its own; two.yaml uses it as {parking}", "one.yaml"),
        Problem(parking, "orders.parked", f"a topic of its own; one.yaml uses it as {parking}", "two.yaml"),
    ]


def test_a_retry_topic_belongs_to_one_job(tmp_path: Path) -> None:
    one = config(tmp_path, REDRIVE, "dead_letters.retry={topics: [{topic: soon, after: 1m}]}")
    two = config(tmp_path, "dead_letters.kafka.topic=soon")
    wrong = "a topic of its own; two.yaml uses it as dead_letters.kafka.topic"
    assert shared_redrives({"one.yaml": one, "two.yaml": two}) == [
        Problem("dead_letters.retry.topics.0.topic", "soon", wrong, "one.yaml")
    ]
