"""How far a job is behind: the broker's ends less what the ledger holds, by topic and partition.

Spark's own progress would not do: it comes at the end of a batch, so a query that is stuck looks as far as it was, and
an idle one tells no offsets at all. The ledger says what the sink holds; the broker is asked apart from the query.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from jobs.core.kafka import Spans

Positions = dict[tuple[str, int], int]  # (topic, partition): offset
PLACE = ["job", "topic", "partition"]


class Lag(Collector):
    """Where the ledger stands and where the broker ends; computed anew at each scrape."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._begin: Positions | None = None
        self._done: Positions | None = None
        self._spans: Spans | None = None

    @property
    def placed(self) -> bool:
        """Whether it is known where the job begins or stands; without it there is no lag."""
        return self._begin is not None or self._done is not None

    def begins(self, sources: list[Any]) -> None:
        """Where the job's first batch starts, an offset a source; None as long as it is not known."""
        if sources and sources[0] is not None:
            self._begin = positions(sources)

    def reached(self, end: str) -> None:
        """The end of the last batch in the ledger, as the ledger writes it."""
        self._done = positions(json.loads(end))

    def ends(self, spans: Spans | None) -> None:
        """What the broker holds; None when it did not answer: what was so before is not told on."""
        self._spans = spans

    def behind(self) -> Positions | None:
        """Records to come, 0 where there are none; None where it is not known. A new partition counts from its beginning."""
        spans, done = self._spans, {**(self._begin or {}), **(self._done or {})}
        if spans is None or not self.placed:
            return None
        whole = {(topic, number): span for topic, numbers in spans.items() for number, span in numbers.items()}
        return {place: max(0, after - done.get(place, first)) for place, (first, after) in whole.items()}

    def collect(self) -> Iterable[Metric]:
        yield self._family("ledger_offset", "End of the last batch in the ledger.", self._done)
        yield self._family("lag_records", "Records that the topic holds past the end of the ledger.", self.behind())

    def _family(self, name: str, text: str, values: Positions | None) -> Metric:
        family = GaugeMetricFamily(f"patterns_{name}", text, labels=PLACE)
        for (topic, partition), value in sorted((values or {}).items()):
            family.add_metric([self._job, topic, str(partition)], value)
        return family


def positions(sources: list[Any]) -> Positions:
    """Offsets by topic and partition; none of sources other than Kafka, whose offsets have no such parts."""
    topics = [(topic, given) for source in sources if isinstance(source, dict) for topic, given in source.items()]
    nested = [(topic, given) for topic, given in topics if isinstance(given, dict)]
    return {(topic, int(partition)): offset for topic, given in nested for partition, offset in given.items()}
