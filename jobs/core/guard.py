"""Retries inside, a breaker for each dependency, and patience: how a job calls what may be away.

The step has to be idempotent, as it may run any number of times. It says with `calling` which dependency a part of it calls;
the rest calls SOURCE. What happens, in this order:

    it succeeds                                its result is returned
    it fails with DATA or PERMANENT            the failure is raised at once
    it fails with TRANSIENT                    it is tried again after a backoff, within the bounds of `retry`
    the bounds are reached                     the breaker of what failed is opened, whatever its window says
    a breaker is open                          what it guards is not called until a probe is due; then `retry` begins anew

So as long as failures are transient the caller stands still, for as long as it takes: a batch that stands here commits
nothing, and its offsets do not move. Only `stopping` ends that: a backoff and an open breaker are left at once, and
StoppedWaiting is raised. An attempt that runs is not interrupted, and one that succeeds counts even then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import TypeVar

from jobs.core import breaker as breakers
from jobs.core import retry as retries
from jobs.core.breaker import CircuitBreaker, OnChange, State
from jobs.core.connections import Breaker, Retry
from jobs.core.errors import BreakerOpen, StoppedWaiting
from jobs.core.failures import words
from jobs.core.retry import OnRetry, Retrier, is_transient

T = TypeVar("T")
Whose = Callable[[str, BaseException], str]  # the dependency that was called, and what happened: whose failure it is
SOURCE = "source"


def its_own(dependency: str, failure: BaseException) -> str:
    """Where a failure is always that of what was called."""
    return dependency


class Guard:
    """Calls steps, one at a time, that call several dependencies; each has a breaker of its own."""

    def __init__(
        self,
        retry: Retry,
        breaker: Breaker,
        stopping: Event,
        on_retry: OnRetry = retries.unheard,
        on_change: OnChange = breakers.unheard,
        clock: Callable[[], float] = time.monotonic,
        whose: Whose = its_own,
    ) -> None:
        self._retrier = Retrier(lambda: self._blamed or SOURCE, retry, stopping, on_retry, clock)
        self._make: Callable[[str], CircuitBreaker] = lambda name: CircuitBreaker(name, breaker, on_change, clock)
        self._breakers: dict[str, CircuitBreaker] = {}
        self.stopping, self._whose = stopping, whose
        self._blamed: str | None = None  # the dependency that failed in the last attempt

    def __call__(self, step: Callable[[], T]) -> T:
        """What the step returns. Raises its DATA and PERMANENT failures, and StoppedWaiting."""
        while True:
            try:
                return self._retrier(lambda: self._attempt(step))
            except BreakerOpen as failure:
                self._wait(failure.dependency, failure.wait_s, failure.cause, failure)
            except Exception as failure:
                if not is_transient(failure):
                    raise
                self.give_up(failure)

    @contextmanager
    def calling(self, dependency: str) -> Iterator[None]:
        """Around a part of a step that calls one dependency. Raises BreakerOpen while its circuit is open."""
        with self._breaker(dependency).calling(lambda failure: self._blame(dependency, failure), timed=False):
            yield

    def state(self, dependency: str) -> State:
        return self._breaker(dependency).state

    def give_up(self, failure: Exception) -> None:
        """The bounds of the retry are reached: opens the breaker and waits until a probe is due. Raises StoppedWaiting."""
        breaker = self._breaker(self._blamed or SOURCE)
        if not self.stopping.is_set():
            breaker.trip(failure)
        self._wait(breaker.dependency, breaker.wait_s(), words(failure), failure)

    def _attempt(self, step: Callable[[], T]) -> T:
        self._blamed = None
        with self.calling(SOURCE):
            return step()

    def _blame(self, dependency: str, failure: BaseException) -> bool:
        """Whether it is this one that failed: the innermost call is asked first."""
        self._blamed = self._blamed or self._whose(dependency, failure)
        return self._blamed == dependency

    def _breaker(self, dependency: str) -> CircuitBreaker:
        if dependency not in self._breakers:
            self._breakers[dependency] = self._make(dependency)
        return self._breakers[dependency]

    def _wait(self, dependency: str, wait_s: float, cause: str, failure: Exception) -> None:
        if self.stopping.wait(wait_s):
            raise StoppedWaiting(dependency, cause) from failure
