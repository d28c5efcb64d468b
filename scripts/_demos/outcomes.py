"""What became of the orders of each phase, counted where they are now: in the sink, in the dead letters, in what waited.

FOUND    _partition, _offset, outcome
PHASED   phase, _partition, first, after (offsets)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rich.table import Table

from _demos.report import Played, Verdict, audited, dead_letters, summary
from jobs.core import letters
from jobs.core.audit import Report
from jobs.core.config import JobConfig

PLACE = ["_partition", "_offset"]
WAITED, DEAD = "waited", "dead"
NEVER = {"stale": "no order ever had a stale rate", WAITED: "no order ever waited and was written"}
OUTCOMES = ("fresh", "cached", "stale", WAITED, DEAD)
PHASED = "phase STRING, _partition INT, first BIGINT, after BIGINT"
OPENED = re.compile(r"^(\S+ \S+) WARNING jobs\.core\.breaker: rate: circuit open,", re.MULTILINE)
SHOWN = {"order_id": "order_id", "segment": "segment", "amount": "amount", "euro_rate": "CAST(euro_rate AS DOUBLE)"}
SHOWN |= {"amount_eur": "amount_eur", "rate": "outcome"}

Counts = Mapping[tuple[str, str], int]  # phase and outcome: orders


class Lived(NamedTuple):
    """One phase as it was."""

    name: str
    began: float  # seconds since the epoch
    took_s: float
    ends: Mapping[int, int]  # partition: offset after its last order

    @property
    def sent(self) -> int:
        """Up to its end."""
        return sum(self.ends.values())


def judged(played: Played, phases: Sequence[Lived], log: Path) -> Verdict:
    sink, phased = rated(played.spark, played.config).cache(), spans(played.spark, phases)
    found = sink.select(*PLACE, "outcome").unionByName(rejected(played.spark, played.config))
    counts = counted(within(found, phased))
    shown = [
        _summary(played.report),
        _by_phase(phases, counts, opened(log, phases)),
        _examples(phases, within(sink, phased)),
    ]
    return Verdict(shown, list(wrong(phases, counts, sink.where("euro_rate IS NULL").count())))


def rated(spark: SparkSession, config: JobConfig) -> DataFrame:
    """FOUND of what is written, with the sink's columns."""
    assert config.sink.delta and config.parked, "the demo's sink is a Delta table, and orders wait"
    tables = spark.read.format("delta")
    return told_apart(tables.load(str(config.sink.delta.path)), tables.load(f"{config.parked}/parked"))


def told_apart(written: DataFrame, parked: DataFrame) -> DataFrame:
    """Rows of the sink with their outcome: the state of their rate, unless they waited for it, once or several times."""
    waited = parked.select(*PLACE).distinct().withColumn("waited", F.lit(True))
    state = F.element_at("_enrichment", "rate")
    outcome = F.when(F.col("waited"), WAITED).otherwise(state)
    return written.join(waited, PLACE, "left").withColumn("outcome", outcome).drop("waited")


def rejected(spark: SparkSession, config: JobConfig) -> DataFrame:
    """FOUND of the dead letters."""
    return letters.read(spark, config).select(*PLACE).distinct().withColumn("outcome", F.lit(DEAD))


def spans(spark: SparkSession, phases: Sequence[Lived]) -> DataFrame:
    """PHASED."""
    before = [dict.fromkeys(phases[0].ends, 0), *(phase.ends for phase in phases)]
    rows = [(phase.name, p, first[p], phase.ends[p]) for phase, first in zip(phases, before) for p in phase.ends]
    return spark.createDataFrame(rows, PHASED)


def within(found: DataFrame, phased: DataFrame) -> DataFrame:
    """Any rows with a place, with their phase."""
    inside = F.col("_offset").between(F.col("first"), F.col("after") - 1)
    return found.join(F.broadcast(phased), "_partition").where(inside).drop("first", "after")


def counted(found: DataFrame) -> Counts:
    """FOUND and phase -> Counts."""
    return {(row["phase"], row["outcome"]): row["count"] for row in found.groupBy("phase", "outcome").count().collect()}


def opened(log: Path, phases: Sequence[Lived]) -> Counter[str]:
    """How often the job's log says in each phase that the circuit breaker of the rates has opened."""
    times = [datetime.strptime(at, "%Y-%m-%d %H:%M:%S,%f") for at in OPENED.findall(log.read_text(errors="replace"))]
    during = [[phase.name for phase in phases if phase.began <= at.timestamp()] for at in times]
    return Counter(names[-1] for names in during if names)


def sizes(phases: Sequence[Lived]) -> list[int]:
    """How many orders each phase has."""
    return [phase.sent - before for phase, before in zip(phases, [0, *(phase.sent for phase in phases)])]


def wrong(phases: Sequence[Lived], counts: Counts, without: int) -> Iterator[str]:
    """What is not as it should be."""
    for phase, orders in zip(phases, sizes(phases)):
        found = sum(counts.get((phase.name, outcome), 0) for outcome in OUTCOMES)
        if found != orders:
            yield f"rates {phase.name}: {orders} orders were sent, {found} are accounted for"
    for outcome, never in NEVER.items():
        if not any(counts.get((phase.name, outcome)) for phase in phases):
            yield never
    if without:
        yield f"{without} orders were written without a rate"


def _summary(report: Report) -> Table:
    counts = {"read": f"{report.counts.read:,}", "written": f"{report.counts.written:,}"}
    batches = {"batches": f"{report.batches:,}"}
    return summary("stream enrichment", {**counts, **dead_letters(report), **batches, **audited(report)})


def _by_phase(phases: Sequence[Lived], counts: Counts, circuits: Mapping[str, int]) -> Table:
    table = Table("rates are", title="where orders had their rate from", title_justify="left")
    for name in ("orders", *OUTCOMES, "circuit opens", "s"):
        table.add_column(name, justify="right")
    for phase, orders in zip(phases, sizes(phases)):
        found = [counts.get((phase.name, outcome), 0) for outcome in OUTCOMES]
        figures = [orders, *found, circuits.get(phase.name, 0)]
        table.add_row(phase.name, *(f"{figure:,}" if figure else "" for figure in figures), f"{phase.took_s:.0f}")
    return table


def _examples(phases: Sequence[Lived], sink: DataFrame) -> Table:
    table = Table("rates are", *SHOWN, title="the first order in kronor of each", title_justify="left")
    shown = F.struct(*(F.expr(text).alias(name) for name, text in SHOWN.items()))
    first = sink.where("currency = 'SEK'").groupBy("phase").agg(F.min_by(shown, "ordered_at").alias("first"))
    rows = {row["phase"]: row["first"] for row in first.collect()}
    for phase in phases:
        table.add_row(phase.name, *map(str, rows.get(phase.name, ())))
    return table
