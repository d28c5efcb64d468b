"""The error budget: how many records of a job may become dead letters within a window of time.

    spent     more than `count` dead letters, or more than `share` of the records read, once there are `min_records` of them
    stop      the batch that spends it is committed as a whole, dead letters and ledger; then the job ends with BudgetSpent
    alert     a warning each time it is spent anew, and a metric as long as it is; the job goes on, and is ready
It is counted by what the ledger is told, so a batch that is tried again counts once. The window begins with the run: a job that
was started again goes on, and ends again only for what it has read itself.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from jobs.core.errors import BudgetSpent
from jobs.core.ledger import Entry
from jobs.core.monitoring import ErrorBudget

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Told:
    """One record of the ledger."""

    at: float
    read: int
    bad: int
    reasons: dict[str, int]


def unheard(is_spent: bool) -> None:
    """For a budget that nobody listens to."""


class Budget:
    """Counts the ledger's records of the last `window`."""

    def __init__(
        self,
        job: str,
        allowed: ErrorBudget,
        on_change: Callable[[bool], None] = unheard,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job, self._allowed, self._on_change, self._clock = job, allowed, on_change, clock
        self._window: deque[Told] = deque()
        self._spent = False

    def told(self, entry: Entry) -> None:
        """Of a record, once it is written."""
        self._window.append(Told(self._clock(), entry.counts.read, sum(entry.reasons.values()), entry.reasons))

    def check(self) -> None:
        """Raises BudgetSpent where the job has to stop; otherwise says so once."""
        spent = self._over()
        if spent is not None and self._allowed.then == "stop":
            raise spent
        if spent is not None and not self._spent:
            log.warning("%s", spent)
        if self._spent is not (spent is not None):
            self._spent = spent is not None
            self._on_change(self._spent)

    def _over(self) -> BudgetSpent | None:
        self._forget()
        read, bad = sum(told.read for told in self._window), sum(told.bad for told in self._window)
        limit = self._limit(read, bad)
        if limit is None:
            return None
        reasons: Counter[str] = Counter()
        for told in self._window:
            reasons.update(told.reasons)
        return BudgetSpent(self._job, limit, str(self._allowed.window), read, bad, dict(reasons.most_common()))

    def _limit(self, read: int, bad: int) -> str | None:
        """The limit that is passed, as the config has it."""
        count, share = self._allowed.count, self._allowed.share
        if count is not None and bad > count:
            return f"error_budget.count: {count}"
        if share is not None and read >= self._allowed.min_records and bad > share * read:
            return f"error_budget.share: {share:g}"
        return None

    def _forget(self) -> None:
        oldest = self._clock() - self._allowed.window.seconds_total
        while self._window and self._window[0].at < oldest:
            self._window.popleft()
