"""Retries and a breaker together: stand still while a dependency is away, and no longer than the job is wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from _clocks import Clock, Step, Waits

from jobs.core.connections import Breaker, Retry
from jobs.core.errors import BreakerOpen, StoppedWaiting
from jobs.core.failures import SinkFailure
from jobs.core.guard import Guard, Whose, its_own

GONE = ConnectionRefusedError("refused")
ROW = SinkFailure("23502", "NotNullViolation")
BUG = ValueError("bug")


class Job:
    """A guard on a clock that moves only while it waits, and what it told."""

    def __init__(
        self, interrupted: int | None = None, attempts: int = 3, whose: Whose = its_own, **breaker: Any
    ) -> None:
        self.clock = Clock()
        self.stopping = Waits(self.clock, interrupted)
        self.changes: list[str] = []
        self.told: list[tuple[str, str]] = []
        self.retries: list[int] = []
        self.retried: list[str] = []
        self.guard = Guard(
            Retry.model_validate({"attempts": attempts}),
            Breaker.model_validate({"open_for": "30s", "probes": 1, **breaker}),
            self.stopping,
            self._retries,
            self._changes,
            self.clock,
            whose,
        )

    def _retries(self, dependency: str, attempt: int, wait_s: float, error: BaseException) -> None:
        self.retries.append(attempt)
        self.retried.append(dependency)

    def _changes(self, dependency: str, before: str, after: str) -> None:
        self.changes.append(after)
        self.told.append((dependency, after))

    def step(self, *outcomes: BaseException | str) -> Step:
        return Step(self.clock, *outcomes)


def test_a_blip_is_retried_and_opens_nothing() -> None:
    job = Job()
    assert job.guard(job.step(GONE, "done")) == "done"
    assert (job.retries, job.changes) == ([1], [])


@pytest.mark.parametrize("failure", [ROW, BUG])
def test_what_is_not_the_dependencys_fault_passes_at_once(failure: Exception) -> None:
    job = Job()
    with pytest.raises(type(failure)):
        job.guard(job.step(failure))
    assert (job.stopping.waited, job.changes) == ([], [])


def test_a_retry_that_gives_up_opens_the_breaker_and_waits_for_the_probe() -> None:
    job = Job(attempts=3)
    step = job.step(*[GONE] * 3, "done")
    for _ in range(20):
        job.guard(job.step("well"))
    assert job.guard(step) == "done"
    assert (len(step.began), job.stopping.waited[-1]) == (4, pytest.approx(30))
    assert job.changes == ["open", "half_open", "closed"]


def test_it_stands_still_for_as_long_as_it_takes() -> None:
    job = Job(attempts=3)
    step = job.step(*[GONE] * 3, *[GONE] * 100, "done")
    began = job.clock.now
    assert job.guard(step) == "done"
    assert len(step.began) == 104
    assert 101 * 30 <= job.clock.now - began < 101 * 30 + 5
    assert job.changes == ["open", *["half_open", "open"] * 100, "half_open", "closed"]


def test_between_probes_the_dependency_is_left_alone() -> None:
    job = Job(attempts=3)
    step = job.step(*[GONE] * 5, "done")
    job.guard(step)
    gaps = [later - earlier for earlier, later in zip(step.began[2:], step.began[3:])]
    assert gaps == pytest.approx([30, 30, 30])


def test_a_breaker_that_opens_between_attempts_ends_the_retry() -> None:
    job = Job(attempts=9, min_calls=2, window=2)
    step = job.step(GONE, GONE, "done")
    assert job.guard(step) == "done"
    assert step.began[2] - step.began[1] >= 30 - 1e-6  # the clock is a sum of fractions


def test_the_probe_that_fails_for_good_says_so() -> None:
    job = Job(attempts=1)
    with pytest.raises(SinkFailure):
        job.guard(job.step(GONE, ROW))
    assert job.changes == ["open", "half_open", "closed"]


@pytest.mark.parametrize("interrupted", [1, 2, 3, 4])
def test_a_job_that_is_to_end_stops_waiting(interrupted: int) -> None:
    job = Job(interrupted, attempts=3)  # the first two waits are backoffs
    step = job.step(*[GONE] * 9)
    with pytest.raises(StoppedWaiting) as stopped:
        job.guard(step)
    assert str(stopped.value) == "ended as asked, waiting for source: ConnectionRefusedError: refused"
    assert (stopped.value.exit_code, stopped.value.dependency) == (0, "source")
    assert len(step.began) == interrupted
    assert job.changes == ([] if interrupted < 3 else ["open", *["half_open", "open"] * (interrupted - 3)])


def test_a_job_that_is_to_end_still_ends_its_batch() -> None:
    job = Job()
    job.stopping.set()
    assert job.guard(job.step("done")) == "done"
    with pytest.raises(SinkFailure):
        job.guard(job.step(ROW))
    with pytest.raises(StoppedWaiting):
        job.guard(job.step(GONE))
    assert job.changes == []


def test_a_breaker_within_is_waited_for_by_its_own_time() -> None:
    job = Job()
    inner = BreakerOpen("Kafka", 12.5, "gone")
    assert job.guard(job.step(inner, "done")) == "done"
    assert job.stopping.waited == [12.5]


def writing(job: Job, sink: Step) -> Callable[[], str]:
    """A step that calls the sink."""

    def step() -> str:
        with job.guard.calling("sink"):
            return sink()

    return step


def test_only_the_breaker_of_what_failed_opens() -> None:
    job = Job(attempts=3)
    sink = job.step(*[GONE] * 4, "done")
    assert job.guard(writing(job, sink)) == "done"
    assert job.told == [
        ("sink", "open"),
        ("sink", "half_open"),
        ("sink", "open"),
        ("sink", "half_open"),
        ("sink", "closed"),
    ]
    assert (set(job.retried), job.guard.state("source"), job.guard.state("sink")) == ({"sink"}, "closed", "closed")
    gaps = [later - earlier for earlier, later in zip(sink.began[2:], sink.began[3:])]
    assert gaps == pytest.approx([30, 30]), "while it is open it is not called"


def test_a_failure_counts_for_whose_it_is() -> None:
    job = Job(attempts=2, whose=lambda called, failure: "source")
    assert job.guard(writing(job, job.step(GONE, GONE, "done"))) == "done"
    assert job.told == [("source", "open"), ("source", "half_open"), ("source", "closed")]
    assert job.retried == ["source"]


def test_who_waits_for_a_dependency_says_so() -> None:
    job = Job(interrupted=3, attempts=3)
    with pytest.raises(StoppedWaiting) as stopped:
        job.guard(writing(job, job.step(*[GONE] * 9)))
    assert stopped.value.dependency == "sink"


def test_what_fails_apart_from_any_attempt_is_the_source() -> None:
    job = Job(attempts=1)
    job.guard(writing(job, job.step(GONE, "done")))
    job.told.clear()
    job.guard.give_up(GONE)
    assert job.told == [("source", "open")]


def test_no_call_of_a_batch_is_slow() -> None:
    job = Job(min_calls=1, slow_call="1s", slow_rate=0.1)
    job.guard(Step(job.clock, "done", took=3600))
    assert job.changes == []
