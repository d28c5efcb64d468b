"""What a job has beside its source, to be looked at while it runs: tables that it loads, and services that it asks by key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from jobs.core.breaker import State
from jobs.core.reference import Status

STATES = ("fresh", "cached", "stale", "missed", "unfit", "failed")  # of a key's answer (`core.enrichment.asking`)


@dataclass(frozen=True)
class LookupStatus:
    """What can be told of a lookup at one moment; counts are since the start."""

    breaker: State
    keys: Mapping[str, int]  # by what became of them
    calls: int
    calls_s: float  # time that they took, all together
    age_s: float  # of the oldest answer that the last batch used


@dataclass(frozen=True)
class Watched:
    """Each by a name of its own."""

    tables: Mapping[str, Callable[[], Status]] = field(default_factory=dict)
    lookups: Mapping[str, Callable[[], LookupStatus]] = field(default_factory=dict)

    def breakers(self) -> dict[str, Callable[[], State]]:
        asked: dict[str, Callable[[], Status | LookupStatus]] = {**self.tables, **self.lookups}
        return {name: partial(_breaker, status) for name, status in asked.items()}

    def stale(self) -> str | None:
        """Which tables are older than they may be, and how old."""
        found = {name: status() for name, status in self.tables.items()}
        said = [f"{name} is {s.age_s:.0f} s old, {s.limit_s:.0f} s are allowed" for name, s in found.items() if s.stale]
        return "; ".join(said) or None


def _breaker(status: Callable[[], Status | LookupStatus]) -> State:
    return status().breaker


@dataclass(eq=False)  # a registry knows it by itself
class Shown(Collector):
    """What is watched, as it is at the time of a scrape."""

    job: str
    watched: Watched

    def collect(self) -> Iterable[Metric]:
        if self.watched.tables:
            yield from self._tables()
        if self.watched.lookups:
            yield from self._lookups()

    def _tables(self) -> list[Metric]:
        labels, prefix = ["job", "table"], "patterns_reference"
        version = InfoMetricFamily(f"{prefix}_version", "Version of a reference table.", labels=labels)
        text = "Seconds since the version was last known to be current."
        age = GaugeMetricFamily(f"{prefix}_age_seconds", text, labels=labels)
        text = "Versions of a reference table that were not taken."
        rejected = CounterMetricFamily(f"{prefix}_rejected", text, labels=labels)
        for name, ask in self.watched.tables.items():
            status, named = ask(), [self.job, name]
            version.add_metric(named, {"version": status.version})
            age.add_metric(named, status.age_s)
            rejected.add_metric(named, status.rejected)
        return [version, age, rejected]

    def _lookups(self) -> list[Metric]:
        labels, prefix = ["job", "lookup"], "patterns_lookup"
        text = "Distinct keys of batches, by what became of them."
        keys = CounterMetricFamily(f"{prefix}_keys", text, labels=[*labels, "state"])
        calls = CounterMetricFamily(f"{prefix}_calls", "Calls of a lookup's service.", labels=labels)
        took = CounterMetricFamily(f"{prefix}_calls_seconds", "Time that they took, all together.", labels=labels)
        age = GaugeMetricFamily(
            f"{prefix}_age_seconds", "Age of the oldest answer that the last batch used.", labels=labels
        )
        for name, ask in self.watched.lookups.items():
            status, named = ask(), [self.job, name]
            for state in STATES:
                keys.add_metric([*named, state], status.keys.get(state, 0))
            calls.add_metric(named, status.calls)
            took.add_metric(named, status.calls_s)
            age.add_metric(named, status.age_s)
        return [keys, calls, took, age]
