"""One measured run, in a process of its own: _bench_run.py '{"program": "job" | "bare", ...}'; prints one line of JSON.

`bare` is what a careful engineer writes first: from_json, a broadcast join with a cached reference table, Delta's own sink;
for events the same without a join, for a service of rates a call an event. It rejects nothing, refreshes nothing, knows no
duplicate and keeps no ledger.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from _bench_calls import calls_wanted, one_call_an_event
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming import StreamingQuery
from pyspark.sql.streaming.listener import QueryProgressEvent
from pyspark.sql.streaming.readwriter import DataStreamWriter

from jobs.core import layers
from jobs.core.config import JobConfig
from jobs.core.enrichment.settings import EnrichConfig, Lookup
from jobs.core.listening import QueryListener
from jobs.core.session import session

SHORT = "event_type STRING, data STRING, timestamp DOUBLE"
WARM = 2  # batches at the start that are not measured


def main() -> None:
    asked = json.loads(sys.argv[1])
    overrides = [f"{key}={value}" for key, value in asked["settings"].items()]
    job = import_module(f"jobs.{asked['job']}")
    file = Path(asked["file"]) if asked["file"] else None
    config = layers.load(job.Config, file, "local", overrides, os.environ, default_name=asked["job"]).config
    extra = {"spark.ui.enabled": "false", "spark.sql.streaming.numRecentProgressUpdates": "100000"}
    spark = session("bench", {**config.spark, **extra})
    spark.sparkContext.setLogLevel("ERROR")
    warmed = Warmed()
    spark.streams.addListener(warmed)
    query = _job(spark, job, config) if asked["program"] == "job" else _bare(spark, config)
    found = {**_rates(query), **_cpu(), **_memory(spark)}
    found["warm_cpu_s"] = found["cpu_s"] - warmed.cpu_s
    rows = spark.read.format("delta").load(str(_path(config)))
    found["rows"] = rows.count()
    if "rate" in rows.columns:
        found["rates"] = str(rows.agg(F.sum("rate")).first()[0])  # type: ignore[index]
    if isinstance(config, EnrichConfig) and asked["program"] == "job":
        found["wanted"] = calls_wanted(spark, rows, _ends(query), _lookup(config))
    print(json.dumps(found))
    spark.stop()


def _job(spark: SparkSession, job: Any, config: JobConfig) -> StreamingQuery:
    running = job.start(spark, config)
    running.wait()
    return running.query  # type: ignore[no-any-return]


def _bare(spark: SparkSession, config: JobConfig) -> StreamingQuery:
    query = _bare_stream(spark, config).start(str(_path(config)))
    query.awaitTermination()
    return query


def _bare_stream(spark: SparkSession, config: JobConfig) -> DataStreamWriter:
    assert config.kafka and config.source.kafka and config.sink.delta
    reader = spark.readStream.format("kafka").option("kafka.bootstrap.servers", config.kafka.bootstrap_servers)
    reader = reader.option("subscribe", str(config.source.kafka.topic)).option("startingOffsets", "earliest")
    records = reader.option("maxOffsetsPerTrigger", config.scaling.max_offsets_per_trigger).load()
    if isinstance(config, EnrichConfig):
        rows = one_call_an_event(_parsed(config, records), _lookup(config))
    else:
        rows = _events(records) if config.source.format == "event" else _joined(spark, config, records)
    writer = rows.writeStream.format("delta").option("checkpointLocation", str(config.checkpoint))
    return writer.partitionBy(*config.sink.delta.partition_by).trigger(availableNow=True)


def _events(records: DataFrame) -> DataFrame:
    """The log's columns, as far as they can be had without looking at any other event."""
    parsed = records.withColumn("e", F.from_json(F.col("value").cast("string"), SHORT))
    return parsed.select(
        F.get_json_object("e.data", "$.user_id").alias("stream_id"),
        F.concat_ws("/", "topic", "partition", "offset").alias("event_id"),
        "e.event_type",
        "e.data",
        F.timestamp_micros((F.col("e.timestamp") * 1_000_000).cast("bigint")).alias("occurred_at"),
        F.current_timestamp().alias("recorded_at"),
        "topic",
        "partition",
        "offset",
    )


def _joined(spark: SparkSession, config: JobConfig, records: DataFrame) -> DataFrame:
    customers = _customers(spark, config).persist()
    customers.count()
    return _parsed(config, records).join(F.broadcast(customers), "customer_id", "left")


def _parsed(config: JobConfig, records: DataFrame) -> DataFrame:
    schema = str(config.source.schema_)
    return records.select(F.from_json(F.col("value").cast("string"), schema).alias("e")).select("e.*")


def _lookup(config: EnrichConfig) -> Lookup:
    (lookup,) = (step.lookup for step in config.enrich.values() if step.lookup)
    return lookup


def _customers(spark: SparkSession, config: JobConfig) -> DataFrame:
    assert config.postgres and config.postgres.password
    options = {
        "url": str(config.postgres.url),
        "user": config.postgres.user,
        "password": config.postgres.password.get_secret_value(),
        "driver": "org.postgresql.Driver",
    }
    return spark.read.format("jdbc").options(**options).option("dbtable", "customers").load()


def _rates(query: StreamingQuery) -> dict[str, Any]:
    """Of all batches but the first ones: events a second, and the milliseconds of each."""
    batches = [p for p in query.recentProgress if p["numInputRows"]][WARM:]
    took = [p["durationMs"]["triggerExecution"] for p in batches]
    events = sum(p["numInputRows"] for p in batches)
    return {"events_per_s": events / (sum(took) / 1000), "batch_ms": took, "warm_events": events}


def _ends(query: StreamingQuery) -> list[dict[str, int]]:
    """Of each batch, the offsets at its end by partition."""
    sources = [p["sources"][0]["endOffset"] for p in query.recentProgress if p["numInputRows"]]
    found = [json.loads(end) if isinstance(end, str) else end for end in sources]
    return [parts for end in found for parts in end.values()]


class Warmed(QueryListener):
    """CPU seconds until the batches that are measured."""

    cpu_s = 0.0

    def onQueryProgress(self, event: QueryProgressEvent) -> None:
        if event.progress.batchId == WARM - 1:
            self.cpu_s = _cpu()["cpu_s"]


def _cpu() -> dict[str, float]:
    """CPU seconds so far of this process and all below it: the JVM and its Python workers."""
    known = dict(_processes())
    ours = {os.getpid()}
    while found := {pid for pid, (parent, _) in known.items() if parent in ours} - ours:
        ours |= found
    return {"cpu_s": sum(known[pid][1] for pid in ours)}


def _processes() -> Iterator[tuple[int, tuple[int, float]]]:
    """(process, (its parent, CPU seconds of it and of its ended children))."""
    tick = os.sysconf("SC_CLK_TCK")
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            fields = stat.read_text().rsplit(")", 1)[1].split()
            yield int(stat.parent.name), (int(fields[1]), sum(map(int, fields[11:15])) / tick)


def _memory(spark: SparkSession) -> dict[str, float]:
    jvm: Any = spark._jvm
    gc.collect()
    jvm.System.gc()
    heap = jvm.java.lang.management.ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed()
    blocks = sum(info.numCachedPartitions() for info in spark.sparkContext._jsc.sc().getRDDStorageInfo())
    return {
        "heap_mb": heap / 2**20,
        "cached_blocks": blocks,
        "python_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _path(config: JobConfig) -> str:
    assert config.sink.delta
    return str(config.sink.delta.path)


if __name__ == "__main__":
    main()
