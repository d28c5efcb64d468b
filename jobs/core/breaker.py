"""A circuit breaker for one dependency: what fails too often, or answers too slowly, is left alone for a while.

    closed      every call is made; of the last `window` calls, at least `min_calls`, `failure_rate` failed, or of the timed
                ones among them `slow_rate` were slow: it opens
    open        no call is made for `open_for`; then the next one is a probe
    half_open   `probes` calls are made, as many at a time at most; all succeed: it closes with an empty window; one fails or
                is slow: it opens again

Only TRANSIENT failures count. A DATA failure is an answer: the dependency is well. Any other failure says nothing about it.
A call that began before the last change of state changes nothing when it ends. A step that never returns holds its probe.
Only a call that is timed can be slow: one that moves data takes as long as the data is large.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Literal, TypeVar

from jobs.core.connections import Breaker
from jobs.core.errors import BreakerOpen
from jobs.core.failures import Kind, kind, words

T = TypeVar("T")
State = Literal["closed", "open", "half_open"]
OnChange = Callable[[str, State, State], None]  # dependency, state before, state after
PROBING_S = 0.1  # when to ask again while all probes are out
log = logging.getLogger(__name__)


def unheard(dependency: str, before: State, after: State) -> None:
    """The hook of a caller that counts nothing."""


class CircuitBreaker:
    """One for each dependency of a job, kept as long as the job; may be shared by threads."""

    def __init__(
        self,
        dependency: str,
        settings: Breaker,
        on_change: OnChange = unheard,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_change` is called under the lock: it must be quick and must not call back."""
        self.dependency, self._settings, self._on_change, self._clock = dependency, settings, on_change, clock
        self._lock = Lock()
        self._state: State = "closed"
        self._changes = 0  # of state; a call that began under another number is of no account
        self._calls: deque[tuple[bool, bool | None]] = deque(maxlen=settings.window)  # failed, slow if timed
        self._due = 0.0  # when an open circuit takes a probe
        self._out = self._passed = 0  # probes
        self._cause = ""  # why it is open

    @property
    def state(self) -> State:
        """As the last call left it: an open circuit turns half open with its first probe."""
        return self._state

    def wait_s(self) -> float:
        """Seconds until a call may be made; 0 where it may be now."""
        with self._lock:
            return self._wait_s()

    def trip(self, failure: BaseException) -> None:
        """Opens it, whatever the window says: a caller has tried as often as it may."""
        with self._lock:
            self._open(words(failure))

    def call(self, step: Callable[[], T], timed: bool = True) -> T:
        """What the step returns or raises. Raises BreakerOpen, without calling it, while the circuit is open."""
        with self.calling(lambda failure: True, timed):
            return step()

    @contextmanager
    def calling(self, blames: Callable[[BaseException], bool], timed: bool) -> Iterator[None]:
        """Around a call, whose failure may be another dependency's: it `blames` this one, or says nothing about it.

        Raises BreakerOpen while the circuit is open.
        """
        change, began = self._admit(), self._clock()
        try:
            yield
        except BaseException as failure:
            said = kind(failure) if blames(failure) else Kind.PERMANENT
            self._end(change, began, failure, said, timed)
            raise
        self._end(change, began, None, None, timed)

    def _admit(self) -> int:
        with self._lock:
            wait_s = self._wait_s()
            if wait_s > 0:
                raise BreakerOpen(self.dependency, wait_s, self._cause)
            if self._state == "open":
                self._change("half_open")
            self._out += self._state == "half_open"
            return self._changes

    def _wait_s(self) -> float:
        if self._state == "open":
            return max(0.0, self._due - self._clock())
        is_full = self._state == "half_open" and self._out + self._passed >= self._settings.probes
        return PROBING_S if is_full else 0.0

    def _end(self, change: int, began: float, failure: BaseException | None, said: Kind | None, timed: bool) -> None:
        took = self._clock() - began if timed else None
        with self._lock:
            if change != self._changes:
                return
            self._out -= self._state == "half_open"
            if said is not Kind.PERMANENT:
                self._count(failure if said is Kind.TRANSIENT else None, took)

    def _count(self, failure: BaseException | None, took: float | None) -> None:
        slow = None if took is None else took > self._settings.slow_call.seconds_total
        self._calls.append((failure is not None, slow))
        opens = self._is_bad() if self._state == "closed" else failure is not None or bool(slow)
        if opens:
            self._open(words(failure) if failure else self._said(took))
        elif self._state == "half_open":
            self._pass()

    def _said(self, took: float | None) -> str:
        """Why it opens with a call that did not fail: it was slow, or those before it weigh more than it does."""
        if took is not None and took > self._settings.slow_call.seconds_total:
            return f"a call took {took:.1f} s"
        return f"{sum(failed or bool(slow) for failed, slow in self._calls)} of {len(self._calls)} calls failed or were slow"

    def _is_bad(self) -> bool:
        failed, slow = zip(*self._calls)
        timed = [one for one in slow if one is not None]
        return self._reaches(failed, self._settings.failure_rate) or self._reaches(timed, self._settings.slow_rate)

    def _reaches(self, calls: Sequence[bool], rate: float) -> bool:
        return len(calls) >= self._settings.min_calls and sum(calls) / len(calls) >= rate

    def _open(self, cause: str) -> None:
        self._cause, self._due = cause, self._clock() + self._settings.open_for.seconds_total
        self._change("open")

    def _pass(self) -> None:
        self._passed += 1
        if self._passed == self._settings.probes:
            self._change("closed")

    def _change(self, after: State) -> None:
        before, self._state = self._state, after
        self._changes += 1
        self._calls.clear()
        self._out = self._passed = 0
        if before != after:
            why = f": {self._cause}" if after == "open" else ""
            log.warning("%s: circuit %s, it was %s%s", self.dependency, after, before, why)
            self._on_change(self.dependency, before, after)
