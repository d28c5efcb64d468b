"""What must fit together in a sink in Kafka, and in a bound on lateness."""

from __future__ import annotations

from pathlib import Path

import pytest
from _configs import config, told

COLUMNS = "a column of the schema: order_id, customer_id, amount, ordered_at, name, ref_amount"
TO_KAFKA = "sink.delta=null"


@pytest.mark.parametrize(
    ("kafka", "path", "value", "hint"),
    [
        ("{}", "sink.kafka", "", "exactly one of topic, topic_column"),
        ("{topic: a, topic_column: name, topics: [b]}", "sink.kafka", "", "exactly one of topic, topic_column"),
        ("{topic_column: name}", "sink.kafka.topics", "", "required with topic_column: the topics that it may name"),
        ("{topic: a, topics: [b]}", "sink.kafka.topics", "['b']", "only with topic_column"),
        ("{topic: a b}", "sink.kafka.topic", "a b", "a topic's name"),
        ("{topic: a, key: [name, name]}", "sink.kafka.key", "['name', 'name']", "each column once"),
        ("{topic: a, headers: {event_id: name}}", "sink.kafka.headers.event_id", "name", "another name: event_id and"),
        ("{topic: a, headers: {patterns-x: name}}", "sink.kafka.headers.patterns-x", "name", "begins with patterns-"),
        ("{topic: a, key: [order_id, nope]}", "sink.kafka.key.1", "nope", COLUMNS),
        ("{topic: a, headers: {x: nope}}", "sink.kafka.headers.x", "nope", COLUMNS),
        ("{topic: a, value: nope}", "sink.kafka.value", "nope", COLUMNS),
        ("{topic_column: nope, topics: [a]}", "sink.kafka.topic_column", "nope", COLUMNS),
    ],
)
def test_what_a_sink_in_kafka_refuses(tmp_path: Path, kafka: str, path: str, value: str, hint: str) -> None:
    found = told(tmp_path, TO_KAFKA, f"sink.kafka={kafka}")
    assert found[:2] == (path, value)
    assert hint in found[2]


@pytest.mark.parametrize(
    ("given", "is_right"), [("1KiB", False), ("64KiB", True), ("2047GiB", True), ("2048GiB", False)]
)
def test_memory_is_what_postgresql_takes(tmp_path: Path, given: str, is_right: bool) -> None:
    to_postgres = [
        "sink.delta=null",
        f"sink.postgres={{table: t, mode: upsert, key: [order_id], version: ordered_at, work_mem: {given}}}",
    ]
    if is_right:
        assert config(tmp_path, *to_postgres).sink.postgres
    else:
        assert told(tmp_path, *to_postgres)[0] == "sink.postgres.work_mem"


def test_what_it_takes(tmp_path: Path) -> None:
    columns = "key: [order_id], headers: {customer: ref_amount, at: _topic}, value: name"
    made = config(tmp_path, TO_KAFKA, f"sink.kafka={{topic_column: name, topics: [a, b], {columns}}}")
    assert made.sink.kafka
    assert made.sink.kafka.names == ["a", "b"]
    assert made.sink.kafka.headers == {"customer": "ref_amount", "at": "_topic"}


def test_it_needs_a_broker_and_records_may_wait_before_it(tmp_path: Path) -> None:
    rate = ["source={kafka: null, schema: null, delta: {path: data/in}}", "dead_letters=null", "kafka=null"]
    assert told(tmp_path, TO_KAFKA, "sink.kafka.topic=a", *rate)[0] == "kafka"
    wait = "join={on_miss: wait, wait_for: 1h, parked: data/parked}"
    assert config(tmp_path, TO_KAFKA, "sink.kafka.topic=a", wait).join.on_miss == "wait"


def test_what_names_no_topic_has_to_go_somewhere(tmp_path: Path) -> None:
    delta = ["source={kafka: null, schema: null, delta: {path: data/in}}", "dead_letters=null"]
    found = told(tmp_path, TO_KAFKA, "sink.kafka={topic_column: name, topics: [a]}", *delta)
    assert found == ("dead_letters", "", "required with sink.kafka.topic_column: kafka.topic or delta.path")


LATE = "source.late={max_lateness: 10m, to: {delta: {path: data/late}}}"


