"""Bounded retries around one idempotent step, with waits that grow and are never the same for two jobs.

Only failures that `core.failures` calls TRANSIENT are retried; others pass at once. Attempts and time are both bounded, and
the last failure is what a caller sees. A job that is asked to end does not wait out its backoff: the failure that it would
have waited after is raised. A step that hangs is not interrupted: its own time-outs have to end it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from jobs.core.connections import Retry
from jobs.core.failures import Kind, kind, words

T = TypeVar("T")
OnRetry = Callable[
    [str, int, float, BaseException], None
]  # dependency, attempt that failed, seconds to wait, its failure
log = logging.getLogger(__name__)


def unheard(dependency: str, attempt: int, wait_s: float, error: BaseException) -> None:
    """The hook of a caller that counts nothing."""


@dataclass(frozen=True)
class Retrier:
    """Calls a step until it succeeds, fails for good, or the bounds are reached; may be shared by threads."""

    dependency: str | Callable[[], str]  # or who is asked for its name once a failure is there
    settings: Retry
    stopping: Event
    on_retry: OnRetry = unheard
    clock: Callable[[], float] = time.monotonic

    def __call__(self, step: Callable[[], T]) -> T:
        """What the step returns. Raises what its last attempt raised."""
        ends = self.clock() + self.settings.timeout.seconds_total
        retrying = Retrying(
            retry=retry_if_exception(is_transient),
            wait=_backoff(self.settings),
            stop=lambda state: self._is_last(state, ends),
            before_sleep=self._pause,
            sleep=lambda _: None,  # _pause has waited, as only it can give up
            reraise=True,
        )
        return retrying(step)

    def _is_last(self, state: RetryCallState, ends: float) -> bool:
        late = self.clock() + state.upcoming_sleep > ends
        return late or state.attempt_number >= self.settings.attempts or self.stopping.is_set()

    def _pause(self, state: RetryCallState) -> None:
        failure = state.outcome.exception() if state.outcome else None
        assert failure is not None, "only a failure is waited after"
        attempt, wait_s = state.attempt_number, state.upcoming_sleep
        dependency = self.dependency if isinstance(self.dependency, str) else self.dependency()
        log.warning("%s: attempt %d failed, the next is in %.2f s: %s", dependency, attempt, wait_s, words(failure))
        self.on_retry(dependency, attempt, wait_s, failure)
        if self.stopping.wait(wait_s):
            raise failure


def is_transient(error: BaseException) -> bool:
    return kind(error) is Kind.TRANSIENT


def _backoff(settings: Retry) -> wait_random_exponential:
    """Anything from wait_initial to a bound that doubles from 2 * wait_initial to wait_max."""
    first = settings.wait_initial.seconds_total
    return wait_random_exponential(multiplier=2 * first, min=first, max=settings.wait_max.seconds_total)
