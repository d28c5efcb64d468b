"""Append events to an event log (event store, write side).

In         source        one event a record, in the short shape or in a whole envelope (core/events/reading.py)
Out        sink.delta    the log, an append-only Delta table: stream_id, stream_version, event_id, event_type, schema_version,
                         data, metadata, occurred_at, recorded_at, _topic, _partition, _offset
Rejected   dead_letters  what is no event; VERSION_CONFLICT, GAP: an event that insists on a version its stream is not at
Delivery   exactly once, and each event id once in its stream, for good: a second one is dropped, and counted as a duplicate
Order      within a stream that of topic, partition and offset; versions are 1, 2, 3, ...; no order between streams
State      heads (core/events/heads.py), a version a stream and a key an event, made from the log and beside it: a batch
           costs what its own events cost, however long the log is
Erasure    with source.personal the log holds what is about a person sealed, and `patterns events forget` drops the key of
           one person for good (core/events/sealing.py)
Choose     events are to be kept and replayed; one job writes one log
Run        spark-submit jobs/event_append.py --env local
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from pyspark.sql import DataFrame, SparkSession

from jobs.core import runner, stream
from jobs.core.config import JobConfig, Settings
from jobs.core.connections import Findings
from jobs.core.events import sealing
from jobs.core.events.eventlog import EventLog
from jobs.core.events.heads import Heads
from jobs.core.events.numbering import Numbering
from jobs.core.events.subject_keys import SubjectKeys
from jobs.core.problems import Finding
from jobs.core.running import Running
from jobs.core.values import Count


class Events(Settings):
    """How streams are numbered and kept."""

    gaps: Literal["reject", "keep"] = "reject"  # an event whose own version leaves a hole: a dead letter, or as it says
    buckets: Count = 4  # tasks that number a batch side by side; another number, and the heads are made anew


class Config(JobConfig):
    """conf/event_append.yaml."""

    events: Events = Events()
    seals: ClassVar[bool] = True

    def findings(self) -> Findings:
        return [*super().findings(), *_findings(self)]


def _findings(config: Config) -> Findings:
    if config.source.format != "event":
        yield Finding(("source", "format"), "event")
    if not config.sink.delta:
        yield Finding(("sink",), "delta.path: a log is a Delta table")
    elif config.sink.delta.partition_by:
        yield Finding(("sink", "delta", "partition_by"), "no partitions: a log is clustered by stream")


def start(spark: SparkSession, config: Config) -> Running:
    """Source -> decode -> number -> log, a batch at a time."""
    assert config.sink.delta, "the config has checked it"
    log = EventLog(spark, str(config.sink.delta.path), config.source.personal is not None)
    seal = _seal(config, log) if config.source.personal else None
    numbering = Numbering(Heads(spark, log, config.job, config.events.buckets), config.events.gaps, seal)
    return stream.start(spark, config, numbering, prepare=numbering.prepare, dropped="duplicate", make=log.make)


def _seal(config: Config, log: EventLog) -> Callable[[DataFrame], DataFrame]:
    """Raises DependencyMissing where there are no keys."""
    assert config.postgres, "the config has checked it"
    keys = SubjectKeys.of(config.postgres)
    keys.check()
    return lambda events: sealing.sealed(events, keys, log.table_id())


if __name__ == "__main__":
    runner.main(Config, start)
