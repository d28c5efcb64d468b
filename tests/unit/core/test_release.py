"""When what waits is tried again."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.core.release import Release

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
PATIENCE = timedelta(seconds=5)


class Case:
    """A release whose clock, reference table and records the test has in hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.version, self.waiting, self.settles, self.tried = NOON, "v1", 1, False, 0
        self.takes = timedelta()
        self.ledger = SimpleNamespace(next=0, written=lambda: -1)
        self.batch: Any = SimpleNamespace(
            in_doubt=False, ledger=self.ledger, clock=lambda: self.now, note=lambda: {"v": self.version}, parked=0
        )
        parking: Any = SimpleNamespace(
            patience=PATIENCE, waiting=self._waiting, remember_oldest=lambda _: None, reopen=lambda *_: None
        )
        self.release = Release(self.batch, parking)
        monkeypatch.setattr(self.release, "_mark", lambda: None)
        monkeypatch.setattr(self.release, "_release", self._release)

    def _waiting(self) -> Any:
        self.tried += 1
        kept = SimpleNamespace(count=lambda: self.waiting, unpersist=lambda: None)
        return SimpleNamespace(persist=lambda: kept)

    def _release(self, *_: Any) -> None:
        self.ledger.next += self.settles
        self.now += self.takes

    def tries(self, *seconds: int) -> list[int]:
        """At which of these seconds, one after the other, it is tried."""
        found = []
        for second in seconds:
            self.now, before = NOON + timedelta(seconds=second), self.tried
            self.release.tick()
            if self.tried > before:
                found.append(second)
        return found


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(monkeypatch)


def test_pauses_double_while_nothing_comes_of_it_up_to_a_bound(case: Case) -> None:
    assert case.tries(*range(20)) == [0, 1, 3, 7, 12, 17], "after 1, 2, 4 and then 5 seconds"


def test_they_are_short_again_after_a_release(case: Case) -> None:
    assert case.tries(*range(8)) == [0, 1, 3, 7]
    case.settles = True
    assert case.tries(*range(8, 15)) == [12, 13, 14]


def test_what_was_parked_since_is_tried_soon(case: Case) -> None:
    assert case.tries(*range(4)) == [0, 1, 3]
    case.batch.parked += 2
    assert case.tries(3, 4) == [4]


def test_a_release_that_takes_long_is_not_done_again_for_each_batch(case: Case) -> None:
    """While more is parked it has a tenth of the time, or as much as `wait_for` asks for."""
    case.takes = timedelta(seconds=0.3)
    found = []
    for second in range(12):
        case.batch.parked += 1
        found += case.tries(second)
    assert found == [0, 3, 6, 9], "0.3 s of each three"


def test_what_waits_after_nothing_did_is_tried_with_pauses_that_double(case: Case) -> None:
    case.waiting = 0
    assert case.tries(0) == [0]
    case.batch.parked = case.waiting = 1
    assert case.tries(*range(1, 10)) == [1, 2, 4, 8]


def test_a_newer_version_is_tried_at_once(case: Case) -> None:
    assert case.tries(0) == [0]
    case.version = "v2"
    assert case.tries(0, 0) == [0]


def test_where_nothing_waits_it_is_looked_at_rarely(case: Case) -> None:
    case.waiting = 0
    assert case.tries(*range(11)) == [0, 5, 10]
