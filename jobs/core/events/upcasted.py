"""A chain of upcasters over a log: EVENT -> UPCASTED, which is EVENT with `_reason, _detail`, null for what a reader can take.

Events that are current already stay in Spark; only the others go through Python, an Arrow batch at a time, and the log is
read a second time for them. An event that the chain does not know is kept as it is, with its reason, or passed, as the
chain's policies say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial, reduce
from typing import Any

import msgspec
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from jobs.core.decode_plan import Rejection
from jobs.core.errors import EventFailed
from jobs.core.events.upcasting import Chain, UpcastFailed
from jobs.core.workers import in_worker

VERDICT = {"_reason": T.StringType(), "_detail": T.StringType()}


def upcasted(events: DataFrame, chain: Chain) -> DataFrame:
    """EVENT -> UPCASTED. Raises, once it runs, EventFailed in the executor, for an event that a step cannot change."""
    current, text = _current(chain), T.StringType()
    known = events.filter(current).withColumns({name: F.lit(None).cast(kind) for name, kind in VERDICT.items()})
    schema = T.StructType([*events.schema.fields, *(T.StructField(name, text) for name in VERDICT)])
    run = partial(upcast_batches, chain=chain, schema=to_arrow_schema(schema, timezone="UTC"))
    return known.unionByName(events.filter(~current).mapInArrow(run, schema))


def taken(upcasted: DataFrame) -> DataFrame:
    """UPCASTED -> EVENT. An event with a reason fails the query, which names it."""
    where = ("stream_id", "stream_version", "event_id", "_reason", "_detail")
    name = F.format_string("stream %s, version %d, event %s: %s: %s", *where)
    version = F.when(F.col("_reason").isNotNull(), F.raise_error(name)).otherwise(F.col("stream_version"))
    return upcasted.withColumn("stream_version", version).drop(*VERDICT)


@in_worker
def upcast_batches(batches: Iterable[pa.RecordBatch], chain: Chain, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """What runs in the executors."""
    for batch in batches:
        rows = [_upcast(row, chain) for row in batch.to_pylist()]
        yield pa.RecordBatch.from_pylist(rows, schema=schema)


def _upcast(row: dict[str, Any], chain: Chain) -> dict[str, Any]:
    """The row as the chain has it, or with a reason."""
    try:
        found = chain.upcast(row["event_type"], row["schema_version"], msgspec.json.decode(row["data"]))
    except (UpcastFailed, msgspec.DecodeError, TypeError, ValueError) as failure:
        raise EventFailed(row["stream_id"], row["stream_version"], row["event_id"], str(failure)) from failure
    if isinstance(found, Rejection):
        return {**row, "_reason": found.reason.value, "_detail": found.detail}
    event_type, schema_version, data = found
    text = msgspec.json.encode(data).decode()
    return {**row, "event_type": event_type, "schema_version": schema_version, "data": text}


def _current(chain: Chain) -> Column:
    kinds = [
        (F.col("event_type") == name) & (F.col("schema_version") == newest) for name, newest in chain.current.items()
    ]
    return F.coalesce(reduce(Column.__or__, kinds, F.lit(False)), F.lit(False))
