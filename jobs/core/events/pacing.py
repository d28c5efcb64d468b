"""When events go out: as fast as it goes, or as far apart as they are in the log's time, that many times as fast.

The pace is set by the first event that goes out. Whoever has fallen behind waits for nothing until it has caught up.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from jobs.core.events.chunks import Batch
from jobs.core.events.outgoing import SECOND_US

MOMENT_S = 0.001  # what is due within it is due
LOOK_S = 60.0  # no longer at once, as a clock may be set, and a machine put to sleep


class Pace:
    """Seconds of the log's time a second of the clock's; without a speed, all is due at once."""

    def __init__(self, speed: float | None, clock: Callable[[], float], stopping: Event) -> None:
        self.speed, self._clock, self._stopping = speed, clock, stopping
        self._start: tuple[float, int] | None = None  # of the clock, and of the log

    def wait(self, batch: Batch) -> bool:
        """Until its last event is due; False where the job is asked to end before."""
        if self._start is None:
            self._start = (self._clock(), batch.first_us)
        while (left := -self.lag_s(batch)) > MOMENT_S and not self._stopping.is_set():
            self._stopping.wait(min(left, LOOK_S))
        return not self._stopping.is_set()

    def lag_s(self, batch: Batch) -> float:
        """How long it has been due; below zero, how long it is until then."""
        if self.speed is None or self._start is None:
            return 0.0
        began, first_us = self._start
        return self._clock() - began - took_s(batch.until_us - first_us, self.speed)

    def together(self, waiting: list[Batch]) -> Batch:
        """Takes the first one, and those behind it that are due by now."""
        taken = waiting.pop(0)
        while waiting and self.lag_s(waiting[0]) >= -MOMENT_S:
            more = waiting.pop(0)
            taken = Batch(taken.first_us, more.until_us, taken.events + more.events)
        return taken


def took_s(span_us: int, speed: float) -> float:
    """Seconds of the clock that a span of the log's time takes."""
    return span_us / SECOND_US / speed
