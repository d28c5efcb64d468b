"""What must fit together in a source, a reference table and their join."""

from __future__ import annotations

from pathlib import Path

import pytest
from _configs import VALID, config, told

from jobs.core.checks import RATE, RAW, check_join, columns
from jobs.core.config import Source
from jobs.core.problems import Finding
from jobs.core.schema import parse_ddl

COLUMNS = "a column of the schema: order_id, customer_id, amount, ordered_at"


@pytest.mark.parametrize(
    ("override", "path", "value", "hint"),
    [
        ("source.schema=null", "source.schema", "", "required for records to decode"),
        ("source.schema=a INT b", "source.schema", "a INT b", "line 1, column 7: expected the end, found b"),
        ("source.schema=order_id STRING", "join.on.customer_id", "customer_id", "a column of the schema: order_id"),
        ("source.schema=_x INT", "source.schema", "_x INT", "names that begin with `_` are reserved"),
        ("source.schema=a INT, a INT", "source.schema", "a INT, a INT", "column a is there twice"),
        ("source.required=[order_id, nope]", "source.required.1", "nope", COLUMNS),
        ("source.event_time=nope", "source.event_time", "nope", COLUMNS),
        ("source.event_time=amount", "source.event_time", "amount", "a column of type TIMESTAMP"),
        ("source.timestamps={nope: epoch_s}", "source.timestamps.nope", "epoch_s", COLUMNS),
        ("source.timestamps={amount: epoch_s}", "source.timestamps.amount", "epoch_s", "a column of type TIMESTAMP"),
        (
            "source.timestamps={ordered_at: iso}",
            "source.timestamps.ordered_at",
            "iso",
            "'rfc3339', 'epoch_s' or 'epoch_ms'",
        ),
        ("source.timestamps=iso", "source.timestamps", "iso", "'rfc3339', 'epoch_s' or 'epoch_ms'"),
        ("source.min_year=2300", "source.min_year", "2300", "at most max_year, which is 2200"),
        ("source.min_year=0", "source.min_year", "0", "at least 1"),
        ("source.max_year=10000", "source.max_year", "10000", "at most 9999"),
        ("source.constraints={c: ''}", "source.constraints.c", "''", "an SQL expression"),
        ("source.constraints={a b: x}", "source.constraints.a b", "x", "a name of up to 63"),
        ("source.max_record_bytes=0", "source.max_record_bytes", "0", "at least 1"),
        (
            "source.format=raw",
            "source.schema",
            "order_id STRING, cust",
            "format raw has its own: value",
        ),
        ("source.kafka.topic=null", "source.kafka", "", "exactly one of topic, topic_pattern (none is given)"),
        (
            "source.kafka.topic_pattern=o.*",
            "source.kafka",
            "",
            "exactly one of topic, topic_pattern (given: topic and topic_pattern",
        ),
        ("source.kafka={topic: null, topic_pattern: '['}", "source.kafka.topic_pattern", "[", "a regular expression"),
        ("source.kafka.topic=[]", "source.kafka.topic", "[]", "one topic or several, each once"),
        ("source.kafka.topic=[a, a]", "source.kafka.topic", "['a', 'a']", "one topic or several, each once"),
        ("source.kafka.topic=[a, b c]", "source.kafka.topic.1", "b c", "a topic's name"),
        ("dead_letters=null", "dead_letters", "", "required where records are decoded"),
        ("kafka=null", "kafka", "", "required for a source, a sink or dead letters in Kafka"),
        ("postgres=null", "postgres", "", "required for a reference table by JDBC"),
        ("reference.max_staleness=10s", "reference.max_staleness", "10s", "at least refresh.every, which is 30s"),
        (
            "reference.jdbc.table=t; drop table t",
            "reference.jdbc.table",
            "t; drop table t",
            "letters, digits and _ only",
        ),
        ("reference.broadcast_max_rows=0", "reference.broadcast_max_rows", "0", "at least 1"),
        ("join.on=null", "join.on", "", "a map"),
        ("join={on: {customer_id: name}}", "join.on", "", "each key column once: customer_id"),
        ("join.on.order_id=customer_id", "join.on", "", "each key column once: customer_id"),
        (
            "reference.jdbc.key=[customer_id, region]",
            "join.on",
            "",
            "each key column once: customer_id, region",
        ),
        ("join.cast={order_id: INT}", "join.cast.order_id", "INT", "a column of join.on: customer_id"),
        ("join.cast={customer_id: FROB}", "join.cast.customer_id", "FROB", "a type without parts"),
        ("join.cast={customer_id: ARRAY<INT>}", "join.cast.customer_id", "ARRAY<INT>", "a type without parts"),
        ("join.wait_for=1h", "join.wait_for", "1h", "only with on_miss: wait"),
        ("join.parked=data/parked", "join.parked", "data/parked", "only with on_miss: wait"),
        ("join={on_miss: wait, parked: data/parked}", "join.wait_for", "", "required with on_miss: wait"),
        ("join={on_miss: wait, wait_for: 1h}", "join.parked", "", "required with on_miss: wait"),
        ("join.on_miss=drop", "join.on_miss", "drop", "'keep', 'dead_letter' or 'wait'"),
        ("sink.delta.partition_by=[nope]", "sink.delta.partition_by.0", "nope", COLUMNS),
        ("scaling.repartition={by: [nope]}", "scaling.repartition.by.0", "nope", COLUMNS),
        ("spark={master: x}", "spark.master", "x", "a key that begins with `spark.`"),
        (
            "spark={spark.hadoop.fs.s3a.secret.key: x}",
            "spark.spark.hadoop.fs.s3a.secret.key",
            "********",
            "no secrets here",
        ),
    ],
)
def test_what_does_not_fit(tmp_path: Path, override: str, path: str, value: str, hint: str) -> None:
    found = told(tmp_path, override)
    assert found[0] == path
    assert found[1].startswith(value)
    assert hint in found[2]


