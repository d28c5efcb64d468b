"""What a lookup did between two scrapes of its job's metrics: text in, plain values out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from jobs.core.breaker import State
from jobs.core.metrics import BREAKER
from jobs.core.watched import STATES

LIMIT_S = 10
STATE_OF: dict[float, State] = {number: state for state, number in BREAKER.items()}


class Asked(NamedTuple):
    """Of one lookup, between two scrapes, but for its breaker, which is as the second one found it."""

    keys: Mapping[str, int]  # by what became of them
    calls: int
    seconds: float  # that they took, all together
    breaker: State

    @property
    def call_ms(self) -> float:
        """Of one call, as a mean; none where none was made."""
        return 1_000 * self.seconds / self.calls if self.calls else 0.0

    def percent(self, state: str) -> float:
        """Of the keys; none where there were none."""
        every = sum(self.keys.values())
        return 100 * self.keys.get(state, 0) / every if every else 0.0


def scrape(url: str | None) -> str:
    """All metrics of the job that is watched at this URL."""
    with urlopen(f"{url}/metrics", timeout=LIMIT_S) as answer:
        return str(answer.read().decode())


def value(text: str, name: str, **labels: str) -> float:
    """Of one series, known by these of its labels. Raises KeyError where there is none."""
    for sample in (sample for family in text_string_to_metric_families(text) for sample in family.samples):
        if sample.name == name and labels.items() <= sample.labels.items():
            return sample.value
    raise KeyError(f"{name} {labels}")


def waiting(text: str) -> int:
    """Records that were parked since the start of the process, less those that were released."""
    parked, released = (value(text, "patterns_records_total", outcome=outcome) for outcome in ("parked", "released"))
    return int(parked - released)


def asked(before: str, after: str, lookup: str) -> Asked:
    """Between one scrape and a later one of the same process. Raises KeyError for a lookup that is in none."""

    def more(name: str, **labels: str) -> float:
        return value(after, name, lookup=lookup, **labels) - value(before, name, lookup=lookup, **labels)

    keys = {state: int(more("patterns_lookup_keys_total", state=state)) for state in STATES}
    calls, seconds = (more(f"patterns_lookup_{name}_total") for name in ("calls", "calls_seconds"))
    return Asked(keys, int(calls), seconds, STATE_OF[value(after, "patterns_breaker_state", dependency=lookup)])
