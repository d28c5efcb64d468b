"""Retries inside, a breaker around each attempt, and patience: how a job calls a dependency that may be away.

The step has to be idempotent, as it may run any number of times. What happens, in this order:

    it succeeds                                its result is returned
    it fails with DATA or PERMANENT            the failure is raised at once
    it fails with TRANSIENT                    it is tried again after a backoff, within the bounds of `retry`
    the bounds are reached                     the breaker is opened, whatever its window says
    the breaker is open                        nothing is called until a probe is due; then `retry` begins anew

So as long as failures are transient the caller stands still, for as long as it takes: a batch that stands here commits
nothing, and its offsets do not move. Only `stopping` ends that: a backoff and an open breaker are left at once, and
StoppedWaiting is raised. An attempt that runs is not interrupted, and one that succeeds counts even then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

from jobs.core import breaker as breakers
from jobs.core import retry as retries
from jobs.core.breaker import CircuitBreaker, OnChange
from jobs.core.connections import Breaker, Retry
from jobs.core.errors import BreakerOpen, StoppedWaiting
from jobs.core.failures import words
from jobs.core.retry import OnRetry, Retrier, is_transient

T = TypeVar("T")


@dataclass(frozen=True)
class Guard:
    """Calls steps of one dependency; may be shared by threads."""

    retrier: Retrier
    breaker: CircuitBreaker

    def __call__(self, step: Callable[[], T]) -> T:
        """What the step returns. Raises its DATA and PERMANENT failures, and StoppedWaiting."""
        while True:
            try:
                return self.retrier(lambda: self.breaker.call(step))
            except BreakerOpen as failure:
                self._wait(failure.wait_s, failure.cause, failure)
            except Exception as failure:
                if not is_transient(failure):
                    raise
                self.give_up(failure)

    def give_up(self, failure: Exception) -> None:
        """The bounds of the retry are reached: opens the breaker and waits until a probe is due. Raises StoppedWaiting."""
        if not self.retrier.stopping.is_set():
            self.breaker.trip(failure)
        self._wait(self.breaker.wait_s(), words(failure), failure)

    def _wait(self, wait_s: float, cause: str, failure: Exception) -> None:
        if self.retrier.stopping.wait(wait_s):
            raise StoppedWaiting(self.breaker.dependency, cause) from failure


def guard(
    dependency: str,
    retry: Retry,
    breaker: Breaker,
    stopping: Event,
    on_retry: OnRetry = retries.unheard,
    on_change: OnChange = breakers.unheard,
    clock: Callable[[], float] = time.monotonic,
) -> Guard:
    """A guard with a breaker of its own: one for each dependency of a job."""
    retrier = Retrier(dependency, retry, stopping, on_retry, clock)
    return Guard(retrier, CircuitBreaker(dependency, breaker, on_change, clock))
