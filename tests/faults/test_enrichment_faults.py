"""A service that is wrong, down, slow or gone, a database that is away, kills of the job: each order is enriched once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _faults import points
from _faults.driver import Driver
from _faults.servers import Servers
from _lib import rates
from _rates import rate
from chispa import assert_df_equality
from pyspark.sql import SparkSession

from jobs.core import layers
from jobs.core.audit import audit
from jobs.stream_enrichment import Config

CUSTOMERS = {"c0": "Ann", "c1": "Bob"}
ENRICHED = "order_id STRING, name STRING, rate DOUBLE, _offset BIGINT"
EACH = 6  # orders at a time


class Enriching:
    """A topic of orders, a table of customers, the stack's own service of rates, and the job's folder."""

    def __init__(self, servers: Servers, spark: SparkSession, path: Path) -> None:
        self.servers, self.spark, self.path = servers, spark, path
        self.topic, self.sent = servers.topic("orders"), 0
        servers.ask("CREATE TABLE lookup_customers (customer_id text PRIMARY KEY, name text)")
        for customer in CUSTOMERS.items():
            servers.ask("INSERT INTO lookup_customers VALUES (%s, %s)", customer)
        (path / "faults").mkdir()
        (path / "job.yaml").write_text(json.dumps(self._settings()))
        self.config = layers.load(Config, path / "job.yaml", None, (), servers.environment()).config

    def _settings(self) -> dict[str, Any]:
        stack, where = self.servers.stack, str(self.path)
        customers = {"table": "lookup_customers", "key": "customer_id", "columns": ["name"]}
        service = {
            "url": f"{stack.rates_url}/rates/{{currency}}",
            "key": "currency",
            "schema": "rate DOUBLE NOT NULL",
            "timeout": "500ms",
        }
        return {
            "job": "enriching",
            "kafka": {"bootstrap_servers": stack.bootstrap_servers, "timeout": "30s"},
            "postgres": {"url": stack.jdbc_url, "user": stack.user, "password": "${POSTGRES_PASSWORD}"},
            "source": {
                "kafka": {"topic": self.topic},
                "schema": "order_id STRING, customer_id STRING, currency STRING",
                "required": ["order_id"],
            },
            "enrich": {
                "customer": {
                    "lookup": {"postgres": customers, "cache": {"ttl": "1ms"}},
                    "on": {"customer_id": "customer_id"},
                },
                "rate": {"lookup": {"http": service, "on_failure": "wait"}, "on": {"currency": "currency"}},
            },
            "waiting": {"wait_for": "1h", "parked": f"{where}/parked"},
            "sink": {"delta": {"path": f"{where}/sink"}},
            "dead_letters": {"delta": {"path": f"{where}/dead"}},
            "checkpoint": f"{where}/checkpoint",
            "retry": {"attempts": 2, "wait_initial": "50ms", "wait_max": "200ms", "timeout": "10s"},
            "breaker": {"open_for": "500ms", "probes": 1},
            "trigger": {"every": "100ms"},
        }

    def tell(self, mode: str) -> None:
        rates.told(self.servers.stack.rates_url, {"mode": mode})

    def start(self, **armed: points.Act) -> Driver:
        for point, act in armed.items():
            points.arm(self.path / "faults", point, act)
        places = (self.path / "job.yaml", self.path / "faults", self.path / "said")
        return Driver(*places, self.servers.environment(), job="jobs.stream_enrichment")

    def send(self) -> None:
        """Orders in currencies that nobody has asked for."""
        numbers = range(self.sent, self.sent + EACH)
        orders = [{"order_id": f"o{n}", "customer_id": f"c{n % 3}", "currency": f"K{n}"} for n in numbers]
        self.servers.send(self.topic, [json.dumps(order).encode() for order in orders])
        self.sent += EACH

    def counts(self) -> dict[str, int]:
        """Of the whole ledger."""
        files = sorted((self.path / "sink" / "_ledger" / "enriching").glob("[0-9]*.json"))
        found = [json.loads(line)["counts"] for file in files for line in file.read_text().splitlines()]
        return {name: sum(counts[name] for counts in found) for name in ("read", "written", "parked")}

    def said(self, written: int) -> dict[str, int]:
        """The counts where so many are written and the others wait."""
        return {"read": self.sent, "written": written, "parked": self.sent - written}

    def expected(self) -> Iterator[tuple[str, str | None, float, int]]:
        for n in range(self.sent):
            found = rate(f"K{n}")
            assert found
            yield f"o{n}", CUSTOMERS.get(f"c{n % 3}"), found["rate"], n

    def check(self) -> None:
        found = (
            self.spark.read.format("delta").load(str(self.path / "sink")).select("order_id", "name", "rate", "_offset")
        )
        expected = self.spark.createDataFrame(list(self.expected()), ENRICHED)
        assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)
        report = audit(self.spark, self.config)
        assert report.holds and report.counts.written == self.sent, report


@pytest.fixture
def enriching(servers: Servers, spark: SparkSession, tmp_path: Path) -> Iterator[Enriching]:
    made = Enriching(servers, spark, tmp_path)
    yield made
    servers.ask("DROP TABLE lookup_customers")


def test_orders_wait_for_their_service_and_the_database_and_come_once(enriching: Enriching, servers: Servers) -> None:
    case, written = enriching, EACH
    driver = case.start()
    try:
        case.send()
        driver.until(lambda: case.counts() == case.said(written), "orders with a rate")
        for mode in ("wrong", "down", "slow", "gone"):
            servers.kill("rates") if mode == "gone" else case.tell(mode)
            case.send()
            driver.until(lambda: case.counts() == case.said(written), f"orders that wait, with the service {mode}")
        servers.revive()
        written = case.sent
        driver.until(lambda: case.counts() == case.said(written), "all of them, as the service is back")
        servers.kill("postgres")
        case.send()
        driver.until(
            lambda: "lookup customer" in driver.said or "customer: " in driver.said,
            "customers who are asked for in vain",
        )
        assert case.counts()["read"] == written, "offsets do not move"
        servers.revive()
        driver.until(lambda: case.counts() == case.said(case.sent), "orders after the database was back")
    finally:
        driver.kill()
    case.check()


@pytest.mark.parametrize("point", [pytest.param("written", marks=pytest.mark.long), "before_ledger"])
def test_a_kill_while_orders_wait_loses_none(enriching: Enriching, point: str) -> None:
    """One in a batch of which some wait, and one in their release."""
    case = enriching
    case.tell("down")
    case.send()
    assert case.start(**{"before_ledger": "kill"}).wait() == -9
    driver = case.start()
    driver.until(lambda: case.counts() == case.said(0), "orders that wait")
    driver.arm(point, "kill")
    case.tell("well")
    assert driver.wait() == -9
    driver = case.start()
    driver.until(lambda: case.counts() == case.said(case.sent), "all of them")
    driver.kill()
    case.check()
