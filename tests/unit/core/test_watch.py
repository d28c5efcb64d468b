"""What the watch makes of the events of queries, and what it knows of a job, without Spark."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from _configs import config

from jobs.core.health import State
from jobs.core.metrics import Metrics
from jobs.core.reference import Status
from jobs.core.watch import Listener, Watch
from jobs.core.watched import Watched

AT = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Clock:
    """A second later at each look."""

    def __init__(self) -> None:
        self.now = AT

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def event(run: str, name: str = "enrich") -> Any:
    return SimpleNamespace(runId=run, name=name, progress=SimpleNamespace(runId=run, durationMs={"addBatch": 5}))


def watched(tmp_path: Path, reference: Callable[[], Status] | None = None, *sets: str) -> tuple[Watch, Metrics]:
    metrics = Metrics("enrich", Clock())
    nothing: Any = None
    tables = {"reference": reference} if reference else {}
    return Watch(nothing, config(tmp_path, *sets), metrics, nothing, Clock(), Watched(tables)), metrics


def test_a_query_is_alive_from_its_start_to_its_end() -> None:
    listener = Listener("enrich", Metrics("enrich", Clock()))
    assert not listener.alive
    listener.onQueryStarted(event("other", "other"))
    assert not listener.alive
    listener.onQueryStarted(event("mine"))
    listener.onQueryTerminated(event("other"))
    assert listener.alive
    listener.onQueryTerminated(event("mine"))
    assert not listener.alive


@pytest.mark.parametrize("happened", ["onQueryProgress", "onQueryIdle"])
def test_only_its_own_query_makes_progress(happened: str) -> None:
    metrics = Metrics("enrich", Clock())
    listener = Listener("enrich", metrics)
    listener.onQueryStarted(event("mine"))
    begun = metrics.progress_at
    getattr(listener, happened)(event("other"))
    assert metrics.progress_at == begun
    getattr(listener, happened)(event("mine"))
    assert metrics.progress_at == begun + timedelta(seconds=1)


def test_what_is_known_of_a_job(tmp_path: Path) -> None:
    status = Status("v1", 61.0, 60.0, 0)
    watch, metrics = watched(tmp_path, lambda: status)
    assert watch.state().lag is None
    metrics.lag.begins([{"orders": {"0": 2, "1": 0}}])
    metrics.lag.ends({"orders": {0: (0, 5), 1: (0, 4)}})
    metrics.breaker("postgres", "open")
    stale = "reference is 61 s old, 60 s are allowed"
    assert watch.state() == State(AT + timedelta(seconds=1), 7, ["postgres"], stale, alive=False, stopping=False)
    status = Status("v2", 60.0, 60.0, 0)
    assert watch.state().stale is None


def test_a_job_without_a_reference_table_has_none_that_is_stale(tmp_path: Path) -> None:
    assert watched(tmp_path)[0].state().stale is None


def test_nothing_runs_where_there_is_no_port(tmp_path: Path) -> None:
    watch, _ = watched(tmp_path)  # there is no session either that could be listened to
    watch.start(lambda: False)
    assert watch.url is None
    watch.stop()
