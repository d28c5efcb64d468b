"""Two instances of one job: the second is refused; of one that was stopped and woke up, the sink takes nothing more."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
from _faults.case import Case

QUICK = {"renew": "300ms", "ttl": "2s"}
ZOMBIES = [
    pytest.param("delta", "before_write", marks=pytest.mark.long),  # about to begin a batch
    ("delta", "write_open"),  # its snapshot taken, its rows not committed
    pytest.param("delta", "before_dead_letters", marks=pytest.mark.long),  # its rows committed, and nobody told
    ("delta", "before_ledger"),
    ("postgres", "before_write"),
    pytest.param("staged", "mid_copy", marks=pytest.mark.long),
    ("postgres", "in_transaction"),  # its rows moved, its transaction open
]


@pytest.fixture(scope="module")
def chains(cases: Callable[..., Case]) -> Callable[[str], Case]:
    """One job a sink: after each fault it goes on where it was."""
    made: dict[str, Case] = {}

    def chain(sink: str) -> Case:
        if sink not in made:
            made[sink] = cases(sink, lease=QUICK)
        return made[sink]

    return chain


@pytest.mark.parametrize("sink", ["delta", "postgres"])
def test_a_second_instance_is_refused_naming_the_first(chains: Any, sink: str) -> None:
    case = chains(sink)
    case.send(20)
    with case.running() as first:
        first.until(case.caught_up, "its first batch")
        second = case.start()
        assert second.wait() == 4
        assert f"LeaseHeld: {case.name} is run by process " in second.said
        case.send(20)
        first.until(case.caught_up, "one more batch")
    case.check()


@pytest.mark.parametrize(("sink", "point"), ZOMBIES)
def test_a_stopped_instance_that_wakes_up_writes_nothing_more(chains: Any, sink: str, point: str) -> None:
    case = chains(sink)
    case.send(20)
    zombie = case.start(**{point: "stop"})
    zombie.stands_at(point)
    case.drain()
    case.check()
    case.send(20)
    zombie.go_on()
    assert zombie.wait() == 4, zombie.said
    assert "LeaseLost: " in zombie.said or "LedgerMismatch: " in zombie.said
    case.drain()
    case.check()


@pytest.mark.parametrize(
    ("sink", "point"), [("delta", "write_open"), pytest.param("postgres", "in_transaction", marks=pytest.mark.long)]
)
def test_also_after_a_recovery_with_a_new_checkpoint(chains: Any, sink: str, point: str) -> None:
    case = chains(sink)
    case.send(20)
    zombie = case.start(**{point: "stop"})
    zombie.stands_at(point)
    shutil.rmtree(case.path / "checkpoint")
    case.drain("from-ledger")
    zombie.go_on()
    assert zombie.wait() == 4, zombie.said
    case.check()
