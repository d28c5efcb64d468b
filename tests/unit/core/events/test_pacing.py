from __future__ import annotations

import pytest
from _clocks import Clock, Waits

from jobs.core.events.chunks import Batch
from jobs.core.events.pacing import Pace, took_s

FIRST = Batch(10_000_000, 10_500_000, 3)


def later(seconds: float, events: int = 1) -> Batch:
    """Due so long after the first event of FIRST."""
    at = 10_000_000 + round(seconds * 1_000_000)
    return Batch(at, at, events)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_events_are_as_far_apart_as_in_the_log_by_the_speed(clock: Clock) -> None:
    stopping = Waits(clock)
    pace = Pace(10, clock, stopping)
    assert all(pace.wait(batch) for batch in (FIRST, later(20), later(20), later(60)))
    assert stopping.waited == pytest.approx([0.05, 1.95, 4])
    assert clock.now == pytest.approx(1_006)


def test_a_slow_pace_is_one_too(clock: Clock) -> None:
    stopping = Waits(clock)
    assert Pace(0.5, clock, stopping).wait(FIRST)
    assert stopping.waited == [1.0]
    assert took_s(3_000_000, 0.5) == 6


def test_at_full_speed_nothing_is_waited_for_and_all_goes_together(clock: Clock) -> None:
    stopping = Waits(clock)
    pace, waiting = Pace(None, clock, stopping), [FIRST, later(20), later(1e9, 5)]
    assert pace.wait(waiting[0])
    assert (pace.together(waiting), waiting, stopping.waited) == (Batch(10_000_000, later(1e9).until_us, 9), [], [])


def test_what_is_late_goes_together_and_nothing_before_its_time(clock: Clock) -> None:
    pace, waiting = Pace(1, clock, Waits(clock)), [later(0), later(2), later(3), later(9)]
    assert pace.wait(waiting[0])
    assert pace.together(waiting) == later(0)
    clock.now += 4
    assert pace.lag_s(waiting[0]) == pytest.approx(2)
    assert pace.wait(waiting[0])
    assert pace.together(waiting) == Batch(later(2).first_us, later(3).until_us, 2)
    assert waiting == [later(9)]


def test_a_long_wait_looks_at_the_clock_again(clock: Clock) -> None:
    stopping = Waits(clock)
    pace = Pace(1, clock, stopping)
    assert pace.wait(later(0)) and pace.wait(later(150))
    assert stopping.waited == [60, 60, 30]


def test_a_wait_ends_where_the_job_is_asked_to(clock: Clock) -> None:
    stopping = Waits(clock, interrupted=2)
    pace = Pace(1, clock, stopping)
    assert pace.wait(later(0)) and not pace.wait(later(1_000))
    assert clock.now == 1_060
    assert not pace.wait(later(0)), "nothing begins any more, late as it is"
