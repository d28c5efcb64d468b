"""SIGTERM: a batch ends first, unless it is told twice or takes too long; what was cut short runs again."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from _faults.case import Case

long = pytest.mark.long


def mode(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


@pytest.mark.parametrize("case", ["delta", pytest.param("postgres", marks=long), "enriching"], indirect=True)
def test_sigterm_in_a_batch_lets_it_end_and_the_restart_repeats_nothing(case: Case) -> None:
    case.send(10)
    driver = case.start(written="stop")
    driver.stands_at("written")
    driver.terminate()
    driver.go_on()
    assert driver.wait(60) == 0, driver.said
    assert [file.name for file in (case.path / "checkpoint" / "commits").glob("[0-9]*")] == ["0"]
    made = ["checkpoint", "sink"] if case.sink == "delta" else ["checkpoint"]
    assert {mode(case.path / name) for name in made} == {0o700}
    case.check()
    case.drain()
    assert case.batches() == 1
    case.check()


@pytest.mark.parametrize("case", ["delta", pytest.param("enriching", marks=long)], indirect=True)
def test_a_second_sigterm_ends_it_at_once_and_says_so(case: Case) -> None:
    case.send(10)
    driver = case.start(before_dead_letters="hold")
    driver.is_held_at("before_dead_letters")
    driver.terminate()
    driver.until(lambda: "SIGTERM: ending after the batch in flight, within 2m" in driver.said, "told that it ends")
    driver.terminate()
    assert driver.wait(30) == 143, driver.said
    assert "second signal: ending at once" in driver.said
    case.drain()
    case.check()


@pytest.mark.parametrize(
    ("kind", "point"), [("postgres", "in_transaction"), pytest.param("enriching", "mid_lookup", marks=long)]
)
def test_a_batch_that_takes_too_long_is_cut_short(cases: Callable[..., Case], kind: str, point: str) -> None:
    case = cases(kind, stop_within="1s")
    case.send(10)
    driver = case.start(**{point: "hold"})
    driver.is_held_at(point)
    driver.terminate()
    assert driver.wait(30) == 143, driver.said
    assert "not ended within 1s: ending at once" in driver.said
    case.drain()
    case.check()
