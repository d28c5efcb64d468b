"""What a running job tells Prometheus, in a registry of its own; the names and their meaning are in the README.

Values come in by plain calls, at any time and from any thread. Counters begin at 0 with the process; what holds beyond
one process is in the ledger. Labels are job, topic, partition and closed lists of words: nothing out of a record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import datetime
from time import perf_counter

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from jobs.core.breaker import State
from jobs.core.lag import Lag
from jobs.core.ledger import Counts, Entry
from jobs.core.reasons import Reason
from jobs.core.watched import Shown, Watched

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
LEFT = {"parked": "released", "joining": "joined"}  # counts of a ledger that go down, and what that is called
BREAKER: dict[State, int] = {"closed": 0, "half_open": 1, "open": 2}


class Metrics:
    """Counts, times and states of one job."""

    def __init__(self, job: str, clock: Callable[[], datetime]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside each that only says when it began
        self.job, self._clock = job, clock
        self.registry = CollectorRegistry()
        self.lag = Lag(job)
        self.registry.register(self.lag)
        ProcessCollector(registry=self.registry)
        self._told: dict[str, State] = {}
        self._asked: dict[str, Callable[[], State]] = {}
        self._define()
        self._begin_at_zero()
        self.idle()

    def _define(self) -> None:
        own = self.registry
        self._records = Counter(
            "patterns_records", "Records of the ledger by outcome.", ["job", "outcome"], registry=own
        )
        self._dead = Counter("patterns_dead_letters", "Dead letters by reason.", ["job", "reason"], registry=own)
        self._batches = Counter("patterns_batches", "Batches in the ledger.", ["job"], registry=own)
        text = "Time of a batch's phases, Spark's own and the job's."
        self._phases = Histogram(
            "patterns_batch_duration_seconds", text, ["job", "phase"], buckets=SECONDS, registry=own
        )
        self._retries = Counter(
            "patterns_retries", "Attempts after a failure that may pass.", ["job", "dependency"], registry=own
        )
        text = "Circuit breaker: 0 closed, 1 half-open, 2 open."
        self._breaker = Gauge("patterns_breaker_state", text, ["job", "dependency"], registry=own)
        text = "Error budget: 1 while it is spent, else 0."
        self._budget = Gauge("patterns_error_budget_spent", text, ["job"], registry=own)
        text = "When the query last ended a batch, or said that there was nothing to do."
        self._progress = Gauge("patterns_last_progress_timestamp_seconds", text, ["job"], registry=own)

    def _begin_at_zero(self) -> None:
        """What may be counted is there before it happens, so that a first time is an increase."""
        for outcome in [*(field.name for field in fields(Counts)), *LEFT.values()]:
            self._records.labels(self.job, outcome)
        for reason in Reason:
            self._dead.labels(self.job, reason.value)
        self._batches.labels(self.job)

    def batch(self, entry: Entry) -> None:
        """One record of the ledger, of a batch or of a release."""
        for name, count in {**asdict(entry.counts), "dead_letters": entry.counts.letters}.items():
            self._records.labels(self.job, name if count >= 0 else LEFT[name]).inc(abs(count))
        for reason, count in entry.reasons.items():
            self._dead.labels(self.job, reason).inc(count)
        if entry.kind == "batch":
            self._batches.labels(self.job).inc()
            self.resumed(entry)
            self.idle()

    def resumed(self, entry: Entry) -> None:
        """The last batch in the ledger, which this process need not have written."""
        self.lag.reached(entry.end)

    def progress(self, duration_ms: Mapping[str, float]) -> None:
        """A batch has ended; its phases as Spark names them (`StreamingQueryProgress.durationMs`)."""
        for phase, milliseconds in duration_ms.items():
            self.took(phase, milliseconds / 1_000)
        self.idle()

    def idle(self) -> None:
        """The query is alive, whether or not there was anything to do."""
        self.progress_at = self._clock()
        self._progress.labels(self.job).set(self.progress_at.timestamp())

    def took(self, phase: str, seconds: float) -> None:
        self._phases.labels(self.job, phase).observe(seconds)

    @contextmanager
    def phase(self, name: str, timer: Callable[[], float] = perf_counter) -> Iterator[None]:
        """Times what is done in it, also where that fails."""
        began = timer()
        try:
            yield
        finally:
            self.took(name, timer() - began)

    def retried(self, dependency: str) -> None:
        self._retries.labels(self.job, dependency).inc()

    def breaker(self, dependency: str, state: State) -> None:
        self._told[dependency] = state
        self._show(dependency)

    def budget(self, is_spent: bool) -> None:
        """Of the error budget."""
        self._budget.labels(self.job).set(int(is_spent))

    @property
    def open_breakers(self) -> list[str]:
        """Dependencies whose breaker is open, by name."""
        return sorted(name for name in {*self._told.copy(), *self._asked} if self._state(name) == "open")

    def watch(self, watched: Watched) -> None:
        """From now on each scrape asks for their status."""
        for dependency, ask in watched.breakers().items():
            self._asked[dependency] = ask
            self._show(dependency)
        self.registry.register(Shown(self.job, watched))

    def _show(self, dependency: str) -> None:
        self._breaker.labels(self.job, dependency).set_function(lambda: BREAKER[self._state(dependency)])

    def _state(self, dependency: str) -> State:
        """The worse one, where a dependency is called by batches and has a breaker of its own, too."""
        asked = self._asked.get(dependency)
        return max(
            self._told.get(dependency, "closed"), asked() if asked else "closed", key=lambda state: BREAKER[state]
        )
