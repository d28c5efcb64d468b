"""Events get their place in their stream: DECODED events in, each with a version, or a reason, or dropped as a duplicate.

What decides is in `core.events.versions`. One shuffle brings streams together, and sorts them by topic, partition and offset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.core.classify import REJECTION, TECHNICAL
from jobs.core.decode import HEADERS
from jobs.core.decode_scalars import now_micros
from jobs.core.events import envelope
from jobs.core.events.head_files import Known
from jobs.core.events.heads import Heads, keyed
from jobs.core.events.personal import PERSONAL, SUBJECT
from jobs.core.events.reading import TEXTS
from jobs.core.events.versions import JUDGED_BY, Gaps, Judge
from jobs.core.sources import COORDINATES
from jobs.core.workers import in_worker

NESTED: dict[str, T.MapType | T.ArrayType] = {
    "metadata": TEXTS,
    "_headers": HEADERS,
}  # as JSON text through Python (`core.decode` says why)
OWN = (
    "stream_id", "stream_version", "event_id", "event_type", "schema_version", "data", "metadata", "occurred_at", "recorded_at"
)  # fmt: skip


@dataclass
class Numbering:
    """The transform of a job that appends to a log; `prepare` comes before each try at a batch."""

    heads: Heads
    gaps: Gaps
    seal: Callable[[DataFrame], DataFrame] | None = None  # EVENT with SUBJECT, PERSONAL -> EVENT with SEALED
    known: Known | None = None
    recorded_at: datetime | None = None

    def prepare(self, now: datetime) -> None:
        """Both passes over a batch see the log as it was before it. Raises LedgerMismatch."""
        self.known, self.recorded_at = self.heads.known(), now

    def __call__(self, events: DataFrame) -> DataFrame:
        assert self.known and self.recorded_at, "a batch is prepared"
        found = numbered(events, self.known, self.recorded_at, self.gaps)
        return self.seal(found) if self.seal else found


def numbered(events: DataFrame, known: Known, recorded_at: datetime, gaps: Gaps) -> DataFrame:
    """DECODED of INCOMING, all good -> DECODED of EVENT, without duplicates; SUBJECT, PERSONAL stay where there are any.

    The time comes in by Python: as a literal of SQL it would have Spark compile its code anew for each batch.
    """
    placed = keyed(events.withColumn("event_id", _identity()), known.buckets).repartitionById(known.buckets, "_bucket")
    ordered = placed.sortWithinPartitions("stream_id", *COORDINATES)
    sent = ordered.drop(*REJECTION).withColumns({name: F.to_json(name) for name in NESTED})
    run = partial(judge_batches, known=known, recorded_us=now_micros(recorded_at), gaps=gaps)
    judged = sent.mapInArrow(run, _judged_schema(sent.schema))
    read = judged.withColumns({name: F.from_json(name, kind.simpleString()) for name, kind in NESTED.items()})
    personal = [name for name in (SUBJECT, PERSONAL) if name in events.columns]
    return read.select(*OWN, *personal, *COORDINATES, *TECHNICAL)


@in_worker
def judge_batches(
    batches: Iterator[pa.RecordBatch], known: Known, recorded_us: int, gaps: Gaps
) -> Iterator[pa.RecordBatch]:
    """What runs in the executors, on whole streams, sorted."""
    judge, at = Judge(known, gaps), pa.scalar(recorded_us, pa.timestamp("us", "UTC"))
    for batch in batches:
        found = judge.judged(batch)
        yield found.append_column("recorded_at", pa.repeat(at, len(found)))


def _judged_schema(sent: T.StructType) -> T.StructType:
    """What comes back: the rows without what they were judged by."""
    kept = [T.StructField(field.name, field.dataType) for field in sent if field.name not in JUDGED_BY]
    texts = [T.StructField(name, T.StringType()) for name in REJECTION]
    return T.StructType([*kept, *texts, T.StructField("recorded_at", T.TimestampType())])


def _identity() -> Column:
    """The id that the event came with, else the one of its coordinates."""
    return F.coalesce(F.nullif(F.col("event_id"), F.lit("")), envelope.event_id())
