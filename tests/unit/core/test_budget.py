"""Dead letters of the last minutes against what is allowed, on a clock that is moved by hand."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from _clocks import Clock
from _configs import config, told

from jobs.core.budget import Budget
from jobs.core.errors import BudgetSpent
from jobs.core.ledger import Counts, Entry
from jobs.core.monitoring import ErrorBudget
from jobs.core.values import Duration


def entry(read: int, kind: str = "batch", **reasons: int) -> Entry:
    bad = sum(reasons.values())
    counts = Counts(read, read - bad, dead_letters=bad) if read else Counts(dead_letters=bad, parked=-bad)
    return Entry(kind, "j", "q", 0, "[null]", "[null]", counts, "2026-01-01T00:00:00+00:00", reasons)


@pytest.fixture
def budget() -> Callable[..., Budget]:
    def made(clock: Clock | None = None, on_change: Any = None, **allowed: Any) -> Budget:
        settings = ErrorBudget(**{"window": Duration("10m"), **allowed})
        more = {"on_change": on_change} if on_change else {}
        return Budget("j", settings, clock=clock or Clock(), **more)

    return made


def after(budget: Budget, *entries: Entry) -> Budget:
    for one in entries:
        budget.told(one)
    return budget


def test_a_count_is_spent_by_one_more(budget: Any) -> None:
    one = after(budget(count=3), entry(10, MALFORMED=2), entry(10, FUTURE=1))
    one.check()
    with pytest.raises(BudgetSpent) as spent:
        after(one, entry(10, FUTURE=2)).check()
    assert spent.value.exit_code == 4
    assert str(spent.value) == (
        "job j has spent its error budget, error_budget.count: 3 within 10m: 5 of 30 records read (16.7%) became dead"
        " letters: FUTURE 3, MALFORMED 2"
    )


def test_no_dead_letter_may_be_allowed(budget: Any) -> None:
    after(budget(count=0), entry(10)).check()
    with pytest.raises(BudgetSpent, match="error_budget.count: 0 within 10m"):
        after(budget(count=0), entry(10, MALFORMED=1)).check()


def test_a_share_is_of_the_records_read_in_all_batches_of_the_window(budget: Any) -> None:
    one = after(budget(share=0.05), entry(100, MALFORMED=6), entry(20))
    one.check()
    with pytest.raises(BudgetSpent, match="error_budget.share: 0.05 within 10m: 7 of 130 records read"):
        after(one, entry(10, MALFORMED=1)).check()


def test_by_a_few_records_no_share_is_judged(budget: Any) -> None:
    after(budget(share=0.05), entry(99, MALFORMED=99)).check()
    with pytest.raises(BudgetSpent):
        after(budget(share=0.05), entry(100, MALFORMED=99)).check()
    with pytest.raises(BudgetSpent):
        after(budget(share=0.05, min_records=9), entry(9, MALFORMED=9)).check()


def test_what_has_left_the_window_counts_no_more(budget: Any) -> None:
    clock = Clock()
    one = after(budget(clock, count=3), entry(10, MALFORMED=3))
    clock.now += 600
    one.told(entry(10))
    with pytest.raises(BudgetSpent):
        after(one, entry(10, MALFORMED=1)).check()
    clock.now += 1
    one.check()


def test_records_that_waited_in_vain_count_when_they_are_given_up(budget: Any) -> None:
    with pytest.raises(BudgetSpent, match="2 of 0 records read became dead letters: NO_REFERENCE 2"):
        after(budget(count=1), entry(0, "release", NO_REFERENCE=2)).check()


def test_an_alert_is_told_once_each_time_and_stops_nothing(budget: Any, caplog: pytest.LogCaptureFixture) -> None:
    clock, heard = Clock(), list[bool]()
    one = budget(clock, heard.append, count=1, then="alert")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            after(one, entry(10, MALFORMED=1)).check()
            one.check()
        clock.now += 601
        one.check()
        after(one, entry(10, MALFORMED=2)).check()
    assert heard == [True, False, True]
    assert [record.getMessage()[:63] for record in caplog.records] == [
        "job j has spent its error budget, error_budget.count: 1 within ",
    ] * 2


@pytest.mark.parametrize(
    ("overrides", "path", "hint"),
    [
        (["error_budget.window=1m"], "error_budget", "count, share, or both"),
        (["error_budget.share=5"], "error_budget.share", "at most 1"),
        (["error_budget.share=0"], "error_budget.share", "more than 0"),
        (["error_budget.count=-1"], "error_budget.count", "at least 0"),
        (["error_budget.count=1", "error_budget.min_records=0"], "error_budget.min_records", "at least 1"),
        (["error_budget.count=1", "error_budget.window=0s"], "error_budget.window", "a number with a unit"),
        (["error_budget.count=1", "error_budget.then=warn"], "error_budget.then", "'stop' or 'alert'"),
        (
            ["error_budget.count=1", "error_budget.shar=1"],
            "error_budget.shar",
            "unknown key; nearest: error_budget.share",
        ),
    ],
)
def test_what_is_no_budget_is_refused(tmp_path: Path, overrides: list[str], path: str, hint: str) -> None:
    found = told(tmp_path, *overrides)
    assert found[0] == path and hint in found[2], found


def test_without_a_budget_anything_goes(tmp_path: Path) -> None:
    assert config(tmp_path).error_budget is None
