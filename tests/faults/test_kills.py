"""kill -9 of the job, JVM and all, at every named point; a start after it makes every record count once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from _faults.case import Case

SEED = 20261124
LIMIT_S = 120
KINDS = ["delta", "postgres", "enriching"]
long = pytest.mark.long
POINTS = {
    "delta": ["before_write", "written", "before_dead_letters", "after_dead_letters", "after_ledger"],
    "postgres": ["mid_copy", "in_transaction", "before_dead_letters", "after_ledger"],
    "staged": ["mid_copy", "written", "in_transaction"],
    "enriching": [
        "before_write",
        "mid_lookup",
        "written",
        "before_dead_letters",
        "after_dead_letters",
        "after_ledger",
    ],
}
MORE = {
    ("delta", "before_write"),
    ("delta", "after_dead_letters"),
    ("postgres", "before_dead_letters"),
    ("staged", "written"),
    *(("enriching", point) for point in POINTS["enriching"] if point != "written"),
}


@pytest.fixture(scope="module")
def chains(cases: Callable[..., Case]) -> Callable[[str], Case]:
    """One job a kind: after each kill it goes on where it was."""
    made: dict[str, Case] = {}

    def chain(kind: str) -> Case:
        if kind not in made:
            made[kind] = cases(kind)
        return made[kind]

    return chain


@pytest.mark.parametrize(
    ("kind", "point"),
    [
        pytest.param(kind, point, marks=[long] if (kind, point) in MORE else [])
        for kind in POINTS
        for point in POINTS[kind]
    ],
)
def test_a_kill_at_a_named_point(chains: Any, kind: str, point: str) -> None:
    case = chains(kind)
    case.send(20)
    assert case.start(**{point: "kill"}).wait() == -9
    assert not case.caught_up() or point == "after_ledger"
    case.drain()
    case.check()


@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_while_the_reference_table_is_swapped(chains: Any, kind: str) -> None:
    case = chains(kind)
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


@pytest.mark.parametrize(("kind", "kills"), [("delta", 2), *(pytest.param(kind, 5, marks=long) for kind in KINDS)])
def test_kills_at_random_under_load(chains: Any, kind: str, kills: int) -> None:
    """Each within seconds after the first batch of a start, while records come in."""
    case, pick = chains(kind), random.Random(SEED)
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


@pytest.mark.parametrize("kind", ["delta", pytest.param("enriching", marks=long)])
def test_a_reference_that_moved_on_between_kill_and_restart(cases: Callable[..., Case], kind: str) -> None:
    """What was written stays as it was; what had missed, and was neither written nor sent, sees the new version."""
    case = cases(kind, on_miss="dead_letter")
    case.send(20)
    assert case.start(before_dead_letters="kill").wait() == -9
    case.change("c0", "new")
    case.change("c2", "new")
    case.drain()
    case.check()
    assert {(row.customer_id, row.segment) for row in case.rows()} == {("c0", "gold"), ("c1", "silver"), ("c2", "new")}


@pytest.mark.parametrize(
    ("kind", "point"),
    [
        ("delta", "before_ledger"),
        ("postgres", "in_transaction"),
        pytest.param("delta", "settled", marks=long),
        pytest.param("postgres", "settled", marks=long),
        pytest.param("postgres", "after_ledger", marks=long),
        pytest.param("enriching", "before_ledger", marks=long),
    ],
)
def test_waiting_records_survive_kills(cases: Callable[..., Case], kind: str, point: str) -> None:
    """One after they were parked, and one while they are released."""
    case = cases(kind, on_miss="wait")
    case.send(20)
    assert case.start(before_dead_letters="kill").wait() == -9
    case.drain()
    assert case.caught_up() and case.audit() == []
    assert case.outcomes() == (12, 2, 6)
    case.change("c2", "new")
    assert case.start(**{point: "kill"}).wait() == -9
    case.drain()
    case.check()
    assert case.outcomes() == (18, 2, 0)
