"""The audit: every record that was read has exactly one outcome, checked by query against source, sink and ledger.

Written goes before dead letter, dead letter before late, and late before parked; what is none of them was filtered, and only
as often as the ledger says. Works on a finished job and on a running one: it looks at the offsets that the ledger covers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core import kafka, letters, sources
from jobs.core.config import JobConfig
from jobs.core.doubt import positions
from jobs.core.ledger import NOWHERE, REFERENCE_VERSION, WRITTEN, Counts, Entry
from jobs.core.parking import Parking
from jobs.core.recovery import HOW
from jobs.core.sinks import Sink
from jobs.core.sinks.places import place
from jobs.core.sources import COORDINATES

EARLIEST = -2  # as Spark has it
OUTCOMES = ["written", "dead_letters", "late", "parked"]


@dataclass(frozen=True)
class Check:
    """One thing that must hold: two numbers that must be the same."""

    name: str
    expected: int
    found: int

    @property
    def holds(self) -> bool:
        return self.expected == self.found


@dataclass(frozen=True)
class Report:
    """What an audit found."""

    checks: tuple[Check, ...]
    counts: Counts
    reasons: dict[str, int]
    versions: tuple[str, ...]
    batches: int
    lag: int | None  # records in the source that no batch has covered yet; None where the source can't say

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks)


def audit(spark: SparkSession, config: JobConfig) -> Report:
    """Reads ledger, sink, dead letters and parked records of one job."""
    sink, ledger = place(spark, config)
    every = ledger.entries()
    entries = _since_reprocess(every)
    counts = reduce(_plus, (entry.counts for entry in entries), Counts())
    found = _covered(outcomes(spark, config, sink, _written(every)), entries)
    checks = (*_ledger_checks(spark, config, entries, counts), *_sink_checks(config, sink, found, counts))
    reasons: dict[str, int] = reduce(_merged, (entry.reasons for entry in entries), {})
    versions = sorted({version for entry in entries for version in _versions(entry.note)})
    batches = sum(entry.kind == "batch" for entry in entries)
    return Report(checks, counts, reasons, tuple(versions), batches, _lag(spark, config, entries))


def outcomes(spark: SparkSession, config: JobConfig, sink: Sink, written: int) -> DataFrame:
    """_topic, _partition, _offset, written, dead_letters, late, parked: how often each record is found where."""
    places = {
        "written": sink.records(),
        "dead_letters": letters.read(spark, config),
        "late": letters.within(spark, config, config.source.late.to if config.source.late else None),
        "parked": _parked(spark, config, written),
    }
    found = [
        frame.select(*COORDINATES, F.lit(name).alias("place")) for name, frame in places.items() if frame is not None
    ]
    empty = spark.range(0).selectExpr("'' AS _topic", "0 AS _partition", "0L AS _offset", "'' AS place")
    counted = [F.count_if(F.col("place") == name).alias(name) for name in OUTCOMES]
    return reduce(DataFrame.unionByName, found, empty).groupBy(*COORDINATES).agg(*counted)


def _versions(note: Mapping[str, str]) -> Iterator[str]:
    """Of the reference table, or of those of several steps, each behind its step's name."""
    for key, version in note.items():
        name, _, step = key.partition(".")
        if name == REFERENCE_VERSION:
            yield f"{step}: {version}" if step else version


def _written(entries: list[Entry]) -> int:
    """Number of the newest record that came with rows: numbers have no holes."""
    return max((number for number, entry in enumerate(entries) if entry.kind in WRITTEN), default=-1)


def _since_reprocess(entries: list[Entry]) -> list[Entry]:
    """What the last reprocess has read again counts, what was recorded before it does not."""
    again = [number for number, entry in enumerate(entries) if entry.note.get(HOW) == "reprocess"]
    return entries[again[-1] :] if again else entries


def _covered(found: DataFrame, entries: list[Entry]) -> DataFrame:
    """Outcomes but for those past the ledger's end, which a running job is about to record; after a reprocess, only of what it
    has read. All of them where a source has no offsets.
    """
    batches = [entry for entry in entries if entry.kind == "batch"]
    start, end = (positions(batches[0].start), positions(batches[-1].end)) if batches else ({}, {})
    if start is None or end is None or not entries:
        return found
    if entries[0].kind == "recovery":
        inside = [_within(place, start.get(place, 0), after) for place, after in end.items()]
        return found.filter(reduce(Column.__or__, inside, F.lit(False)))
    past = [_at(place) & (F.col("_offset") >= after) for place, after in end.items()]
    return found.filter(~reduce(Column.__or__, past, F.lit(False)))


def _within(place: tuple[str, str], first: int, after: int) -> Column:
    return _at(place) & (F.col("_offset") >= first) & (F.col("_offset") < after)


