"""Two streams joined within a time bound by the enrichment job, on a real broker: each order has one outcome."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.core.errors import ConfigError
from jobs.core.ledger import Counts
from jobs.core.sinks import Mark
from jobs.core.sinks.tables import DeltaTableSink

ORDER = "order_id STRING, ordered_at TIMESTAMP"
PAYMENT = "order_id STRING, amount INT, paid_at TIMESTAMP"
PAID = "_offset BIGINT, order_id STRING, amount INT, state STRING"
Rows = Callable[..., DataFrame]


class Case:
    """Orders, their payments, and a job that joins them: a payment within a minute after its order."""

    def __init__(self, enrichment: Any, spark: SparkSession, broker: Any, path: Path) -> None:
        self.orders, self.payments, self.broker = broker.topic("orders"), broker.topic("payments"), broker
        self.spark, self.path, self._made = spark, path, enrichment

    def job(self, **step: Any) -> Any:
        payments = {
            "kafka": {"topic": self.payments},
            "schema": PAYMENT,
            "required": ["order_id"],
            "event_time": "paid_at",
            "key": "order_id",
            "columns": ["amount"],
            "after": "1m",
            "max_lateness": "10s",
        }
        late = {"max_lateness": "10s", "to": {"delta": {"path": str(self.path / "late")}}}
        source = {
            "kafka": {"topic": self.orders},
            "schema": ORDER,
            "required": ["order_id"],
            "event_time": "ordered_at",
        }
        return self._made(
            {
                "job": "paid",
                "source": {**source, "late": late},
                "enrich": {"payment": {"stream": payments, "on": {"order_id": "order_id"}, **step}},
                "sink": {"delta": {"path": str(self.path / "sink")}},
                "dead_letters": {"delta": {"path": str(self.path / "dead")}},
            }
        )

    def order(self, *orders: tuple[str, int]) -> None:
        """By id, at a second of the day."""
        self._send(self.orders, [{"order_id": order, "ordered_at": at(second)} for order, second in orders])

    def pay(self, *payments: tuple[str, int, int]) -> None:
        """An order, an amount, at a second of the day."""
        self._send(self.payments, [{"order_id": o, "amount": a, "paid_at": at(second)} for o, a, second in payments])

    def _send(self, topic: str, records: list[dict[str, Any]]) -> None:
        self.broker.send(topic, [json.dumps(record).encode() for record in records])

    def expect(self, rows: Rows, *expected: tuple[Any, ...]) -> None:
        found = self.spark.read.format("delta").load(str(self.path / "sink"))
        shown = found.selectExpr("_offset", "order_id", "amount", "_enrichment['payment'] AS state")
        assert_df_equality(shown, rows(PAID, *expected), ignore_row_order=True, ignore_nullable=True)

    def aside(self, name: str) -> list[tuple[Any, ...]]:
        found = self.spark.read.format("delta").load(str(self.path / name)).select("_topic", "_offset", "reason")
        return sorted((row[0] == self.orders, row[1], row[2]) for row in found.collect())


IN_2099 = 73 * 365 * 86_400


def at(second: int) -> str:
    return (datetime(2026, 1, 1) + timedelta(seconds=second)).isoformat() + "Z"


@pytest.fixture
def case(enrichment: Any, spark: SparkSession, broker: Any, tmp_path: Path) -> Case:
    return Case(enrichment, spark, broker, tmp_path)


def test_an_order_gets_its_payment_or_comes_without_one_when_its_time_is_over(case: Case, rows: Rows) -> None:
    made = case.job()
    case.order(("o0", 100), ("o1", 100))
    case.pay(("o0", 7, 130), ("o9", 1, 130))
    report = made.run()
    assert report.holds and report.counts == Counts(2, 1, joining=1), report
    case.expect(rows, (0, "o0", 7, "fresh"))
    case.order(("o2", 1000))
    case.pay(("o1", 8, 161), ("o2", 9, 1000))
    report = made.run()
    assert report.holds and report.counts == Counts(3, 2, joining=1), report
    case.order(("o3", 2000))
    case.pay(("o3", 5, 2000), ("o3", 6, 2001))
    report = made.run()
    assert report.holds, report
    case.expect(rows, (0, "o0", 7, "fresh"), (1, "o1", None, "missed"), (2, "o2", 9, "fresh"), (3, "o3", 5, "fresh"))
    assert report.counts == Counts(4, 4), report


def test_what_is_rejected_or_late_goes_around_the_join(case: Case, rows: Rows) -> None:
    """Records of 2099 among it: they move no watermark."""
    made = case.job()
    case.order(("o0", 1000), ("o9", IN_2099))
    case.pay(("o0", 7, 1000), ("o9", 1, IN_2099))
    case.broker.send(case.orders, [b"{"])
    case.broker.send(case.payments, [b"null"])
    report = made.run()
    assert report.holds and report.counts == Counts(5, 1, dead_letters=4, beside=2), report
    case.order(("o2", 5000))
    case.pay(("o2", 1, 5000))
    made.run()
    case.order(("o3", 100))
    case.pay(("o4", 1, 100))
    report = made.run()
    assert report.holds and report.counts == Counts(8, 2, dead_letters=4, late=2, beside=3), report
    case.expect(rows, (0, "o0", 7, "fresh"), (3, "o2", 1, "fresh"))
    dead = [(False, 1, "FUTURE"), (False, 2, "NOT_OBJECT"), (True, 1, "FUTURE"), (True, 2, "MALFORMED")]
    assert case.aside("dead") == dead
    assert case.aside("late") == [(False, 4, "LATE"), (True, 4, "LATE")]


def test_a_kill_with_rows_written_and_no_record_writes_none_again_of_what_the_state_brings_out(
    case: Case, rows: Rows, killed: Any
) -> None:
    """An order of the first batch comes out in the one that is cut short, and again in the next start."""
    made = case.job()
    case.order(("o0", 100))
    case.pay(("o9", 1, 100))
    made.run()
    case.order(("o1", 1000))
    case.pay(("o1", 5, 1000), ("o0", 8, 150))
    killed(made, "written")
    report = made.run()
    assert report.holds and report.counts == Counts(2, 2), report
    case.expect(rows, (0, "o0", 8, "fresh"), (1, "o1", 5, "fresh"))


def test_a_batch_that_is_tried_again_finds_the_state_as_it_was(
    case: Case, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, append, fails = case.job(), DeltaTableSink.append, [ConnectionResetError("gone")]
    case.order(("o0", 100), ("o1", 100))
    case.pay(("o9", 1, 100))
    made.run()

    def flaky(sink: DeltaTableSink, found: DataFrame, mark: Mark) -> None:
        if fails and sink.path.endswith("sink"):
            found.count()  # the plan has run, its state is written
            raise fails.pop()
        append(sink, found, mark)

    monkeypatch.setattr(DeltaTableSink, "append", flaky)
    case.order(("o2", 1000))
    case.pay(("o0", 7, 130), ("o2", 9, 1000))
    made.run()
    assert fails == []
    case.order(("o3", 9000))
    case.pay(("o3", 5, 9000))
    report = made.run()
    assert report.holds and report.counts == Counts(4, 4), report
    case.expect(rows, (0, "o0", 7, "fresh"), (1, "o1", None, "missed"), (2, "o2", 9, "fresh"), (3, "o3", 5, "fresh"))


def test_a_checkpoint_that_is_gone_takes_the_state_with_it(case: Case, rows: Rows) -> None:
    made = case.job()
    case.order(("o0", 100), ("o1", 100))
    case.pay(("o0", 7, 130))
    made.run()
    shutil.rmtree(made.config.checkpoint)
    with pytest.raises(ConfigError, match="--recover = from-ledger.* reprocess: what was in the state"):
        made.config.recovering("from-ledger")
    made.config = made.config.recovering("reprocess")
    case.pay(("o1", 8, 140))
    report = made.run()
    assert report.holds and report.counts == Counts(2, 2), report
    case.expect(rows, (0, "o0", 7, "fresh"), (1, "o1", 8, "fresh"))
