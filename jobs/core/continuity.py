"""Whether a source in Kafka can be read on where the job stands: what it has still to read is there, in the same topic.

A record is known by topic, partition and offset. So a topic that was deleted and made anew under its name is another one, even
if it has as many records: the ledger's records note the ids that Kafka gives to topics. What was deleted before it was read
(by retention, or by somebody) is lost, and Spark's own check only comes while the query runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from pyspark.sql import SparkSession

from jobs.core import kafka, lag, sources
from jobs.core.checkpoint import Checkpoint
from jobs.core.config import JobConfig
from jobs.core.errors import Loss, SourceLost
from jobs.core.kafka import Standing
from jobs.core.lag import Positions
from jobs.core.ledger import Books, Entry

TOPICS = "topics"  # in a note: topic ids as JSON
READ_AGAIN = "What is gone stays gone; start once with --recover reprocess to go on with what is there"
ANOTHER = (
    "Its offsets are other records than those in the sink: give the new topic a name of its own, or begin a new sink"
)


class Source:
    """Compares where a job stands with what the broker has; `note` is what the ledger is to remember of it."""

    def __init__(self, spark: SparkSession, config: JobConfig, checkpoint: Checkpoint, ledger: Books) -> None:
        self._spark, self._config, self._checkpoint, self._ledger = spark, config, checkpoint, ledger
        self._reprocess = config.recover == "reprocess"
        self.note: dict[str, str] = {}

    def check(self) -> None:
        """Raises SourceLost, and DependencyMissing for a broker that is away or a topic that was never read."""
        source, broker = self._config.source.kafka, self._config.kafka
        if not (source and broker):
            return
        stands, ids = self._stands(), topic_ids(self._ledger.last_batch)
        wanted = sources.subscribed(self._spark, self._config)
        found = kafka.standing(self._spark, broker, {*wanted, *(topic for topic, _ in stands), *ids})
        refuse([*replaced(stands, ids, found)], ANOTHER)
        refuse([] if self._reprocess else [*gone(stands, found)], READ_AGAIN)
        kafka.require(broker, wanted, found.spans)
        self._reprocess = False  # from now on it stands where it reads
        self.note = {TOPICS: json.dumps({**ids, **found.ids}, sort_keys=True)} if found.ids else {}

    def _stands(self) -> Positions:
        """Where the next batch, or the one to be run again, starts."""
        last, planned = self._ledger.last_batch, self._checkpoint.planned()
        if last:
            return lag.positions(json.loads(last.end))
        return lag.positions(self._checkpoint.start(planned[-1])) if planned else {}


def topic_ids(last: Entry | None) -> dict[str, str]:
    """As the ledger's last record notes them."""
    noted: dict[str, str] = json.loads(last.note.get(TOPICS, "{}")) if last else {}
    return noted


def carried(last: Entry | None) -> dict[str, str]:
    """The part of a note that every record after it has, too."""
    return {TOPICS: last.note[TOPICS]} if last and TOPICS in last.note else {}


def replaced(stands: Positions, ids: Mapping[str, str], found: Standing) -> Iterator[Loss]:
    """Partitions of topics that were made anew."""
    for (topic, partition), offset in sorted(stands.items()):
        known, now = ids.get(topic), found.ids.get(topic)
        if known and now and known != now:
            first, after = found.spans[topic].get(partition, (0, 0))
            cause = f"the topic was deleted and made anew (id {now}, it was {known})"
            yield Loss(topic, partition, f"{cause}; the job stands at offset {offset}, it has {first} to {after}")


def gone(stands: Positions, found: Standing) -> Iterator[Loss]:
    """Partitions that do not have the offset at which the job stands."""
    for (topic, partition), offset in sorted(stands.items()):
        cause = _missing(offset, found.spans.get(topic), partition)
        if cause:
            yield Loss(topic, partition, f"the job stands at offset {offset}, {cause}")


def _missing(offset: int, spans: Mapping[int, tuple[int, int]] | None, partition: int) -> str | None:
    if spans is None:
        return "the broker has no such topic"
    if partition not in spans:
        return "the broker has no such partition"
    first, after = spans[partition]
    if offset < first:
        return f"the broker has {first} to {after}: {first - offset} records are gone"
    return f"the broker has {first} to {after}: it was cut, or made anew" if offset > after else None


def refuse(losses: list[Loss], remedy: str) -> None:
    """Raises SourceLost for any."""
    if losses:
        raise SourceLost(losses, remedy)
