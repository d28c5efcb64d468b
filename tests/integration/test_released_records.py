"""Records that waited, released before each sink: cut short at any step, they are written once, and all counts hold."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.core.ledger import RELEASE, Counts, Entry
from jobs.core.ledger_postgres import PostgresLedger
from jobs.core.parking import Parking
from jobs.core.release import Release

ORDER = "order_id STRING, customer_id STRING"
COLUMNS = "order_id text, customer_id text, v int, _topic text, _partition int, _offset bigint, _reference_version text"
WRITTEN = "order_id STRING, customer_id STRING, v STRING"
Rows = Callable[..., DataFrame]
Cut = Callable[[pytest.MonkeyPatch], None]


class Broken(Exception):
    """For good."""


class Case:
    """A customer c1, and a topic of orders; c2 comes later."""

    def __init__(self, sink: str, job: Any, broker: Any, table: Any, database: Any, rows: Rows, path: Path) -> None:
        self.sink, self.broker, self.rows = sink, broker, rows
        self.orders, self._database = broker.topic("orders"), database
        self.customers = table("customer_id text, v int", [("c1", 1)])
        self.target = broker.topic("out") if sink == "kafka" else table(f"{COLUMNS}, UNIQUE (order_id)", [])
        upsert = {"table": self.target, "mode": "upsert", "key": ["order_id"], "version": "v"}
        sinks = {
            "append": {"postgres": {"table": self.target}},
            "upsert": {"postgres": upsert},
            "kafka": {"kafka": {"topic": self.target}},
        }
        self.made = job(
            {
                "job": f"release_{uuid.uuid4().hex[:8]}",
                "source": {"kafka": {"topic": self.orders}, "schema": ORDER, "required": ["order_id"]},
                "reference": {"jdbc": {"table": self.customers, "key": "customer_id"}},
                "join": {
                    "on": {"customer_id": "customer_id"},
                    "on_miss": "wait",
                    "wait_for": "1h",
                    "parked": str(path / "parked"),
                },
                "sink": sinks[sink],
                "dead_letters": {"delta": {"path": str(path / "dead")}},
                "retry": {"wait_initial": "10ms", "wait_max": "10ms"},
            }
        )

    def order(self, *pairs: tuple[str, str]) -> None:
        values = [json.dumps({"order_id": order, "customer_id": customer}).encode() for order, customer in pairs]
        self.broker.send(self.orders, values)

    def knows(self, customer: str, v: int) -> None:
        self._database.cursor().execute(f"INSERT INTO {self.customers} VALUES ('{customer}', {v})")

    def expect(self, *expected: tuple[str, str, str]) -> None:
        """WRITTEN: once each, or in a topic at least once."""
        found = self._written(self.made.spark)
        assert_df_equality(found, self.rows(WRITTEN, *expected), ignore_row_order=True, ignore_nullable=True)

    def _written(self, spark: SparkSession) -> DataFrame:
        columns = ["order_id", "customer_id", "cast(v AS STRING) AS v"]
        if self.sink == "kafka":
            reader = spark.read.format("kafka").option("kafka.bootstrap.servers", self.broker.servers)
            records = reader.option("subscribe", self.target).load()
            parsed = records.selectExpr(
                "from_json(cast(value AS STRING), 'order_id STRING, customer_id STRING, v INT') e"
            )
            return parsed.selectExpr(*(f"e.{name}" for name in columns[:2]), "cast(e.v AS STRING) AS v").distinct()
        cursor = self._database.cursor()
        cursor.execute(f"SELECT order_id, customer_id, v::text FROM {self.target}")
        return self.rows(WRITTEN, *cursor.fetchall())


@pytest.fixture
def released(job: Any, broker: Any, table: Any, database: Any, migrated: Any, rows: Rows, tmp_path: Path) -> Any:
    return lambda sink: Case(sink, job, broker, table, database, rows, tmp_path)


def cut(owner: Any, name: str, *failures: BaseException) -> Cut:
    """The next calls for what waits are made, and then fail."""
    left = list(failures)

    def patch(within: pytest.MonkeyPatch) -> None:
        original = getattr(owner, name)

        def failing(*given: Any, **more: Any) -> Any:
            result = original(*given, **more)
            if left and not any(isinstance(one, Entry) and one.kind != RELEASE for one in given):
                raise left.pop(0)
            return result

        within.setattr(owner, name, failing)

    return patch


@pytest.mark.parametrize("sink", ["append", "kafka"])
def test_a_release_that_is_cut_short_is_done_again_by_the_next_start(
    released: Any, sink: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After what it releases was settled, and after it was written."""
    case = released(sink)
    case.order(("o1", "c1"), ("o2", "c2"), ("o3", "c3"))
    first = case.made.run()
    assert first.holds and first.counts == Counts(3, 1, parked=2), first
    case.knows("c2", 2)
    for step in (cut(Parking, "settle", Broken()), cut(Release, "_write", Broken())):
        with monkeypatch.context() as within:
            step(within)
            with pytest.raises(Broken):
                case.made.run()
    report = case.made.audit()
    assert report.counts == first.counts
    assert report.holds is (sink == "append"), report  # a topic has rows by now, and no record of them
    last = case.made.run()
    assert last.holds and last.counts == Counts(3, 2, parked=1), last
    case.expect(("o1", "c1", "1"), ("o2", "c2", "2"))
    assert case.made.run() == last


