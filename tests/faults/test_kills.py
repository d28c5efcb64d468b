"""kill -9 of the job, JVM and all, at every named point; a start after it makes every record count once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from _faults.case import Case

ATOMIC = ["before_write", "mid_copy", "written", "in_transaction", "before_dead_letters", "after_ledger"]
IN_STEPS = ["before_write", "written", "before_dead_letters", "after_dead_letters", "after_ledger"]


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
    ("sink", "point"), [*(("postgres", point) for point in ATOMIC), *(("delta", point) for point in IN_STEPS)]
)
def test_a_kill_at_a_named_point(chains: Any, sink: str, point: str) -> None:
    case = chains(sink)
    case.send(20)
    assert case.start(**{point: "kill"}).wait() == -9
    assert not case.caught_up() or point == "after_ledger"
    case.drain()
    case.check()
