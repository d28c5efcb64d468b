"""From the config to the sink, and to the ledger's place beside it."""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import DataFrame, SparkSession

from jobs.core import doubt
from jobs.core.config import JobConfig
from jobs.core.lease import Lease, Register
from jobs.core.lease_files import FileRegister
from jobs.core.lease_postgres import PostgresRegister, fence
from jobs.core.ledger import Books, Ledger, Told, untold
from jobs.core.ledger_postgres import PostgresLedger, unfenced
from jobs.core.postgres import Database
from jobs.core.sinks import Sink
from jobs.core.sinks.messages import routed
from jobs.core.sinks.postgres import PostgresSink
from jobs.core.sinks.tables import DeltaTableSink, ParquetSink
from jobs.core.sinks.topics import KafkaSink
from jobs.core.sinks.views import ConsoleSink, MemorySink

Transform = Callable[[DataFrame], DataFrame]


def place(
    spark: SparkSession, config: JobConfig, told: Told = untold, lease: Lease | None = None
) -> tuple[Sink, Books]:
    """The sink that the config names, and its ledger, which tells of each record. Without a lease they are only read.

    Raises DependencyMissing.
    """
    if not config.sink.postgres:
        ledger = Ledger(spark, ledger_path(config), told)
        return _sink(spark, config, ledger, lease), ledger
    assert config.postgres, "a sink in PostgreSQL comes with a database"
    database = Database(config.postgres)
    table = PostgresSink(spark, database, config.job, config.sink.postgres, lease.epoch if lease else 0)
    return table, PostgresLedger(database, config.job, table, told, fence(lease) if lease else unfenced)


def register(spark: SparkSession, config: JobConfig) -> Register:
    """Where the job's lease is recorded: in the sink's database, else beside the ledger."""
    if not config.sink.postgres:
        return FileRegister(spark, lease_path(config))
    assert config.postgres, "a sink in PostgreSQL comes with a database"
    return PostgresRegister(Database(config.postgres), config.job)


def _sink(spark: SparkSession, config: JobConfig, ledger: Ledger, lease: Lease | None) -> Sink:
    target = config.sink
    if target.kafka:
        assert config.kafka, "a sink in kafka comes with a broker"
        return KafkaSink(spark, config.kafka, config.job, target.kafka, lambda: doubt.since(ledger.last_batch))
    if target.delta:
        return DeltaTableSink(spark, str(target.delta.path), target.delta.partition_by, lease)
    if target.parquet:
        return ParquetSink(spark, str(target.parquet.path), target.parquet.partition_by)
    if target.memory:
        return MemorySink(spark, target.memory.name)
    assert target.console, "the config has exactly one sink"
    return ConsoleSink(target.console.rows)


def fitting(config: JobConfig, transform: Transform) -> Transform:
    """The transform, after which a row that the sink has no place for gets a reason."""
    target = config.sink.kafka
    return (lambda events: routed(transform(events), target)) if target else transform


def folders(config: JobConfig) -> list[str]:
    """All that the job keeps in files, but for its checkpoint and what it parks; each comes before what is inside it."""
    dead = config.dead_letters.delta if config.dead_letters else None
    late = config.source.late.to.delta if config.source.late else None
    order = config.dead_letters.key_order if config.dead_letters else None
    tables = [place for place in (config.sink.delta, config.sink.parquet, dead, late, order) if place]
    ledger = [] if config.sink.postgres else [ledger_path(config), lease_path(config)]
    return [*(str(table.path) for table in tables), *ledger]


def ledger_path(config: JobConfig) -> str:
    """`_ledger/<job>` in the sink's folder, which readers and VACUUM pass over; else beside the checkpoint."""
    if config.ledger:
        return str(config.ledger)
    table = config.sink.delta or config.sink.parquet
    return f"{table.path}/_ledger/{config.job}" if table else f"{config.checkpoint}.ledger"


def lease_path(config: JobConfig) -> str:
    return f"{ledger_path(config)}.lease"