def _at(place: tuple[str, str]) -> Column:
    return (F.col("_topic") == place[0]) & (F.col("_partition") == int(place[1]))


def _ledger_checks(spark: SparkSession, config: JobConfig, entries: list[Entry], counts: Counts) -> Iterator[Check]:
    batches = [entry for entry in entries if entry.kind == "batch"]
    continued = [entry for entry in entries if entry.kind != "release" and entry.end != NOWHERE]
    gaps = sum(earlier.end != later.start for earlier, later in zip(continued, continued[1:]))
    yield Check("ledger: batches that do not start where the one before ended", 0, gaps)
    yield Check("ledger: outcomes add up to the records read", counts.read, counts.outcomes)
    spans = [_span(entry) for entry in batches]
    if batches and None not in spans:
        covered, read = sum(s for s in spans if s is not None), counts.read - counts.beside
        if config.source.kafka and read < covered:  # transactions take offsets, and compaction takes records
            covered = _there(spark, config, batches)
        yield Check("ledger: records read are the offsets covered", covered, read)


def _sink_checks(config: JobConfig, sink: Sink, found: DataFrame, counts: Counts) -> Iterator[Check]:
    if sink.records() is None and not config.sink.postgres:  # nothing outlives the process
        return
    unwritten = F.col("written") == 0
    undelivered = unwritten & (F.col("dead_letters") == 0)
    asked = {
        "twice": F.count_if(F.col("written") > 1),
        "written": F.coalesce(F.sum("written"), F.lit(0)),
        "dead_letters": F.count_if(unwritten & (F.col("dead_letters") > 0)),
        "late": F.count_if(undelivered & (F.col("late") > 0)),
        "parked": F.count_if(undelivered & (F.col("late") == 0)),
    }
    row = found.agg(*(column.alias(name) for name, column in asked.items())).first()
    assert row is not None, "an aggregation without groups has one row"
    if not (config.source.delta or config.sink.kafka):  # identical rows of one file; repeats, which share an event id
        yield Check("sink: records written more than once", 0, row["twice"])
    if sink.records() is not None:
        yield Check("sink: records written", counts.written, row["written"])
    if config.dead_letters:  # a sink that replaces rows can't say which dead letters it has written since
        redriven = counts.redriven if sink.records() is None else 0
        yield Check("dead letters: distinct records", counts.dead_letters + redriven, row["dead_letters"])
    if config.source.late:
        yield Check("late: distinct records", counts.late, row["late"])
    yield Check("parked: records still waiting", counts.parked, row["parked"])


def _parked(spark: SparkSession, config: JobConfig, written: int) -> DataFrame | None:
    """What waits, as the ledger has it up to a record: a release that is under way counts once it is recorded."""
    return Parking(spark, config.parked, timedelta.max).waiting(written) if config.parked else None


def _lag(spark: SparkSession, config: JobConfig, entries: list[Entry]) -> int | None:
    batches = [entry for entry in entries if entry.kind == "batch"]
    if not (config.source.kafka and config.kafka and batches):
        return None
    covered = json.loads(batches[-1].end)[0]
    now = kafka.spans(spark, config.kafka, sources.subscribed(spark, config))
    return sum(
        end - int(covered.get(topic, {}).get(str(partition), first))
        for topic, partitions in now.items()
        for partition, (first, end) in partitions.items()
    )


def _there(spark: SparkSession, config: JobConfig, batches: list[Entry]) -> int:
    """Records that the source has at the offsets that these batches cover; less what its retention has taken."""
    assert config.kafka, "a source in kafka comes with a broker"
    start, end = positions(batches[0].start) or {}, positions(batches[-1].end) or {}
    topics = {topic for topic, _ in end}

    def named(offsets: Mapping[tuple[str, str], int]) -> str:
        return json.dumps(
            {one: {number: at for (topic, number), at in offsets.items() if topic == one} for one in topics}
        )

    spans = {"startingOffsets": named({one: start.get(one, EARLIEST) for one in end}), "endingOffsets": named(end)}
    assigned = json.dumps({one: [int(number) for topic, number in end if topic == one] for one in topics})
    reader = spark.read.format("kafka").options(**kafka.spark_options(config.kafka), assign=assigned, **spans)
    return reader.option("failOnDataLoss", "false").load().count()


def _span(entry: Entry) -> int | None:
    """Offsets that a batch covers; None where the source's offsets are not Kafka's."""
    start, end = positions(entry.start), positions(entry.end)
    return None if end is None else sum(after - (start or {}).get(place, 0) for place, after in end.items())


def _plus(left: Counts, right: Counts) -> Counts:
    return Counts(*(getattr(left, name) + getattr(right, name) for name in Counts.__dataclass_fields__))


def _merged(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    return {key: left.get(key, 0) + right.get(key, 0) for key in left | right}
