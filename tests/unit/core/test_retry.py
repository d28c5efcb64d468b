"""Retries: of transient failures only, within attempts and time, and not a moment longer than the job is wanted."""

from __future__ import annotations

import logging

import pytest
from _clocks import Clock, Step, Waits
from hypothesis import given
from hypothesis import strategies as st

from jobs.core.connections import Retry
from jobs.core.failures import SinkFailure
from jobs.core.retry import Retrier

GONE = ConnectionRefusedError("refused")
ROW = SinkFailure("23502", "NotNullViolation")
BUG = ValueError("bug")


def retrier(clock: Clock, stopping: Waits, **settings: object) -> Retrier:
    return Retrier("PostgreSQL", Retry.model_validate(settings), stopping, clock=clock)


def test_a_step_that_succeeds_runs_once() -> None:
    clock = Clock()
    stopping, step = Waits(clock), Step(clock, "done")
    assert retrier(clock, stopping)(step) == "done"
    assert (len(step.began), stopping.waited) == (1, [])


def test_a_failure_that_passes_is_waited_for() -> None:
    clock = Clock()
    stopping, step = Waits(clock), Step(clock, GONE, GONE, "done")
    assert retrier(clock, stopping)(step) == "done"
    assert (len(step.began), len(stopping.waited)) == (3, 2)


@pytest.mark.parametrize("failure", [ROW, BUG, KeyboardInterrupt()])
def test_other_failures_pass_at_once(failure: BaseException) -> None:
    clock = Clock()
    stopping, step = Waits(clock), Step(clock, failure)
    with pytest.raises(type(failure)) as raised:
        retrier(clock, stopping)(step)
    assert (raised.value is failure, stopping.waited) == (True, [])


def test_a_failure_that_changes_its_kind_passes_at_once() -> None:
    clock = Clock()
    stopping, step = Waits(clock), Step(clock, GONE, ROW)
    with pytest.raises(SinkFailure):
        retrier(clock, stopping)(step)
    assert len(stopping.waited) == 1


def test_the_last_failure_is_raised_after_the_last_attempt() -> None:
    clock = Clock()
    last = TimeoutError("late")
    stopping, step = Waits(clock), Step(clock, GONE, GONE, last)
    with pytest.raises(TimeoutError) as raised:
        retrier(clock, stopping, attempts=3)(step)
    assert raised.value is last
    assert (len(step.began), len(stopping.waited)) == (3, 2)


def test_no_attempt_begins_after_the_timeout() -> None:
    clock = Clock()
    stopping, step = Waits(clock), Step(clock, *[GONE] * 9, took=9.0)
    with pytest.raises(ConnectionRefusedError):
        retrier(clock, stopping, attempts=9, wait_initial="1s", wait_max="1s", timeout="30s")(step)
    assert [began - 1_000 for began in step.began] == [0, 10, 20, 30]


def test_waits_grow_between_their_bounds() -> None:
    bounds = [(0.2, 0.4), (0.2, 0.8), (0.2, 1.6), (0.2, 3.0), (0.2, 3.0)]
    seen = []
    for _ in range(80):
        clock = Clock()
        stopping = Waits(clock)
        retrier(clock, stopping, attempts=6, wait_max="3s")(Step(clock, *[GONE] * 5, "done"))
        seen.append(stopping.waited)
    for (low, high), waits in zip(bounds, zip(*seen)):
        assert low <= min(waits) < low + (high - low) / 4
        assert high - (high - low) / 4 < max(waits) <= high


def test_a_job_that_ends_does_not_wait_out_its_backoff() -> None:
    clock = Clock()
    stopping, step = Waits(clock, interrupted=2), Step(clock, GONE, GONE, "not reached")
    with pytest.raises(ConnectionRefusedError):
        retrier(clock, stopping)(step)
    assert (len(step.began), len(stopping.waited)) == (2, 2)


def test_a_job_that_was_to_end_before_tries_once_and_tells_of_no_retry() -> None:
    clock = Clock()
    stopping, step, told = Waits(clock), Step(clock, GONE, "not reached"), []
    stopping.set()
    with pytest.raises(ConnectionRefusedError):
        Retrier("Kafka", Retry(), stopping, lambda *args: told.append(args), clock)(step)
    assert (len(step.began), stopping.waited, told) == (1, [], [])


def test_each_retry_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    stopping, told = Waits(clock), []
    with caplog.at_level(logging.WARNING):
        Retrier("Kafka", Retry(), stopping, lambda *args: told.append(args), clock)(Step(clock, GONE, GONE, "done"))
    first, second = stopping.waited
    assert told == [("Kafka", 1, first, GONE), ("Kafka", 2, second, GONE)]
    said = "Kafka: attempt {} failed, the next is in {:.2f} s: ConnectionRefusedError: refused"
    assert [record.message for record in caplog.records] == [said.format(1, first), said.format(2, second)]


def test_one_retrier_serves_many_steps() -> None:
    clock = Clock()
    once = retrier(clock, Waits(clock), attempts=2)
    assert [once(Step(clock, GONE, "a")), once(Step(clock, GONE, "b"))] == ["a", "b"]


@given(
    attempts=st.integers(1, 12),
    waits=st.lists(st.integers(1, 60_000), min_size=3, max_size=3).map(sorted),
    took=st.floats(0, 20),
)
def test_attempts_and_time_are_bounded(attempts: int, waits: list[int], took: float) -> None:
    initial, longest, timeout = waits
    clock = Clock()
    stopping, step = Waits(clock), Step(clock, *[GONE] * attempts, took=took)
    with pytest.raises(ConnectionRefusedError):
        retrier(
            clock,
            stopping,
            attempts=attempts,
            wait_initial=f"{initial}ms",
            wait_max=f"{longest}ms",
            timeout=f"{timeout}ms",
        )(step)
    assert len(step.began) <= attempts
    assert step.began[-1] - step.began[0] <= timeout / 1_000 + 1e-6
    assert all(initial / 1_000 - 1e-9 <= wait <= longest / 1_000 + 1e-9 for wait in stopping.waited)
