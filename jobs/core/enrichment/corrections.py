"""Rows that are written again, as a version of a history came after the events that it was for.

After each newer version of a history, and at the start, what the sink holds of events that are not older than `within` is
compared with what the history says now. Where a column of it differs, the step is done again, and those after it, and the row
is appended once more with the next `_revision`: the first one has 0, the greatest one of a record holds. What was appended
already says what the history says, so after a kill at whatever point nothing is written twice. A row that its steps would now
reject stays as it is; one for which a later step has no answer now, or only an older one, is due again after a pause.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from jobs.core import classify
from jobs.core.batch import MicroBatch
from jobs.core.enrichment.asking import STATE
from jobs.core.enrichment.chain import ENRICHMENT, Chain, Correcting
from jobs.core.enrichment.settings import EnrichConfig
from jobs.core.ledger import CORRECTION, NOWHERE, Counts, Entry
from jobs.core.reasons import INSTEAD, Reason
from jobs.core.running import Tick
from jobs.core.sinks import Mark
from jobs.core.sinks.tables import REVISION, DeltaTableSink
from jobs.core.sources import COORDINATES

ROW, TOLD, LAST, DIFFERS = "_row", "_told", "_last", "_differs"
PAUSE = timedelta(minutes=1)
log = logging.getLogger(__name__)


@dataclass
class Corrections:
    """Of one job's Delta table; due between batches."""

    batch: MicroBatch
    chain: Chain
    sink: DeltaTableSink
    records: StructType  # of the source
    within: timedelta
    _seen: dict[str, str] | None = None
    _due: datetime | None = None  # when what had no answer is tried again

    def tick(self) -> None:
        """May be called again after a failure."""
        versions, now = self.chain.note(), self.batch.clock()
        is_due = versions != self._seen or (self._due is not None and now >= self._due)
        if self.batch.in_doubt or not is_due:
            return
        is_whole = not self.sink.exists() or self._correct(now, versions)
        self._seen, self._due = versions, None if is_whole else now + PAUSE

    def _correct(self, now: datetime, versions: dict[str, str]) -> bool:
        """Whether that is all: a row for which a later step has no answer now is due again."""
        columns = self._columns(now)
        with ExitStack() as kept:
            affected = outdated(latest(self.sink.rows()), self.chain.correcting(columns), now - self.within).persist()
            kept.callback(affected.unpersist)
            again = self._again(affected, columns, now).persist()
            kept.callback(again.unpersist)
            told = again.select(F.count_if(F.col("_reason").isNull()), F.count_if(_unanswered(again))).first()
            assert told is not None, "an aggregation without groups has one row"
            count, left = told
            if count:
                mark = self._mark()
                self.batch.outlets.good.append(classify.good(again), mark)
                self.batch.ledger.append(_entry(mark, now, {**versions, "corrected": str(count)}))
                log.info("%d rows corrected", count)
            return not left

    def _columns(self, now: datetime) -> list[list[str]]:
        """Before each step."""
        spark: SparkSession = self.sink.rows().sparkSession
        self.chain.prepare(now)
        return self.chain.columns(self.batch.decode(spark.createDataFrame([], self.records), now, True))

    def _again(self, affected: DataFrame, columns: list[list[str]], now: datetime) -> DataFrame:
        """Rows of the sink -> DECODED, the first step that corrects done again, and those after it."""
        self.chain.prepare(now)
        first = self.chain.first_correcting
        own = [name for name in columns[first] if name in affected.columns]
        nothing = {name: F.lit(None).cast("string") for name in classify.REJECTION}
        events = affected.select(
            *own, F.col(ENRICHMENT).alias(TOLD), F.coalesce(REVISION, F.lit(0)).alias(LAST)
        ).withColumns(nothing)
        done = self.chain.enriched(events, first)
        lost = reduce(or_, (_lost(step) for step in self.chain.in_trouble), F.lit(False))
        reason = F.when(lost & F.col("_reason").isNull(), Reason.NO_ANSWER.value).otherwise(F.col("_reason"))
        done = done.withColumn("_reason", reason)
        kept = F.map_filter(TOLD, lambda step, _: ~F.array_contains(F.map_keys(ENRICHMENT), step))
        return done.withColumns({ENRICHMENT: F.map_concat(kept, ENRICHMENT), REVISION: F.col(LAST) + 1}).drop(
            TOLD, LAST
        )

    def _mark(self) -> Mark:
        last = self.batch.ledger.last_batch
        query_id = str(self.batch.checkpoint.query_id())
        return Mark(self.batch.job, query_id, last.batch_id if last else -1, CORRECTION, CORRECTION)


def corrections(
    spark: SparkSession, config: EnrichConfig, batch: MicroBatch, steps: Chain, records: StructType
) -> list[Tick]:
    """As the config says: none, or one."""
    if config.corrections is None:
        return []
    assert config.sink.delta, "the config has a Delta table where rows are corrected"
    sink = DeltaTableSink(spark, str(config.sink.delta.path))
    return [Corrections(batch, steps, sink, records, timedelta(milliseconds=config.corrections.within.ms)).tick]


def latest(rows: DataFrame) -> DataFrame:
    """Of each record the row with the greatest revision; costs little while few have more than one."""
    revised = rows.filter(F.col(REVISION) > 0).groupBy(*COORDINATES).agg(F.max(REVISION).alias(LAST))
    joined = rows.join(revised, COORDINATES, "left")
    return joined.filter(F.coalesce(REVISION, F.lit(0)) == F.coalesce(LAST, F.lit(0))).select(*rows.columns)


def outdated(rows: DataFrame, steps: Sequence[Correcting], since: datetime) -> DataFrame:
    """Of rows as the sink has them, those of events since then for which a history now says something else."""
    recent = reduce(or_, (F.col(one.step.at) >= F.lit(since) for one in steps))
    found = rows.filter(recent).withColumn(ROW, F.struct(*rows.columns))
    unjudged = {name: F.lit(None).cast("string") for name in ("_reason", "_detail")}
    flags = []
    for number, one in enumerate(steps):
        now, then = (F.struct(*(F.col(f"{place}{name}") for name in one.names)) for place in ("", f"{ROW}."))
        flags.append(f"{DIFFERS}_{number}")
        judged = one.step(found.drop(*one.names).withColumns(unjudged))  # with its defaults, as the row was
        found = judged.withColumn(flags[-1], ~F.equal_null(now, then)).drop(STATE)
    return found.filter(reduce(or_, map(F.col, flags))).select(f"{ROW}.*")


def _lost(step: str) -> Column:
    """Of a row that is done again, whether a lookup that is in trouble has less for it than it had."""
    before, now = (F.coalesce(F.col(states)[step], F.lit("missed")) for states in (TOLD, ENRICHMENT))
    return before.isin("fresh", "cached", "stale") & ~now.isin("fresh", "cached")


def _unanswered(rows: DataFrame) -> Column:
    """Of DECODED, whether a row was rejected as a service did not answer."""
    instead = F.col(INSTEAD) if INSTEAD in rows.columns else F.lit(None)
    return F.coalesce(instead, F.col("_reason")) == Reason.NO_ANSWER.value


def _entry(mark: Mark, now: datetime, note: dict[str, str]) -> Entry:
    place = (mark.job, mark.query_id, mark.batch_id, NOWHERE, NOWHERE)
    return Entry(CORRECTION, *place, Counts(), now.isoformat(), {}, note)
