"""Time that passes only when it is told to."""

from __future__ import annotations

from threading import Event


class Clock:
    """Seconds of a clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Waits(Event):
    """A stop request whose waits take no time: they move the clock, and are kept; one may be interrupted."""

    def __init__(self, clock: Clock, interrupted: int | None = None) -> None:
        super().__init__()
        self.clock, self.interrupted = clock, interrupted
        self.waited: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None, "a wait has a bound"
        self.waited.append(timeout)
        if len(self.waited) == self.interrupted:
            self.set()
        if not self.is_set():
            self.clock.now += timeout
        return self.is_set()


class Step:
    """Does what it is told, one call after another: takes time, and raises or returns."""

    def __init__(self, clock: Clock, *outcomes: BaseException | str, took: float = 0.0) -> None:
        self._clock, self._outcomes, self._took = clock, list(outcomes), took
        self.began: list[float] = []

    def __call__(self) -> str:
        self.began.append(self._clock.now)
        self._clock.now += self._took
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome
