"""What a running job depends on is killed, stopped, changed or grows; the job lives on, and every record counts once.

One process a kind of job bears all of it, one fault after the other.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from _faults.case import Case
from _faults.driver import Driver
from _faults.servers import Servers

long = pytest.mark.long
ENRICHING = pytest.param("enriching", marks=long)


class Live:
    """A case and the process that runs it."""

    def __init__(self, case: Case, driver: Driver) -> None:
        self.case, self.driver, self.servers = case, driver, case.servers

    def catch_up(self, limit_s: float = 120) -> None:
        self.driver.until(self.case.caught_up, "all that was sent in the ledger", limit_s)

    def check(self) -> None:
        """Orders that come after the fault count, and so do all before."""
        self.case.send(10)
        self.catch_up()
        self.case.check()

    def stand_at(self, point: str) -> None:
        self.driver.arm(point, "stop")
        self.case.send(10)
        self.driver.stands_at(point)

    def is_current(self, within_s: float) -> None:
        """Waits until its reference table is."""
        age = "patterns_reference_age_seconds"
        self.driver.until(lambda: self.metric(age) < within_s, "a reference table that is current")

    def metric(self, name: str) -> float:
        (url,) = re.findall(r"monitoring: (http://\S+/metrics)", self.driver.said)
        with urllib.request.urlopen(url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{"))


@pytest.fixture(scope="module")
def lives(cases: Callable[..., Case], servers: Servers) -> Iterator[Callable[[str], Live]]:
    """A job that has ended is started again."""
    made: dict[str, Live] = {}
    with contextlib.ExitStack() as open_:

        def live(kind: str) -> Live:
            case = made[kind].case if kind in made else cases(kind, **settings(servers))
            if kind not in made or made[kind].driver.code is not None:
                made[kind] = Live(case, case.start())
                open_.callback(made[kind].driver.kill)
                made[kind].case.send(10)
                made[kind].catch_up()
            return made[kind]

        yield live


WAIT_MS = "2000"  # Spark asks a broker three times, so long each, before a query fails


def settings(servers: Servers) -> dict[str, Any]:
    """It does not wait for a broker as long as Kafka's clients would by themselves, and can be watched."""
    options = {"default.api.timeout.ms": WAIT_MS, "request.timeout.ms": WAIT_MS}
    broker = {"bootstrap_servers": servers.stack.bootstrap_servers, "timeout": "30s", "options": options}
    return {"monitoring": {"port": 0}, "kafka": broker}


@pytest.fixture(params=["delta", "postgres", ENRICHING])
def live(lives: Callable[[str], Live], request: Any) -> Live:
    return lives(request.param)


@pytest.fixture
def postgres(lives: Callable[[str], Live]) -> Live:
    return lives("postgres")


@pytest.fixture(params=["delta", ENRICHING])
def refreshed(lives: Callable[[str], Live], request: Any) -> Live:
    """Which needs its database for the reference table alone."""
    return lives(request.param)


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=long)])
def test_a_broker_that_is_killed_in_a_batch_and_comes_back(live: Live, servers: Servers, times: int) -> None:
    for _ in range(times):
        live.stand_at("written")
        servers.kill("kafka")
        live.driver.go_on()
        servers.revive()
        live.catch_up()
    live.check()


@pytest.mark.parametrize("stopped_s", [12, pytest.param(60, marks=long), pytest.param(150, marks=long)])
def test_a_broker_that_answers_nothing_for_a_while(live: Live, servers: Servers, stopped_s: float) -> None:
    before = live.case.batches()
    with servers.stopped("kafka"):
        time.sleep(stopped_s)  # this long is the fault itself
    assert live.case.batches() == before
    live.check()
    assert "source: circuit open" in live.driver.said, "the query failed meanwhile, and was started again"


@pytest.mark.parametrize("point", ["mid_copy", "in_transaction"])
def test_a_database_that_is_killed_in_a_transaction(postgres: Live, servers: Servers, point: str) -> None:
    postgres.stand_at(point)
    servers.kill("postgres")
    postgres.driver.go_on()
    servers.revive()
    postgres.check()


