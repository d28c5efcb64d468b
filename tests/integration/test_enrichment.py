"""The enrichment job on a real broker, a real database and a real HTTP service that fails as it is told to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest
from _http import Handler, Server
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.core.errors import LookupFailed
from jobs.core.ledger import Counts

ORDER = "order_id STRING, customer_id STRING, currency STRING, amount DECIMAL(10,2)"
DATED = f"{ORDER}, ordered_at TIMESTAMP"
ENRICHED = "order_id STRING, name STRING, rate DECIMAL(9,4), euros DECIMAL(10,2), customer STRING, rated STRING"
Rows = Callable[..., DataFrame]


@pytest.fixture
def rates() -> Iterator[Server]:
    """Of currencies: EUR and USD."""
    known = {"EUR": b'{"data": {"rate": 1, "as_of": "now"}}', "USD": b'{"data": {"rate": 1.25}}'}
    server = Server()

    def reply(handler: Handler, _: str) -> None:
        found = known.get(handler.path.rpartition("/")[2])
        handler.say(200 if found else 404, found or b"")

    server.replies(reply)
    yield server
    server.stop()


EUROS = {"expressions": {"euros": "CAST(amount / rate AS DECIMAL(10,2))"}}


class Case:
    """Topics, a table of customers, and steps over them."""

    def __init__(
        self, enrichment: Any, spark: SparkSession, broker: Any, table: Any, rates: Server, path: Path
    ) -> None:
        self.orders, self.dead, self.broker, self.path = broker.topic("orders"), broker.topic("dead"), broker, path
        self.customers = table("customer_id text PRIMARY KEY, name text", [("c1", "Ann"), ("c2", "Bob")])
        self.spark, self.rates, self._made = spark, rates, enrichment

    def job(
        self, customer: Any = None, rate: Any = None, lookup: Any = None, converted: Any = None, **more: Any
    ) -> Any:
        http = {"url": f"{self.rates.url}/rates/{{currency}}", "key": "currency", "schema": RATE}
        steps = {
            "customer": {
                "lookup": {"postgres": {"table": self.customers, "key": "customer_id", "columns": ["name"]}},
                "on": {"customer_id": "customer_id"},
                **(customer or {}),
            },
            "rate": {
                "lookup": {"http": {**http, "columns": {"rate": "data.rate"}}, **(lookup or {})},
                "on": {"currency": "currency"},
                **(rate or {}),
            },
            "converted": converted or EUROS,
        }
        settings = {
            "job": "enrichment",
            "source": {"kafka": {"topic": self.orders}, "schema": ORDER, "required": ["order_id"]},
            "enrich": steps,
            "sink": {"delta": {"path": str(self.path / "sink")}},
            "dead_letters": {"delta": {"path": str(self.path / "dead")}},
            "retry": {"attempts": 2, "wait_initial": "1ms", "wait_max": "1ms"},
            "breaker": {"open_for": "100ms", "probes": 1},
            **more,
        }
        return self._made(settings)

    def order(self, *orders: tuple[str, str | None, str | None, int]) -> None:
        names = ("order_id", "customer_id", "currency", "amount")
        self.broker.send(self.orders, [json.dumps(dict(zip(names, order))).encode() for order in orders])

    def dated(self) -> dict[str, Any]:
        """A source of orders that have a time."""
        return {"kafka": {"topic": self.orders}, "schema": DATED, "event_time": "ordered_at"}

    def order_at(self, *asked: tuple[str, str]) -> None:
        """Orders by customer, at a day and time of January."""
        order = {"order_id": "o", "currency": "EUR", "amount": 1}
        values = [{**order, "customer_id": who, "ordered_at": f"2026-01-{when}Z"} for who, when in asked]
        for value in values:
            self.broker.send(self.orders, [json.dumps(value).encode()])

    def expect(self, rows: Rows, *expected: tuple[Any, ...]) -> None:
        """ENRICHED: the last two say what became of the steps."""
        found = self.spark.read.format("delta").load(str(self.path / "sink"))
        states = [f"_enrichment['{step}'] AS {name}" for step, name in (("customer", "customer"), ("rate", "rated"))]
        shown = found.selectExpr("order_id", "name", "rate", "euros", *states)
        assert_df_equality(shown, rows(ENRICHED, *expected), ignore_row_order=True, ignore_nullable=True)

    def letters(self) -> list[tuple[int, str, str]]:
        found = self.spark.read.format("delta").load(str(self.path / "dead")).select("_offset", "reason", "detail")
        return sorted(tuple(row) for row in found.collect())


RATE = "data STRUCT<rate: DECIMAL(9,4)>"


@pytest.fixture
def case(enrichment: Any, spark: SparkSession, broker: Any, table: Any, rates: Server, tmp_path: Path) -> Case:
    return Case(enrichment, spark, broker, table, rates, tmp_path)


def test_each_key_is_asked_for_once_and_every_row_says_what_became_of_each_step(case: Case, rows: Rows) -> None:
    case.order(("o1", "c1", "EUR", 10), ("o2", "c2", "USD", 10), ("o3", "c9", "USD", 5), ("o4", None, "XXX", 1))
    report = case.job().run()
    assert report.holds and report.counts == Counts(4, 4), report
    case.expect(
        rows,
        ("o1", "Ann", D("1"), D("10"), "fresh", "fresh"),
        ("o2", "Bob", D("1.25"), D("8"), "fresh", "fresh"),
        ("o3", None, D("1.25"), D("4"), "missed", "fresh"),
        ("o4", None, None, None, "missed", "missed"),
    )
    assert sorted(path for path, _ in case.rates.asked) == ["/rates/EUR", "/rates/USD", "/rates/XXX"]


def test_a_miss_and_an_unfit_answer_go_where_their_step_says(case: Case, rows: Rows) -> None:
    replies = {"EUR": b'{"data": {"rate": "one"}}', "USD": b'{"data": {"rate": 1.25}}'}
    case.rates.replies(lambda handler, _: handler.say(200, replies[handler.path[-3:]]))
    case.order(("o1", "c1", "EUR", 10), ("o2", "c9", "USD", 10), ("o3", "c1", "USD", 10))
    report = case.job(customer={"on_miss": "dead_letter"}).run()
    assert report.holds and report.counts == Counts(3, 1, dead_letters=2), report
    case.expect(rows, ("o3", "Ann", D("1.25"), D("8"), "fresh", "fresh"))
    (_, first, why), (_, second, said) = case.letters()
    assert (first, second, said) == ("NO_ANSWER", "NO_REFERENCE", "customer: no row for customer_id")
    assert why.startswith("rate: WRONG_TYPE: ")


def test_while_a_service_is_away_the_batch_stands(case: Case, rows: Rows) -> None:
    left = [3]

    def flaps(handler: Handler, _: str) -> None:
        left[0] -= 1
        handler.say(503) if left[0] >= 0 else handler.say(200, b'{"data": {"rate": 2}}')

    case.rates.replies(flaps)
    case.order(("o1", "c1", "EUR", 10))
    report = case.job().run()
    assert report.holds and report.counts == Counts(1, 1), report
    case.expect(rows, ("o1", "Ann", D("2"), D("5"), "cached", "fresh"))


@pytest.mark.parametrize(
    ("policy", "counts", "reason"),
    [
        ("keep", Counts(1, 1), None),
        ("dead_letter", Counts(1, 0, dead_letters=1), "NO_ANSWER"),
        ("wait", Counts(1, 0, parked=1), None),
    ],
)
def test_without_an_answer_a_row_goes_where_its_step_says(
    case: Case, policy: str, counts: Counts, reason: str | None
) -> None:
    case.rates.replies(lambda handler, _: handler.say(500))
    case.order(("o1", "c1", "EUR", 10))
    waiting = {"waiting": {"wait_for": "1h", "parked": str(case.path / "parked")}} if policy == "wait" else {}
    report = case.job(lookup={"on_failure": policy}, **waiting).run()
    assert report.holds and report.counts == counts, report
    if reason:
        assert case.letters()[0][1] == reason


def test_what_waits_is_asked_for_again(case: Case, rows: Rows) -> None:
    case.rates.replies(lambda handler, _: handler.say(500))
    case.order(("o1", "c1", "EUR", 10))
    made = case.job(lookup={"on_failure": "wait"}, waiting={"wait_for": "1h", "parked": str(case.path / "parked")})
    assert made.run().counts == Counts(1, 0, parked=1)
    case.rates.replies(lambda handler, _: handler.say(200, b'{"data": {"rate": 4}}'))
    report = made.run()
    assert report.holds and report.counts == Counts(1, 1), report
    case.expect(rows, ("o1", "Ann", D("4"), D("2.5"), "fresh", "fresh"))


def test_a_default_stands_in(case: Case, rows: Rows) -> None:
    case.order(("o1", "c1", "XXX", 10))
    report = case.job(rate={"default": {"rate": "1"}}).run()
    assert report.holds and report.counts == Counts(1, 1), report
    case.expect(rows, ("o1", "Ann", D("1"), D("10"), "fresh", "default"))


@pytest.mark.parametrize(("columns", "second"), [({}, "cached"), ({"rate": {"ttl": "1ms"}}, "fresh")])
def test_an_answer_is_renewed_once_a_column_is_too_old(case: Case, rows: Rows, columns: Any, second: str) -> None:
    case.order(("o1", "c1", "EUR", 10), ("o2", "c1", "EUR", 10))
    cache = {"ttl": "1h", "columns": columns}
    assert case.job(lookup={"cache": cache}, scaling={"max_offsets_per_trigger": 1}).run().counts == Counts(2, 2)
    first = ("o1", "Ann", D("1"), D("10"), "fresh", "fresh")
    case.expect(rows, first, ("o2", "Ann", D("1"), D("10"), "cached", second))
    assert len(case.rates.asked) == 1 + (second == "fresh")


def test_a_reference_table_is_a_step_like_any_other(case: Case, rows: Rows) -> None:
    table = {"jdbc": {"table": case.customers, "key": "customer_id", "columns": ["name"]}}
    case.order(("o1", "c1", "EUR", 10), ("o2", "c9", "EUR", 10))
    step = {"lookup": None, "table": table, "on_miss": "wait"}
    made = case.job(customer=step, waiting={"wait_for": "1h", "parked": str(case.path / "parked")})
    report = made.run()
    assert report.holds and report.counts == Counts(2, 1, parked=1), report
    case.expect(rows, ("o1", "Ann", D("1"), D("10"), "fresh", "fresh"))


def names_of(held: str) -> dict[str, Any]:
    table = {"table": held, "key": "customer_id", "columns": ["name"]}
    return {"jdbc": table, "refresh": {"every": "100ms"}, "valid_from": "since"}


HELD = ("c1", "Ann", "2026-01-01", "2026-01-02"), ("c1", "Ann Lee", "2026-01-02", None)


def test_an_order_gets_the_customer_of_its_time_and_waits_for_one_who_is_to_come(
    case: Case, rows: Rows, table: Any, database: Any
) -> None:
    held = table("customer_id text, name text, since timestamptz, until timestamptz", HELD)
    as_of = {**names_of(held), "valid_to": "until"}
    waiting = {"wait_for": "1h", "parked": str(case.path / "parked")}
    made = case.job(customer={"lookup": None, "as_of": as_of, "on_miss": "wait"}, source=case.dated(), waiting=waiting)
    case.order_at(("c1", "01T23:59:59.999999"), ("c1", "02T00:00:00"), ("c1", "09T00:00:00"), ("c2", "01T00:00:00"))
    report = made.run()
    assert report.holds and report.counts == Counts(4, 3, parked=1), report
    database.cursor().execute(f"INSERT INTO {held} VALUES ('c2', 'Bob', '2025-01-01', NULL)")
    report = made.run()
    assert report.holds and report.counts == Counts(4, 4), report
    found = case.spark.read.format("delta").load(str(case.path / "sink")).select("_offset", "name")
    expected = rows("_offset BIGINT, name STRING", (0, "Ann"), (1, "Ann Lee"), (2, "Ann Lee"), (3, "Bob"))
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)


def test_a_row_is_written_again_once_after_a_version_that_came_late(
    case: Case, rows: Rows, table: Any, database: Any
) -> None:
    held = table("customer_id text, name text, since timestamptz", [("c1", "Ann", "2026-01-01")])
    as_of = {**names_of(held), "on_late": "re_emit"}
    shout = {"expressions": {"shouted": "upper(name)"}}
    made = case.job(
        customer={"lookup": None, "as_of": as_of},
        converted=shout,
        source=case.dated(),
        corrections={"within": "3650d"},
    )
    case.order_at(("c1", "02T00:00:00"), ("c1", "05T00:00:00"), ("c2", "05T00:00:00"))
    report = made.run()
    assert report.holds and report.counts == Counts(3, 3), report
    database.cursor().execute(f"INSERT INTO {held} VALUES ('c1', 'Ann Lee', '2026-01-04'), ('c2', 'Bob', '2026-01-06')")
    case.order_at(("c1", "06T00:00:00"))
    for _ in range(2):
        report = made.run()
        assert report.holds and report.counts == Counts(4, 4), report
        found = case.spark.read.format("delta").load(str(case.path / "sink"))
        shown = found.selectExpr("_offset", "name", "shouted", "_enrichment['customer'] AS state", "_revision")
        expected = [(0, "Ann", "ANN", "fresh", 0), (1, "Ann", "ANN", "fresh", 0), (1, "Ann Lee", "ANN LEE", "fresh", 1)]
        more = [(2, None, None, "missed", 0), (3, "Ann Lee", "ANN LEE", "fresh", 0)]
        schema = "_offset BIGINT, name STRING, shouted STRING, state STRING, _revision INT"
        assert_df_equality(shown, rows(schema, *expected, *more), ignore_row_order=True, ignore_nullable=True)
    database.cursor().execute(f"DELETE FROM {held} WHERE since = '2026-01-04'")
    assert made.run().holds
    again = case.spark.read.format("delta").load(str(case.path / "sink")).where("_revision > 0")
    expected_again = rows("_offset BIGINT, name STRING, _revision INT", (1, "Ann Lee", 1), (1, "Ann", 2), (3, "Ann", 1))
    shown = again.select("_offset", "name", "_revision")
    assert_df_equality(shown, expected_again, ignore_row_order=True, ignore_nullable=True)


@pytest.mark.parametrize("on_failure", ["keep", "dead_letter", "wait"])
def test_a_row_is_not_written_again_without_an_answer_that_it_had(
    case: Case, rows: Rows, table: Any, database: Any, on_failure: str
) -> None:
    held = table("customer_id text, name text, since timestamptz", [("c1", "Ann", "2026-01-01")])
    waits = {"waiting": {"wait_for": "1h", "parked": str(case.path / "parked")}}
    made = case.job(
        customer={"lookup": None, "as_of": {**names_of(held), "on_late": "re_emit"}},
        lookup={"on_failure": on_failure, "cache": {"ttl": "1ms"}},
        source={**case.dated(), "schema": DATED},
        corrections={"within": "3650d"},
        **(waits if on_failure == "wait" else {}),
    )
    case.order_at(("c1", "05T00:00:00"))
    assert made.run().holds
    database.cursor().execute(f"INSERT INTO {held} VALUES ('c1', 'Ann Lee', '2026-01-04')")
    for wrong in ((503, b""), (200, b"<html>")):
        case.rates.replies(lambda handler, _, wrong=wrong: handler.say(*wrong))
        assert made.run().holds
    first = (0, "Ann", D("1"), "fresh", 0)
    schema = "_offset BIGINT, name STRING, rate DECIMAL(9,4), state STRING, _revision INT"

    def expect(*expected: tuple[Any, ...]) -> None:
        found = case.spark.read.format("delta").load(str(case.path / "sink"))
        shown = found.selectExpr("_offset", "name", "rate", "_enrichment['rate'] AS state", "_revision")
        assert_df_equality(shown, rows(schema, *expected), ignore_row_order=True, ignore_nullable=True)

    expect(first)
    case.rates.replies(lambda handler, _: handler.say(200, b'{"data": {"rate": 4}}'))
    report = made.run()
    assert report.holds and report.counts == Counts(1, 1), report
    expect(first, (0, "Ann Lee", D("4"), "fresh", 1))


def test_what_a_service_refuses_ends_the_job_in_one_sentence(case: Case) -> None:
    case.rates.replies(lambda handler, _: handler.say(403))
    case.order(("o1", "c1", "EUR", 10))
    made = case.job()
    with pytest.raises(LookupFailed, match="lookup rate failed: .*ServiceRefused: the service answers 403"):
        made.run()
    case.rates.replies(lambda handler, _: handler.say(200, b'{"data": {"rate": 1}}'))
    report = made.run()
    assert report.holds and report.counts == Counts(1, 1), report


def test_a_kill_with_rows_written_and_no_record_counts_each_order_once(case: Case, rows: Rows, killed: Any) -> None:
    case.order(("o1", "c1", "EUR", 10), ("o2", "c9", "USD", 10))
    made = case.job()
    killed(made, "written")
    case.rates.replies(lambda handler, _: handler.say(200, b'{"data": {"rate": 8}}'))
    report = made.run()
    assert report.holds and report.counts == Counts(2, 2), report
    case.expect(
        rows,
        ("o1", "Ann", D("1"), D("10"), "fresh", "fresh"),
        ("o2", None, D("1.25"), D("8"), "missed", "fresh"),
    )