LATENESS = [
    ([LATE], "source.event_time", "required with late: the column that says when an event happened"),
    (["source.event_time=ordered_at", "source.late={max_lateness: 10m}"], "source.late.to", "required"),
    (["source.event_time=ordered_at", "source.late={max_lateness: 10m, to: {}}"], "source.late.to", "exactly one"),
    (["source.event_time=ordered_at", LATE, "source.late.max_lateness=0s"], "source.late.max_lateness", "a number"),
    (
        [LATE, "source={kafka: null, schema: null, delta: {path: data/in}}"],
        "source.late",
        "only where records are decoded: source.kafka or source.file",
    ),
]


def test_a_bound_on_lateness(tmp_path: Path) -> None:
    made = config(tmp_path, "source.event_time=ordered_at", LATE).source.late
    assert made
    assert (made.max_lateness, made.to.delta and made.to.delta.path) == ("10m", "data/late")


REDRIVE = "dead_letters.redrive={topic: again, parking_topic: parked}"
RETRY = "dead_letters.retry={topics: [{topic: soon, after: 10s}, {topic: later, after: 10s}]}"


RETRIES = [
    ([RETRY], "dead_letters.redrive", "required with retry: topic and parking_topic"),
    (
        [REDRIVE, RETRY, "dead_letters.redrive.max_attempts=2"],
        "dead_letters.redrive.max_attempts",
        "more than 2: a",
    ),
    ([REDRIVE, "dead_letters.retry.topics=[]"], "dead_letters.retry.topics", "at least one"),
    ([REDRIVE, RETRY, "dead_letters.retry.reasons=[]"], "dead_letters.retry.reasons", "at least one"),
    ([REDRIVE, RETRY, "dead_letters.retry.reasons=[NO_LUCK]"], "dead_letters.retry.reasons.0", "'NO_REFERENCE'"),
    (
        [REDRIVE, "dead_letters.retry.topics=[{topic: soon, after: 10s}, {topic: later, after: 9s}]"],
        "dead_letters.retry.topics.1.after",
        "at least the time before it, which is 10s",
    ),
    (
        [REDRIVE, "dead_letters.retry.topics=[{topic: soon, after: 0s}]"],
        "dead_letters.retry.topics.0.after",
        "a number",
    ),
    (
        [REDRIVE, "dead_letters.retry.topics=[{topic: orders.dead, after: 1s}]"],
        "dead_letters.retry.topics.0.topic",
        "a topic apart from dead_letters.kafka.topic (orders.dead)",
    ),
    (
        [REDRIVE, "dead_letters.retry.topics=[{topic: orders, after: 1s}]"],
        "dead_letters.retry.topics.0.topic",
        "a topic that the source does not read (orders)",
    ),
]


WAITS = "{on_miss: wait, wait_for: 1h, parked: data/parked}"
ORDER = "dead_letters.key_order={path: data/blocked}"


KEY_ORDER = [
    ([ORDER], "dead_letters.redrive", "required with key_order: topic and parking_topic"),
    ([ORDER, REDRIVE, RETRY], "dead_letters.retry.reasons", "with KEY_BLOCKED: with key_order"),
    (["join.key_order=true"], "join.key_order", "only with on_miss: wait"),
    (
        ["source.kafka=null", "source.file={path: data/in}", f"join={WAITS}", "join.key_order=true"],
        "join.key_order",
        "only with a kafka source, whose records have keys",
    ),
    (
        [ORDER, REDRIVE, "sink.delta.path=data/blocked/sink"],
        "dead_letters.key_order.path",
        "a folder apart from sink.delta.path (data/blocked/sink)",
    ),
]


def test_key_order(tmp_path: Path) -> None:
    reasons = "dead_letters.retry.reasons=[NO_REFERENCE, KEY_BLOCKED]"
    made = config(tmp_path, ORDER, REDRIVE, RETRY, reasons).dead_letters
    assert made and made.key_order
    assert made.key_order.path == "data/blocked"


def test_retry_topics(tmp_path: Path) -> None:
    made = config(tmp_path, REDRIVE, RETRY).dead_letters
    assert made and made.retry
    assert [reason.value for reason in made.retry.reasons] == ["NO_REFERENCE"]
    assert [(one.topic, one.after) for one in made.retry.topics] == [("soon", "10s"), ("later", "10s")]


@pytest.mark.parametrize(("overrides", "path", "hint"), [*LATENESS, *RETRIES, *KEY_ORDER])
def test_what_one_setting_needs_of_another(tmp_path: Path, overrides: list[str], path: str, hint: str) -> None:
    found = told(tmp_path, *overrides)
    assert found[0] == path
    assert hint in found[2]
