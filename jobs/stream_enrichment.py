"""Enrich a stream, step by step (table join, temporal join, interval join, lookup by key, expressions).

In         source        one record an event, decoded by source.schema
           enrich        steps in their order: a reference table, the version of a table that held at the event's time, a
                         lookup in a service, another topic within a time bound, or SQL over the columns before it
Out        sink          stream columns, each step's columns, _enrichment (step: fresh, cached, stale, default, missed),
                         _topic, _partition, _offset; a column whose name there is already is called ref_<name>; where rows are
                         corrected, _revision: 0, and of a record the greatest one holds
Rejected   dead_letters  key, value and headers byte for byte, coordinates, reason; NO_REFERENCE and NO_ANSWER as each step
                         says, or they wait (waiting.parked) and are tried again until waiting.wait_for
Delivery   as the table join: exactly once into Delta, Parquet and PostgreSQL, at least once into Kafka, by event id
Staleness  a lookup's answer is at most cache.ttl old, or cache.max_stale while its service does not answer; a
           version that comes after the events of its time leaves their rows, or has them written again, as on_late says
State      with another topic: events that wait for their partner, in the checkpoint
Choose     what an event needs is too large to broadcast, or has to be asked for; else the table join
Run        spark-submit jobs/stream_enrichment.py --env local
"""

from __future__ import annotations

from pyspark.sql import SparkSession

from jobs.core import runner, stream
from jobs.core.clock import utc_now
from jobs.core.enrichment.chain import chain
from jobs.core.enrichment.corrections import corrections
from jobs.core.enrichment.settings import EnrichConfig
from jobs.core.enrichment.streams import stream_join
from jobs.core.running import Running


class Config(EnrichConfig):
    """conf/stream_enrichment.yaml."""


def start(spark: SparkSession, config: Config) -> Running:
    """Source -> decode -> steps -> sink, a batch at a time."""
    steps, waiting = chain(spark, config, utc_now), config.waiting
    return stream.start(
        spark,
        config,
        steps,
        ticks=[steps.tick],
        note=steps.note,
        wait=stream.wait(waiting.parked, waiting.wait_for, waiting.key_order) if waiting else None,
        prepare=steps.prepare,
        looks_ahead=steps.looks_ahead,
        watched=steps.watched(),
        plan=stream_join(spark, config),
        beside=lambda batch, records: corrections(spark, config, batch, steps, records),
    )


if __name__ == "__main__":
    runner.main(Config, start)