def test_an_empty_join_says_so_at_its_pairs(tmp_path: Path) -> None:
    text = VALID.replace("on: {customer_id: customer_id}", "on: {}")
    assert told(tmp_path, text=text) == ("join.on", "", "stream column: reference column, at least one pair")


@pytest.mark.parametrize(
    "overrides",
    [
        ["join={on_miss: wait, wait_for: 1h, parked: data/parked}", "join.how=inner"],
        ["join.on_miss=dead_letter"],
        ["source.event_time=ordered_at", "source.timestamps={ordered_at: epoch_ms}", "source.required=[order_id]"],
        ["sink.delta.partition_by=[customer_id, name, ref_amount, _reference_version]"],
        [
            "reference.jdbc.columns=[customer_id, name, Amount, _offset]",
            "sink.delta.partition_by=[name, ref_Amount, ref__offset]",
        ],
        ["reference.jdbc.columns=[]", "sink.delta.partition_by=[anything]"],
        ["source.kafka={topic: null, topic_pattern: 'shop[.].*'}"],
        ["source.kafka.topic=[a, b]", "source.kafka.starting_offsets={a: {0: 5}, b: {0: -2}}"],
        ["source={kafka: null, delta: {path: data/in}, schema: null}", "dead_letters=null", "kafka=null"],
        ["dead_letters.redrive={topic: orders.again, parking_topic: orders.parked, max_attempts: 1}"],
        ["dead_letters={kafka: null, delta: {path: data/d}, redrive: {topic: again, parking_topic: parked}}"],
        ["scaling={repartition: {by: [customer_id], count: 8}, min_partitions: 8, max_offsets_per_trigger: 500000}"],
    ],
)
def test_what_fits(tmp_path: Path, overrides: list[str]) -> None:
    assert config(tmp_path, *overrides)


def test_only_a_kafka_source_gets_dead_letters_again(tmp_path: Path) -> None:
    redrive = "dead_letters.redrive={topic: again, parking_topic: parked}"
    path, _, allowed = told(tmp_path, "source={kafka: null, file: {path: data/in}}", redrive)
    assert (path, allowed) == (
        "dead_letters.redrive",
        "only with a kafka source: dead letters come again by a topic",
    )


def test_raw_records_join_by_their_value(tmp_path: Path) -> None:
    text = VALID.replace("on: {customer_id: customer_id}", "on: {value: customer_id}")
    assert config(tmp_path, "source={format: raw, schema: null}", text=text)
    path, _, allowed = told(tmp_path, "source={format: raw, schema: null}")
    assert (path, allowed) == ("join.on.customer_id", "a column of the schema: value")


def test_columns_as_far_as_a_config_knows_them() -> None:
    kafka = {"topic": "t"}
    assert columns(Source(kafka=kafka, schema="a INT")) == parse_ddl("a INT")  # type: ignore[arg-type]
    assert columns(Source(kafka=kafka, format="raw")) == RAW  # type: ignore[arg-type]
    assert columns(Source(rate={})) == RATE  # type: ignore[arg-type]
    assert columns(Source(delta={"path": "d"})) is None  # type: ignore[arg-type]


def test_a_source_without_known_columns_checks_no_keys(tmp_path: Path) -> None:
    found = config(
        tmp_path, "source={kafka: null, delta: {path: data/in}, schema: null}", "join.on={customer_id: customer_id}"
    )
    assert list(check_join(found.source, found.reference, found.join)) == []


def test_a_join_may_be_checked_by_itself(tmp_path: Path) -> None:
    found = config(tmp_path)
    other = Source(kafka={"topic": "t"}, schema="a INT")  # type: ignore[arg-type]
    assert list(check_join(other, found.reference, found.join)) == [
        Finding(("join", "on", "customer_id"), "a column of the schema: a")
    ]
