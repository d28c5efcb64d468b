"""The main job on a real broker and a real database: every bad record, every outcome, every restart."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from _orders import bad_records
from chispa import assert_df_equality
from confluent_kafka import Producer
from pyspark.sql import DataFrame, SparkSession

from jobs.core.audit import audit
from jobs.core.errors import DependencyMissing, LedgerMismatch
from jobs.core.layers import load
from jobs.core.ledger import Counts
from jobs.core.letters import dead_letter_topic
from jobs.core.session import ROOT
from jobs.stream_table_join import Config, start

SCHEMA = (
    "order_id STRING, customer_id STRING, amount DECIMAL(10,2), currency STRING, quantity INT, "
    "ordered_at TIMESTAMP, order_date DATE, note STRING"
)
SMALL = "order_id STRING, customer_id STRING"
JOINED = f"{SMALL}, segment STRING, _topic STRING, _partition INT, _offset BIGINT"


class Case:
    """Topics, tables and settings of one test."""

    def __init__(self, broker: Any, table: Callable[..., str], path: Path) -> None:
        self.broker, self.path = broker, path
        self.orders, self.dead = broker.topic("orders"), broker.topic("dead")
        self.customers = table(
            "customer_id text primary key, segment text, updated_at timestamptz default now()",
            [("c1", "gold"), ("c2", "silver")],
        )
        self.sink = str(path / "sink")

    def settings(self, schema: str = SMALL, **join: Any) -> dict[str, Any]:
        return {
            "source": {
                "kafka": {"topic": self.orders},
                "schema": schema,
                "required": ["order_id", "customer_id"],
            },
            "reference": {
                "jdbc": {"table": self.customers, "key": "customer_id", "columns": ["segment"]},
                "refresh": {"every": "1s"},
            },
            "join": {"on": {"customer_id": "customer_id"}, **join},
            "sink": {"delta": {"path": self.sink}},
            "dead_letters": {"kafka": {"topic": self.dead}},
        }

    def order(self, *pairs: tuple[str, str | None]) -> None:
        self.broker.send(self.orders, [json.dumps({"order_id": o, "customer_id": c}).encode() for o, c in pairs])


@pytest.fixture
def case(broker: Any, table: Callable[..., str], tmp_path: Path) -> Case:
    return Case(broker, table, tmp_path)


def joined(spark: SparkSession, case: Case) -> DataFrame:
    return spark.read.format("delta").load(case.sink).drop("_reference_version")


def expect(spark: SparkSession, case: Case, *rows: tuple[Any, ...]) -> None:
    whole = [(order, customer, segment, case.orders, 0, offset) for order, customer, segment, offset in rows]
    assert_df_equality(
        joined(spark, case), spark.createDataFrame(whole, JOINED), ignore_row_order=True, ignore_nullable=True
    )


def test_orders_are_joined_and_counted(spark: SparkSession, case: Case, job: Any) -> None:
    case.order(("o1", "c1"), ("o2", "c9"))
    report = job(case.settings()).run()
    expect(spark, case, ("o1", "c1", "gold", 0), ("o2", "c9", None, 1))
    assert report.holds, report.checks
    assert (report.counts.read, report.counts.written, report.lag) == (2, 2, 0)


def test_an_audit_holds_where_transactions_take_offsets(spark: SparkSession, case: Case, job: Any, stack: Any) -> None:
    producer = Producer({"bootstrap.servers": case.broker.servers, "transactional.id": case.orders})
    producer.init_transactions()
    for number, ends in enumerate(
        (producer.commit_transaction, producer.abort_transaction, producer.commit_transaction)
    ):
        producer.begin_transaction()
        producer.produce(case.orders, json.dumps({"order_id": f"o{number}", "customer_id": "c1"}))
        producer.flush()
        ends()
    broker_of = {"bootstrap_servers": stack.bootstrap_servers, "options": {"isolation.level": "read_committed"}}
    made = job({**case.settings(), "kafka": broker_of})
    report = made.run()
    assert report.holds and report.counts == Counts(2, 2), report
    expect(spark, case, ("o0", "c1", "gold", 0), ("o2", "c1", "gold", 4))


def test_every_bad_record_is_a_dead_letter_byte_for_byte(spark: SparkSession, case: Case, job: Any) -> None:
    good = b'{"order_id": "good", "customer_id": "c1", "amount": 1.5, "ordered_at": "2026-11-24T10:00:00Z"}'
    sent = [(reason, value) for reason, value in bad_records() for reason, value in ((None, good), (reason, value))]
    case.broker.send(case.orders, [value for _, value in sent], key=b"\xffk", headers=[("h", b"\x00\xff"), ("n", None)])
    settings = case.settings(SCHEMA)
    settings["source"] |= {
        "required": ["order_id", "customer_id", "amount", "ordered_at"],
        "event_time": "ordered_at",
        "constraints": {"positive_amount": "amount > 0"},
    }
    made = job(settings)
    report = made.run()
    assert report.holds, report.checks
    found = {row["_offset"]: row for row in dead_letter_topic(spark, made.config, case.dead).collect()}
    expected = {offset: (reason, value) for offset, (reason, value) in enumerate(sent) if reason}
    assert {offset: row["reason"] for offset, row in found.items()} == {
        o: reason for o, (reason, _) in expected.items()
    }
    assert {o: row["value"] and bytes(row["value"]) for o, row in found.items()} == {
        o: v for o, (_, v) in expected.items()
    }
    assert {bytes(row["key"]) for row in found.values()} == {b"\xffk"}
    assert all(
        [(h["key"], h["value"] and bytes(h["value"])) for h in row["headers"]][:2] == [("h", b"\x00\xff"), ("n", None)]
        for row in found.values()
    )
    assert report.reasons == dict(Counter(reason for reason, _ in bad_records()))
    assert joined(spark, case).where("order_id = 'good' and segment = 'gold'").count() == len(bad_records())


def test_a_second_run_reads_on_where_the_first_ended(spark: SparkSession, case: Case, job: Any) -> None:
    made = job(case.settings())
    case.order(("o1", "c1"))
    made.run()
    case.order(("o2", "c2"))
    report = made.run()
    expect(spark, case, ("o1", "c1", "gold", 0), ("o2", "c2", "silver", 1))
    assert report.holds and report.batches == 2


@pytest.mark.parametrize("how", ["inner", "left"])
def test_misses_become_dead_letters(spark: SparkSession, case: Case, job: Any, how: str) -> None:
    case.order(("o1", "c1"), ("o2", "c9"))
    report = job(case.settings(how=how, on_miss="dead_letter")).run()
    expect(spark, case, ("o1", "c1", "gold", 0))
    assert report.holds and report.reasons == {"NO_REFERENCE": 1}


def test_an_inner_join_counts_what_it_filters(spark: SparkSession, case: Case, job: Any) -> None:
    case.order(("o1", "c1"), ("o2", "c9"), ("o3", "c8"))
    report = job(case.settings(how="inner")).run()
    expect(spark, case, ("o1", "c1", "gold", 0))
    assert report.holds and report.counts.filtered == 2


def test_a_waiting_order_is_written_once_its_customer_is_known(
    spark: SparkSession, case: Case, job: Any, database: Any
) -> None:
    made = job(case.settings(on_miss="wait", wait_for="1h", parked=str(case.path / "waiting")))
    case.order(("o1", "c1"), ("o2", "c9"), ("o3", "c8"))
    first = made.run()
    assert first.holds and first.counts.parked == 2, first
    database.cursor().execute(f"INSERT INTO {case.customers} VALUES ('c9', 'new')")
    second = made.run()
    expect(spark, case, ("o1", "c1", "gold", 0), ("o2", "c9", "new", 1))
    assert second.holds and second.counts.parked == 1, second.checks
    assert made.run().counts == second.counts


def test_an_order_that_waited_too_long_is_a_dead_letter(spark: SparkSession, case: Case, job: Any) -> None:
    made = job(case.settings(on_miss="wait", wait_for="1ms", parked=str(case.path / "waiting")))
    case.order(("o1", "c1"), ("o2", "c9"))
    made.run()
    report = made.run()
    assert report.holds and (report.counts.parked, report.counts.dead_letters) == (0, 1), report
    found = dead_letter_topic(spark, made.config, case.dead).select("reason", "_offset").collect()
    assert [tuple(row) for row in found] == [("NO_REFERENCE", 1)]


def test_dead_letters_in_delta(spark: SparkSession, case: Case, job: Any) -> None:
    letters = str(case.path / "letters")
    case.broker.send(case.orders, [b"{", b'{"order_id": "o1", "customer_id": "c1"}'])
    report = job({**case.settings(), "dead_letters": {"delta": {"path": letters}}}).run()
    assert report.holds
    found = spark.read.format("delta").load(letters).selectExpr("_topic", "_offset", "reason", "value", "job").collect()
    assert [tuple(row) for row in found] == [(case.orders, 0, "MALFORMED", bytearray(b"{"), "join")]


def test_a_parquet_sink(spark: SparkSession, case: Case, job: Any) -> None:
    case.order(("o1", "c1"), ("o2", "c2"))
    settings = {**case.settings(), "sink": {"parquet": {"path": case.sink, "partition_by": ["segment"]}}}
    report = job(settings).run()
    assert report.holds and report.counts.written == 2
    assert sorted(row.order_id for row in spark.read.parquet(case.sink).collect()) == ["o1", "o2"]


def test_a_memory_sink(spark: SparkSession, case: Case, job: Any) -> None:
    case.order(("o1", "c1"))
    job({**case.settings(), "sink": {"memory": {"name": "enriched"}}}).run()
    assert [(row.order_id, row.segment) for row in spark.table("enriched").collect()] == [("o1", "gold")]


def test_a_checkpoint_that_was_deleted_is_refused(case: Case, job: Any) -> None:
    made = job(case.settings())
    case.order(("o1", "c1"))
    made.run()
    shutil.rmtree(made.config.checkpoint)
    with pytest.raises(LedgerMismatch, match="the checkpoint is missing or empty, the sink holds batch 0"):
        made.run()


def test_a_topic_that_is_not_there_is_named_and_no_checkpoint_made(case: Case, job: Any) -> None:
    settings = case.settings()
    settings["source"]["kafka"]["topic"] = "nowhere"
    made = job(settings)
    with pytest.raises(DependencyMissing, match="Kafka topic nowhere on .* the broker has no such topic"):
        made.run()
    assert not Path(made.config.checkpoint).exists()


def test_a_broker_that_is_away_is_named(case: Case, job: Any) -> None:
    made = job({**case.settings(), "kafka": {"bootstrap_servers": "127.0.0.1:9", "timeout": "2s"}})
    with pytest.raises(DependencyMissing, match="Kafka 127.0.0.1:9 unreachable"):
        made.run()


def test_a_reference_table_that_is_not_there_is_named(case: Case, job: Any) -> None:
    settings = case.settings()
    settings["reference"]["jdbc"]["table"] = "nobody"
    with pytest.raises(DependencyMissing, match="reference table nobody at jdbc:postgresql://"):
        job(settings).run()


def test_the_seeds_join(
    broker: Any, table: Callable[..., str], stack: Any, spark: SparkSession, tmp_path: Path, capsys: Any
) -> None:
    topic, dead = broker.topic("seed"), broker.topic("seed-dead")
    records = [{"id": 1, "reference_id": 10, "value": "a"}, {"id": 2, "reference_id": 99, "value": "b"}]
    broker.send(topic, [*(json.dumps(record).encode() for record in records), b"{"])
    own = {
        "kafka.bootstrap_servers": stack.bootstrap_servers,
        "postgres.url": stack.jdbc_url,
        "postgres.user": stack.user,
        "source.kafka.topic": topic,
        "dead_letters.kafka.topic": dead,
        "reference.jdbc.table": table("id bigint primary key, name text", [(10, "Ann")]),
        "checkpoint": tmp_path / "checkpoint",
        "trigger.every": "null",
        "trigger.available_now": "true",
    }
    overrides = [f"{key}={value}" for key, value in own.items()]
    config = load(Config, ROOT / "conf/seed_join.yaml", None, overrides, stack.environment()).config
    assert start(spark, config).wait(120), "the job did not end"
    report = audit(spark, config)
    shown = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    columns = ["id", "reference_id", "value", "name", "_reference_version", "_topic", "_partition", "_offset"]
    (version,) = report.versions
    assert [[cell.strip() for cell in line] for line in shown] == [
        columns,
        ["1", "10", "a", "Ann", version, topic, "0", "0"],
    ]
    assert (report.counts, report.reasons, report.lag) == (Counts(3, 1, 1, 1, 0), {"MALFORMED": 1}, 0)


def test_a_row_that_changes_in_the_run_is_seen_by_later_records(
    case: Case, job: Callable[..., Any], database: Any, spark: SparkSession
) -> None:
    settings = {**case.settings(), "trigger": {"every": "100ms"}}
    settings["reference"]["refresh"] = {"every": "200ms", "watermark": "updated_at"}
    made = job(settings)
    case.order(("o0", "c1"))
    running = made.start()

    def until_there_is(segment: str) -> None:
        limit = time.monotonic() + 60
        while segment not in segments(spark, case):
            assert time.monotonic() < limit, f"no order was joined with {segment}"
            assert not running.wait(0.2), "the job ended by itself"
            case.order(("o1", "c1"))

    try:
        until_there_is("gold")
        changed = f"UPDATE {case.customers} SET segment = 'platinum', updated_at = now() WHERE customer_id = 'c1'"
        database.cursor().execute(changed)
        until_there_is("platinum")
    finally:
        running.stop()
    report = made.audit()
    assert report.holds, report.checks
    assert segments(spark, case) == dict(zip(["gold", "platinum"], report.versions, strict=True))


def segments(spark: SparkSession, case: Case) -> dict[str, str]:
    """segment -> the version that it was joined from."""
    if not list(Path(case.sink).glob("_delta_log/*.json")):
        return {}
    rows = spark.read.format("delta").load(case.sink).select("segment", "_reference_version").distinct()
    return {row["segment"]: row["_reference_version"] for row in rows.collect()}