def test_a_deadlock_is_broken_and_the_whole_transaction_done_again(postgres: Live, servers: Servers) -> None:
    postgres.stand_at("in_transaction")
    with contextlib.closing(servers.connection()) as other, other.cursor() as cursor:
        cursor.execute("SET deadlock_timeout = '1h'; BEGIN; LOCK TABLE stream_patterns.ledger IN EXCLUSIVE MODE")
        waits = threading.Thread(target=cursor.execute, args=(f"LOCK TABLE {postgres.case.table}",))
        waits.start()
        postgres.driver.go_on()
        waits.join(60)
        cursor.execute("ROLLBACK")
    postgres.check()
    assert "DeadlockDetected" in postgres.driver.said


@pytest.fixture
def serializable(servers: Servers) -> Iterator[None]:
    """Every session from now on; those that were open have to connect again."""
    servers.ask("ALTER ROLE patterns SET default_transaction_isolation = serializable")
    servers.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'patterns'"
    )
    yield
    servers.ask("ALTER ROLE patterns RESET default_transaction_isolation")


def test_a_transaction_that_cannot_be_serialized_is_done_again(
    postgres: Live, servers: Servers, serializable: None
) -> None:
    """Another one has read what the job is to write, and has written where it has read; and was first."""
    postgres.stand_at("before_move")
    with contextlib.closing(servers.connection()) as other, other.cursor() as cursor:
        cursor.execute(f"BEGIN; SELECT count(*) FROM {postgres.case.table}")
        changed = """jsonb_populate_record(l, '{"job": "another"}')"""
        cursor.execute(
            f"INSERT INTO stream_patterns.ledger SELECT ({changed}).* FROM stream_patterns.ledger l"
            f" WHERE job = '{postgres.case.name}' AND seq = 0; COMMIT"
        )
    postgres.driver.go_on()
    postgres.check()
    assert "SerializationFailure" in postgres.driver.said


def test_the_reference_database_away_in_the_run(refreshed: Live, servers: Servers) -> None:
    version = refreshed.case.version()
    servers.kill("postgres")
    refreshed.case.send(10)
    refreshed.catch_up()
    assert refreshed.case.version() == version
    servers.revive()
    refreshed.case.change("c0", "platinum")
    refreshed.is_current(within_s=2)
    refreshed.check()
    assert refreshed.case.version() > version


WORSE = {
    "empty": ("DELETE FROM {0}", "it has no rows"),
    "a key twice": (
        "ALTER TABLE {0} DROP CONSTRAINT {0}_pkey; INSERT INTO {0} SELECT * FROM {0}",
        "2 keys (customer_id) stand in more than one row",
    ),
    "a column gone": ("ALTER TABLE {0} DROP COLUMN segment; UPDATE {0} SET updated_at = now()", "segment"),
    "another type": (
        "ALTER TABLE {0} ALTER COLUMN segment TYPE int USING 1; UPDATE {0} SET updated_at = now()",
        "column segment became int, it was string",
    ),
}


@pytest.mark.parametrize(("change", "said"), WORSE.values(), ids=WORSE)
def test_a_version_that_will_not_do_is_not_taken(refreshed: Live, servers: Servers, change: str, said: str) -> None:
    table, version = refreshed.case.customers, refreshed.case.version()
    servers.ask(f"CREATE TABLE kept AS TABLE {table}")
    servers.ask(change.format(table))
    refreshed.driver.until(lambda: said in refreshed.driver.said, said)
    refreshed.check()
    assert refreshed.case.version() == version
    servers.ask(
        f"DROP TABLE {table}; ALTER TABLE kept RENAME TO {table}; ALTER TABLE {table} ADD PRIMARY KEY (customer_id)"
    )
    refreshed.is_current(within_s=1)
    refreshed.check()


def test_a_reference_table_that_changes_during_a_batch(live: Live) -> None:
    live.stand_at("before_write")
    live.case.change("c1", "bronze")
    live.driver.go_on()
    live.catch_up()
    live.case.change("c1", "iron")
    live.check()
    assert live.case.mixed() == {}


def test_partitions_added_in_the_run_are_read_from_their_beginning(live: Live, servers: Servers) -> None:
    servers.add_partitions(live.case.topic, 2)
    live.case.send(10, partition=1)
    live.check()
    assert live.case.end()["1"] == 10
