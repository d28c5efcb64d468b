from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event, Lock
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.errors import StreamingQueryException

from jobs.core import running
from jobs.core.errors import LeaseLost, Loss, SourceLost, StoppedWaiting
from jobs.core.running import Running, Tick


class Query:
    """Ends at once, with a failure or by itself."""

    def __init__(self, cause: Exception | None, before: Callable[[], object] = lambda: None) -> None:
        self._cause, self._before = cause, before
        self.commits = 0  # looks at it until it has written its own record
        self.stopped_at: int | None = None
        self.message = "Initializing sources"

    def awaitTermination(self, timeout: float) -> bool:
        self._before()
        if self._cause:
            raise StreamingQueryException("the query failed") from self._cause
        return True

    @property
    def status(self) -> dict[str, Any]:
        self.commits -= 1
        return {"isTriggerActive": self.commits >= 0, "message": self.message}

    def stop(self) -> None:
        self.stopped_at = self.commits


@dataclass
class FakeGuard:
    """Closes the source's breaker with its second call."""

    give_up: Callable[[Exception], None]
    stopping: Event = field(default_factory=Event)
    calls: int = 0

    def __call__(self, step: Callable[[], object]) -> None:
        step()
        self.calls += 1

    def state(self, dependency: str) -> str:
        return "closed" if self.calls > 1 else "half_open"


def started(
    causes: list[Exception | None],
    named: Any = lambda failure: failure,
    stops: bool = False,
    asked: bool = False,
    confirm: Callable[[], None] = lambda: None,
    ticks: Sequence[Tick] = (),
    lock: Any = None,
) -> Any:
    """A job whose queries end one after the other; `waited` has what was waited for in between."""
    waited: list[str] = []

    def give_up(failure: Exception) -> None:
        waited.append(str(failure))
        if stops:
            running.request_stop()
            raise StoppedWaiting("batch", "away")

    queries = iter([Query(cause, lambda: asked and running.request_stop()) for cause in causes])
    parts: Any = SimpleNamespace(
        batch=SimpleNamespace(looked=0),
        guard=FakeGuard(give_up),
        watch=SimpleNamespace(),
    )
    parts.batch.look_again = lambda: setattr(parts.batch, "looked", parts.batch.looked + 1)
    parts.watch.start, parts.watch.stop = lambda stopping: None, lambda: None
    lease: Any = SimpleNamespace(give_back=lambda: None, confirm=confirm)
    running = Running(parts.batch, lease, parts.guard, parts.watch, ticks, named=named)
    running._lock = lock or running._lock
    writer = SimpleNamespace(start=lambda: next(queries))
    running.begin(SimpleNamespace(foreachBatch=lambda run: writer))
    return SimpleNamespace(running=running, waited=waited, batch=parts.batch, guard=parts.guard)


def test_a_query_whose_source_was_away_is_started_again() -> None:
    job = started([TimeoutError("away"), TimeoutError("away"), None])
    assert job.running.wait(10)
    assert (len(job.waited), job.batch.looked) == (2, 2), "each time, whether a batch is in doubt"


@pytest.mark.parametrize(("causes", "calls"), [([TimeoutError("away"), None], [0, 1, 2, 2]), ([None], [0, 0, 0, 0])])
def test_a_source_that_is_back_is_heard_of_without_a_batch(causes: list[Exception | None], calls: list[int]) -> None:
    job, found = started(causes), list[int]()
    assert job.running.wait(10)
    for message in ("Initializing sources", "Waiting for data to arrive", *["Waiting for next trigger"] * 2):
        job.running.query.message = message
        job.running.hear_of_source()
        found.append(job.guard.calls)
    assert found == calls


def test_a_job_that_is_asked_to_end_meanwhile_ends() -> None:
    job = started([TimeoutError("away")], stops=True)
    assert job.running.wait(10)


def test_a_batch_that_does_not_begin_as_the_job_is_to_end_is_no_failure() -> None:
    job = started([ValueError("Stopping")], asked=True)
    assert job.running.wait(10)
    assert job.waited == []


def test_what_will_not_pass_ends_the_job() -> None:
    job = started([ValueError("odd")])
    with pytest.raises(StreamingQueryException):
        job.running.wait(10)
    assert job.waited == []


def test_what_has_a_better_name_ends_the_job_under_it() -> None:
    lost = SourceLost([Loss("t", 0, "gone")], "Do this")
    job = started([TimeoutError("away")], lambda failure: lost)
    with pytest.raises(SourceLost):
        job.running.wait(10)
    assert job.waited == []


@pytest.mark.parametrize("cause", [TimeoutError("away"), ValueError("concurrent update to the log")])
def test_whatever_spark_says_another_instance_is_the_reason_where_there_is_one(cause: Exception) -> None:
    def confirm() -> None:
        raise LeaseLost("j", "the register", "somebody")

    job = started([cause], confirm=confirm)
    with pytest.raises(LeaseLost, match="taken over by somebody"):
        job.running.wait(10)
    assert job.waited == []


def test_a_register_that_is_away_hides_no_failure() -> None:
    def confirm() -> None:
        raise OSError("the register is away")

    job = started([ValueError("odd")], confirm=confirm)
    with pytest.raises(StreamingQueryException, match="the query failed"):
        job.running.wait(10)


def test_a_stop_waits_for_sparks_own_record_of_the_batch_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    for left, limit_s in ((3, 60.0), (10_000, 0.1)):
        monkeypatch.setattr(running, "COMMIT_S", limit_s)
        job = started([None], stops=True)
        job.running.query.commits = left
        job.running.stop()
        assert (job.running.query.stopped_at < 0) is (left == 3)


class Watched:
    """A lock that says when somebody wants it."""

    def __init__(self) -> None:
        self.real, self.wanted = Lock(), Event()

    def __enter__(self) -> None:
        self.wanted.set()
        self.real.acquire()

    def __exit__(self, *_: object) -> None:
        self.real.release()


def test_nothing_ticks_once_the_job_is_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does what was waiting for the lock while that was asked for, as after a failure that ends the job."""
    lock, ticked = Watched(), [0]
    monkeypatch.setattr(running, "TICK_S", 0.01)
    with lock.real:
        job = started([None], ticks=[lambda: ticked.append(1)], lock=lock)
        assert lock.wanted.wait(10)
        job.running.request_stop()
    job.running._ticker.join(10)
    assert ticked == [0]
