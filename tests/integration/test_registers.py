"""A lease, wherever it is recorded: the same story for files and for PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from pyspark.sql import SparkSession

from jobs.core.config import Postgres
from jobs.core.connections import LeaseLimits
from jobs.core.errors import DependencyMissing, LeaseHeld, LeaseLost
from jobs.core.holder import this
from jobs.core.lease import Lease, Register, take
from jobs.core.lease_files import FileRegister
from jobs.core.lease_postgres import PostgresRegister, fence
from jobs.core.postgres import Database
from jobs.core.values import Duration

NOW = datetime(2026, 1, 5, tzinfo=timezone.utc)
QUICK = LeaseLimits(renew=Duration("100ms"), ttl=Duration("1s"))
SLOW = LeaseLimits(renew=Duration("1h"), ttl=Duration("3h"))
Registers = Callable[[], Register]


@pytest.fixture
def connecting(migrated: Any) -> Iterator[Callable[[], Database]]:
    settings = Postgres(url=migrated.jdbc_url, user=migrated.user, password=migrated.password)
    opened: list[Database] = []

    def make() -> Database:
        opened.append(Database(settings))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture(params=["files", "postgres"])
def registers(request: Any, spark: SparkSession, connecting: Callable[[], Database], tmp_path: Path) -> Registers:
    """Registers of one job, one for each instance."""
    job = f"job_{uuid.uuid4().hex[:8]}"
    if request.param == "files":
        return lambda: FileRegister(spark, str(tmp_path))
    return lambda: PostgresRegister(connecting(), job)


def test_one_instance_at_a_time(registers: Registers) -> None:
    first = take(registers(), "job", this(NOW), QUICK)
    with pytest.raises(LeaseHeld, match="process .* renews its lease"):
        take(registers(), "job", this(NOW), QUICK)
    first.check()
    first.give_back()
    second = take(registers(), "job", this(NOW), QUICK)
    assert (first.epoch, second.epoch, second.taken_from) == (1, 1, None)
    second.give_back()


def test_an_instance_that_stood_still_is_replaced_and_learns_of_it(registers: Registers) -> None:
    holder = this(NOW)
    still = take(registers(), "job", holder, SLOW)  # renews nothing while this test runs
    taken = take(registers(), "job", this(NOW), QUICK)
    assert (taken.epoch, taken.taken_from) == (2, holder)
    still._limits = QUICK
    still._renewed -= 1
    with pytest.raises(LeaseLost):
        still.confirm()
    still.give_back()
    taken.check()
    with pytest.raises(LeaseHeld):
        take(registers(), "job", this(NOW), QUICK)
    taken.give_back()


def test_an_instance_whose_process_has_ended_is_replaced_at_once(registers: Registers) -> None:
    ended = take(registers(), "job", replace(this(NOW), began="before"), SLOW)
    assert take(registers(), "job", this(NOW), SLOW).epoch == 2
    ended.give_back()


@dataclass
class Connected:
    """An instance in PostgreSQL, and a connection that writes for it."""

    lease: Lease
    connection: Any

    def write(self) -> None:
        """Begins a transaction; whoever calls ends it."""
        fence(self.lease)(self.connection.cursor())


@pytest.fixture
def connected(migrated: Any, connecting: Callable[[], Database]) -> Iterator[Callable[..., Connected]]:
    job = f"job_{uuid.uuid4().hex[:8]}"
    with closing(psycopg2.connect(**migrated.dsn())) as one, closing(psycopg2.connect(**migrated.dsn())) as other:
        ready = [one, other]
        yield lambda limits: Connected(take(PostgresRegister(connecting(), job), job, this(NOW), limits), ready.pop())


def test_whoever_takes_over_undoes_what_was_open_and_refuses_what_comes_later(connected: Any) -> None:
    still = connected(SLOW)
    still.write()
    taken = connected(QUICK)
    with pytest.raises(psycopg2.OperationalError, match="terminat"):
        still.connection.cursor().execute("SELECT 1")
    taken.write()
    taken.connection.commit()
    late = Connected(still.lease, taken.connection)
    with pytest.raises(LeaseLost, match="was taken over by process"):
        late.write()
    taken.lease.give_back()


def test_a_takeover_waits_for_a_commit_under_way(connected: Any, migrated: Any) -> None:
    """What its holder commits meanwhile is there before anybody looks."""
    still = connected(SLOW)
    still.write()
    with closing(psycopg2.connect(**migrated.dsn())) as watcher, watcher.cursor() as cursor:
        cursor.execute("SET lock_timeout = '100ms'")
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            cursor.execute("SELECT FROM stream_patterns.lease WHERE job = %s FOR UPDATE", (still.lease.job,))
    still.connection.commit()
    still.lease.give_back()


def test_a_connection_that_broke_is_a_holder_that_is_gone_and_a_renewal_mends_it(
    migrated: Any, connecting: Callable[[], Database]
) -> None:
    job = f"job_{uuid.uuid4().hex[:8]}"
    own = connecting()
    lease = take(PostgresRegister(own, job), job, this(NOW), SLOW)
    watching = PostgresRegister(connecting(), job)
    own.close()
    while not (seen := watching.look()) or not seen.gone:
        pass  # until the server has noticed
    assert lease._register.renew()
    seen = watching.look()
    assert seen and not seen.gone
    lease.give_back()


def test_without_migrations_a_lease_says_what_to_do(migrated: Any, connecting: Callable[[], Database]) -> None:
    with closing(psycopg2.connect(**migrated.dsn())) as connection:
        connection.autocommit = True
        connection.cursor().execute("CREATE DATABASE without_lease")
    url = migrated.jdbc_url.rpartition("/")[0] + "/without_lease"
    bare = Database(Postgres(url=url, user=migrated.user, password=migrated.password))
    with pytest.raises(DependencyMissing, match="patterns migrate"):
        take(PostgresRegister(bare, "job"), "job", this(NOW), QUICK)
    bare.close()
