"""Join a stream with a reference table (broadcast stream-table join).

In         source        one record an event, decoded by source.schema
           reference     JDBC or Delta, one row a key
Out        sink          stream columns, reference columns without the key, _reference_version, _topic, _partition, _offset;
                         a reference column whose name the stream has too is called ref_<name>
Rejected   dead_letters  key, value and headers byte for byte, coordinates, reason; misses by join.on_miss: keep (left: nulls,
                         inner: filtered and counted), dead_letter, or wait (parked until join.wait_for); what the sink refuses
Late       source.late   the same for what lies too far behind the newest event time; off unless it is set
Delivery   exactly once into Delta, Parquet and PostgreSQL, at least once into Kafka, by event id; dead letters in Kafka at
           least once, by coordinates
Staleness  one version a micro-batch, at most refresh.every plus a batch old; past reference.max_staleness, on_stale decides
Choose     the reference table fits into an executor's memory and changes slowly; else a stream-stream join or a lookup
Run        spark-submit jobs/stream_table_join.py --env local
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core import joining, runner, stream
from jobs.core.clock import utc_now
from jobs.core.config import Join, JoinConfig
from jobs.core.ledger import REFERENCE_VERSION
from jobs.core.reasons import WAITING, Reason
from jobs.core.reference import REFERENCE, ReferenceTable
from jobs.core.running import Running
from jobs.core.schema import MATCHED
from jobs.core.watched import Watched


class Config(JoinConfig):
    """conf/stream_table_join.yaml."""


def enrich(events: DataFrame, reference: DataFrame, join: Join) -> DataFrame:
    """DECODED x REFERENCE -> DECODED with the reference's columns; a miss gets what `join.on_miss` says.

    Null keys never match. Raises ConfigError where a key's types differ and `join.cast` does not say how.
    """
    joining.check_types(events.schema, reference.schema, join.on, join.cast, "join")
    how = "inner" if join.how == "inner" and join.on_miss == "keep" else "left"
    matched = joining.matched(events, reference, join.on, join.cast, how)
    return matched.withColumns(_rejecting(join)).drop(MATCHED)


def _rejecting(join: Join) -> dict[str, Column]:
    """The columns that give a miss a reason, where it is not to be kept."""
    if join.on_miss == "keep":
        return {}
    reason = Reason.NO_REFERENCE.value if join.on_miss == "dead_letter" else WAITING
    missed = F.col(MATCHED).isNull()
    detail = F.lit(f"no reference row for {', '.join(join.on)}")
    return {"_reason": F.when(missed, F.lit(reason)), "_detail": F.when(missed, detail)}


def start(spark: SparkSession, config: Config) -> Running:
    """Source -> decode -> enrich -> sink, a batch at a time."""
    reference = ReferenceTable(spark, config.reference, config.postgres, utc_now, config.breaker)
    join = config.join
    return stream.start(
        spark,
        config,
        lambda events: enrich(events, reference.current(config.reference.broadcast_max_rows), join),
        ticks=[reference.tick],
        note=lambda: {REFERENCE_VERSION: reference.version},
        wait=stream.wait(join.parked, join.wait_for, join.key_order),
        watched=Watched({REFERENCE: reference.status}),
    )


if __name__ == "__main__":
    runner.main(Config, start)