@pytest.mark.parametrize("sink", ["append", "kafka"])
def test_what_is_made_anew_between_its_count_and_its_write_has_to_be_the_same(
    released: Any, sink: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with an executor that is lost: c3 is known by then."""
    case = released(sink)
    case.order(("o1", "c1"), ("o2", "c2"), ("o3", "c3"))
    first = case.made.run()
    case.knows("c2", 2)
    settle = Parking.settle

    def losing(*given: Any) -> None:
        settle(*given)
        case.made.spark.catalog.clearCache()
        case.knows("c3", 3)

    with monkeypatch.context() as within:
        within.setattr(Parking, "settle", losing)
        with pytest.raises(RuntimeError, match="a release does not add up: 2 rows were written, 1 were settled"):
            case.made.run()
    assert case.made.audit().counts == first.counts
    last = case.made.run()
    assert last.holds and last.counts == Counts(3, 3), last
    case.expect(("o1", "c1", "1"), ("o2", "c2", "2"), ("o3", "c3", "3"))


def test_a_failure_that_passes_is_tried_again_at_once(released: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    case = released("append")
    case.order(("o1", "c1"), ("o2", "c2"))
    assert case.made.run().counts == Counts(2, 1, parked=1)
    case.knows("c2", 2)
    with monkeypatch.context() as within:
        for owner, name in ((Parking, "settle"), (Release, "_write")):
            cut(owner, name, ConnectionResetError("it passes"))(within)
        report = case.made.run()
    assert report.holds and report.counts == Counts(2, 2), report
    case.expect(("o1", "c1", "1"), ("o2", "c2", "2"))


def test_a_release_whose_commit_went_unheard_is_known_and_the_next_batch_is_not_taken_for_it(
    released: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = released("append")
    case.order(("o1", "c1"), ("o2", "c2"))
    assert case.made.run().counts == Counts(2, 1, parked=1)
    case.knows("c2", 2)
    lost = cut(PostgresLedger, "_appended", psycopg2.OperationalError("server closed the connection unexpectedly"))
    with monkeypatch.context() as within:
        lost(within)
        assert case.made.start().wait(120)
    case.order(("o3", "c1"))
    report = case.made.run()
    assert report.holds and report.counts == Counts(3, 3), report
    case.expect(("o1", "c1", "1"), ("o2", "c2", "2"), ("o3", "c1", "1"))


def test_an_older_version_that_waited_is_superseded(released: Any) -> None:
    """By one of its key that came later and did not have to wait."""
    case = released("upsert")
    case.order(("o1", "c2"), ("o1", "c1"))
    assert case.made.run().counts == Counts(2, 1, parked=1)
    case.knows("c2", 0)
    report = case.made.run()
    assert report.holds and report.counts == Counts(2, 1, superseded=1), report
    case.expect(("o1", "c1", "1"))


@pytest.mark.parametrize("sink", ["append", "kafka"])
def test_of_a_batch_that_runs_again_waits_what_waits_now(
    released: Any, sink: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One order had been parked, and finds its customer; so it is written by the batch, and waits no more."""
    case = released(sink)
    case.order(("o1", "c1"), ("o2", "c2"), ("o3", "c3"))
    with monkeypatch.context() as within:
        cut(Parking, "park", Broken())(within)
        with pytest.raises(Broken):
            case.made.run()
    case.knows("c2", 2)
    report = case.made.run()
    assert report.holds and report.counts == Counts(3, 2, parked=1), report
    assert report.batches == 1
    case.knows("c3", 3)
    last = case.made.run()
    assert last.holds and last.counts == Counts(3, 3), last
    case.expect(("o1", "c1", "1"), ("o2", "c2", "2"), ("o3", "c3", "3"))
