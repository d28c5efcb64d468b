"""kill -9 of the job, JVM and all, at every named point; a start after it makes every record count once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from _faults.case import Case

SEED = 20261124
LIMIT_S = 120
SINKS = ["delta", "postgres"]
long = pytest.mark.long
POINTS = {
    "delta": ["before_write", "written", "before_dead_letters", "after_dead_letters", "after_ledger"],
    "postgres": ["mid_copy", "in_transaction", "before_dead_letters", "after_ledger"],
    "staged": ["mid_copy", "written", "in_transaction"],
}
MORE = {
    ("delta", "before_write"),
    ("delta", "after_dead_letters"),
    ("postgres", "before_dead_letters"),
    ("staged", "written"),
}


@pytest.fixture(scope="module")
def chains(cases: Callable[..., Case]) -> Callable[[str], Case]:
    """One job a sink: after each kill it goes on where it was."""
    made: dict[str, Case] = {}

    def chain(sink: str) -> Case:
        if sink not in made:
            made[sink] = cases(sink)
        return made[sink]

    return chain


@pytest.mark.parametrize(
    ("sink", "point"),
    [
        pytest.param(sink, point, marks=[long] if (sink, point) in MORE else [])
        for sink in POINTS
        for point in POINTS[sink]
    ],
)
def test_a_kill_at_a_named_point(chains: Any, sink: str, point: str) -> None:
    case = chains(sink)
    case.send(20)
    assert case.start(**{point: "kill"}).wait() == -9
    assert not case.caught_up() or point == "after_ledger"
    case.drain()
    case.check()


@pytest.mark.parametrize("sink", ["delta", "postgres"])
def test_a_kill_while_the_reference_table_is_swapped(chains: Any, sink: str) -> None:
    case = chains(sink)
    before = case.mixed()  # of kills after a batch's rows, which stay as they are whatever the next start has
    case.send(10)
    driver = case.start()
    driver.until(case.caught_up, "all that was sent in the ledger")
    driver.arm("in_swap", "kill")
    case.change("c1", "bronze")
    case.send(10)
    assert driver.wait() == -9
    case.drain()
    case.check()
    assert case.mixed() == before


@pytest.mark.parametrize(("sink", "kills"), [("delta", 2), *(pytest.param(sink, 5, marks=long) for sink in SINKS)])
def test_kills_at_random_under_load(chains: Any, sink: str, kills: int) -> None:
    """Each within seconds after the first batch of a start, while records come in."""
    case, pick = chains(sink), random.Random(SEED)
    for _ in range(kills):
        before, delay_s = case.batches(), pick.uniform(0, 3)
        driver = case.start()
        ends = time.monotonic() + LIMIT_S
        while case.batches() == before or (delay_s := delay_s - 0.1) > 0:
            assert driver.code is None and time.monotonic() < ends, driver.said[-3000:]
            case.send(5)
            time.sleep(0.1)  # the load: fifty records a second
        driver.kill()
    case.drain()
    case.check()


def test_a_reference_that_moved_on_between_kill_and_restart(cases: Callable[..., Case]) -> None:
    """What was written stays as it was; what had missed, and was neither written nor sent, sees the new version."""
    case = cases("delta", join={"on": {"customer_id": "customer_id"}, "on_miss": "dead_letter"})
    case.send(20)
    assert case.start(before_dead_letters="kill").wait() == -9
    case.change("c0", "new")
    case.change("c2", "new")
    case.drain()
    case.check()
    assert {(row.customer_id, row.segment) for row in case.rows()} == {("c0", "gold"), ("c1", "silver"), ("c2", "new")}


@pytest.mark.parametrize(
    ("sink", "point"),
    [
        ("delta", "before_ledger"),
        ("postgres", "in_transaction"),
        pytest.param("delta", "settled", marks=long),
        pytest.param("postgres", "settled", marks=long),
        pytest.param("postgres", "after_ledger", marks=long),
    ],
)
def test_waiting_records_survive_kills(cases: Callable[..., Case], tmp_path: Path, sink: str, point: str) -> None:
    """One after they were parked, and one while they are released."""
    waits = {"on_miss": "wait", "wait_for": "1h", "parked": str(tmp_path / "parked")}
    case = cases(sink, join={"on": {"customer_id": "customer_id"}, **waits})
    case.send(20)
    assert case.start(before_dead_letters="kill").wait() == -9
    case.drain()
    assert case.caught_up() and case.audit() == []
    assert sum(record["counts"]["parked"] for record in case.ledger()) == 6
    case.change("c2", "new")
    assert case.start(**{point: "kill"}).wait() == -9
    case.drain()
    case.check()
    assert sum(record["counts"]["parked"] for record in case.ledger()) == 0
