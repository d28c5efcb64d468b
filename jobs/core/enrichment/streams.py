"""Two streams joined by key within a time bound, in the plan of the query: its state is Spark's, in RocksDB.

EVENT side  DECODED, its columns called _e_<name>
OTHER side  DECODED of the other stream, its columns called _o_<name>
JOINED      DECODED with the other stream's columns and whether there was any, `_joined`

An event gets the columns of the one record of its key whose time lies between `before` before and `after` after its own. Of
records of a key the first counts until the watermark is past it by the whole bound, or by `max_lateness` where that is longer,
and at any rate within a micro-batch; whatever comes meanwhile is left out. An event without such a record comes out once the
watermark has passed its bound: both streams have got that far, less their lateness.

Rejected and late records go around the join: their time is null, so that no watermark drops them, and what concerns one side
alone is judged before anything is kept, so that they come out at once. Late is what is not after Spark's own watermark, which
each batch tells (`core.told`): nothing is left for Spark to drop.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import and_

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core import classify, joining, sources, told
from jobs.core.classify import TECHNICAL
from jobs.core.config import Source
from jobs.core.enrichment.settings import EnrichConfig, Other, Step
from jobs.core.schema import JOINED, named_beside
from jobs.core.sources import COORDINATES
from jobs.core.told import Told

EVENT, OTHER = "_e_", "_o_"
AT, FIRST = "_at", "_first"
PLACE = [*COORDINATES, *TECHNICAL]


@dataclass(frozen=True)
class StreamJoin:
    """The plan of a job one of whose steps joins another stream."""

    spark: SparkSession
    config: EnrichConfig
    name: str
    step: Step
    other: Other

    def tell(self, batch: Told) -> None:
        told.tell(self.spark, batch)

    def beside(self) -> Column:
        return F.col("_topic").isin(sources.subscribed(self.spark, self._of_other))

    def made(self, records: DataFrame) -> DataFrame:
        """RECORDS -> JOINED."""
        events = self._decoded(records, self.config.source, self._lateness_s)
        others = self._decoded(sources.read(self.spark, self._of_other), self.other, self._other_lateness_s)
        joining.check_types(events.schema, others.schema, self.step.on, self.step.cast, f"enrich.{self.name}")
        kept = first_of_a_key(others.withWatermark(AT, seconds(self._other_lateness_s)), self.other)
        return joined(events.withWatermark(AT, seconds(self._lateness_s)), kept, self.step, self.other)

    def _decoded(self, records: DataFrame, source: Source, lateness_s: float) -> DataFrame:
        return timed(classify.planned(records, source, lateness_s), str(source.event_time))

    @property
    def _of_other(self) -> EnrichConfig:
        """As if the other stream were the job's."""
        return self.config.model_copy(update={"source": self.other, "dead_letters": None})

    @property
    def _lateness_s(self) -> float:
        late = self.config.source.late
        assert late, "a job that joins a stream says how late its events may be"
        return late.max_lateness.seconds_total

    @property
    def _other_lateness_s(self) -> float:
        """No shorter than the bound: as long as that the first record of a key is remembered."""
        return max(self.other.max_lateness.seconds_total, self.other.bound_s)


def stream_join(spark: SparkSession, config: EnrichConfig) -> StreamJoin | None:
    """Of the one step that has a stream, if any."""
    found = [(name, step, step.stream) for name, step in config.enrich.items() if step.stream]
    return StreamJoin(spark, config, *found[0]) if found else None


def timed(decoded: DataFrame, column: str) -> DataFrame:
    """DECODED with AT, the time in a column, which is null where a record has a reason."""
    return decoded.withColumn(AT, F.when(F.col("_reason").isNull(), F.col(column)))


def first_of_a_key(others: DataFrame, other: Other) -> DataFrame:
    """Good records that are the first of their key, and all that are rejected."""
    key, place = (F.to_json(F.struct(*names)) for names in (other.keys, COORDINATES))
    is_good = reduce(and_, (F.col(name).isNotNull() for name in other.keys), F.col("_reason").isNull())
    known = F.when(is_good, F.concat(F.lit("key "), key)).otherwise(F.concat(F.lit("place "), place))
    return others.withColumn(FIRST, known).dropDuplicatesWithinWatermark([FIRST]).drop(FIRST)


def joined(events: DataFrame, others: DataFrame, step: Step, other: Other) -> DataFrame:
    """EVENT side x OTHER side -> JOINED."""
    left, right = renamed(events, EVENT), renamed(others, OTHER)
    at, other_at = F.col(f"{EVENT}{AT}"), F.col(f"{OTHER}{AT}")
    keys = {key: joining.key(left, f"{EVENT}{name}", cast_of(step, name)) for name, key in step.on.items()}
    alone = [at.isNotNull(), other_at.isNotNull(), *(key.isNotNull() for key in keys.values())]
    same = [key == F.col(f"{OTHER}{name}") for name, key in keys.items()]
    within = [other_at >= at - interval(other.before_s), other_at <= at + interval(other.after_s)]
    both = left.join(right, reduce(and_, [*alone, *same, *within]), "full_outer")
    is_event, is_other = (F.col(f"{side}_topic").isNotNull() for side in (EVENT, OTHER))
    names = outputs(own(events), own(others), other)
    place = [F.coalesce(f"{EVENT}{name}", f"{OTHER}{name}").alias(name) for name in PLACE]
    columns = [
        *(F.col(f"{EVENT}{name}").alias(name) for name in own(events)),
        *place,
        *(F.col(f"{OTHER}{name}").alias(out) for name, out in names.items()),
        F.when(is_event & is_other, F.lit(True)).alias(JOINED),
    ]
    return both.filter(is_event | F.col(f"{OTHER}_reason").isNotNull()).select(*columns)


def outputs(events: Iterable[str], others: Iterable[str], other: Other) -> dict[str, str]:
    """Of the columns that an event gets from the other stream: what each is called there."""
    return named_beside(events, other.columns or [name for name in others if name not in other.keys])


def cast_of(step: Step, name: str) -> dict[str, str]:
    """A column's cast, as the column is called here."""
    return {f"{EVENT}{name}": step.cast[name]} if name in step.cast else {}


def own(decoded: DataFrame) -> list[str]:
    """An event's own columns."""
    return [name for name in decoded.columns if name not in (*PLACE, AT)]


def renamed(decoded: DataFrame, prefix: str) -> DataFrame:
    return decoded.select(*(F.col(name).alias(f"{prefix}{name}") for name in decoded.columns))


def seconds(count: float) -> str:
    return f"{int(count * 1_000)} milliseconds"


def interval(count: float) -> Column:
    return F.expr(f"INTERVAL '{count:.3f}' SECOND")
