"""Appends to Delta tables, each committed on the snapshot that it has read its right to write from.

The table property `patterns.epoch.<job>` is the epoch under which the job is written. A job's instance raises it to its own
before it looks at what the table holds, and appends only to a snapshot that has it:

    the snapshot has     the append
    no table             makes it, with the epoch, in one commit
    this epoch           goes on; if the property changes before it commits, Delta refuses the commit
    a lower one, none    is not made: the epoch is raised, and BeginAnew says that what was looked at may have changed
    a higher one         is refused: LeaseLost

So an instance that stood still, at whatever point, adds nothing to what its successor has looked at. Delta's public writer
takes a snapshot of its own, which nobody can look at before it is written on; so this speaks with the classes behind it, of
the one version that the project is locked to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from jobs.core import delta_log
from jobs.core.delta_log import DELTA, Scala
from jobs.core.failures import BeginAnew
from jobs.core.jvm import java_class, scala_object
from jobs.core.lease import Lease


@dataclass(frozen=True)
class Append:
    """Rows for the table at a path, which the first append makes."""

    path: str
    rows: DataFrame
    partition_by: Sequence[str]
    metadata: str  # what the commit says of itself


def append(wanted: Append, lease: Lease | None) -> None:
    """Commits the rows, or nothing where there are none. Raises LeaseLost, BeginAnew."""
    spark = wanted.rows.sparkSession
    scala, log = delta_log.Scala(spark), delta_log.log(spark, wanted.path)
    transaction = log.startTransaction(scala.none, scala.none)
    made_with = _entitled(spark, wanted.path, transaction, lease)
    active = scala_object(spark, f"{DELTA}.OptimisticTransaction")
    active.setActive(transaction)
    try:
        _commit(spark, scala, log, transaction, wanted, made_with)
    finally:
        active.clearActive()


def raise_epoch(spark: SparkSession, path: str, lease: Lease) -> None:
    """Makes the table this lease's, if there is one. Raises LeaseLost."""
    if not DeltaTable.isDeltaTable(spark, path):
        return
    found = _epoch(delta_log.snapshot(spark, path).metadata(), lease)
    if found > lease.epoch:
        raise lease.loss()
    if found < lease.epoch:
        spark.sql(f"ALTER TABLE delta.`{path}` SET TBLPROPERTIES ('{_property(lease)}' = '{lease.epoch}')")


def _entitled(spark: SparkSession, path: str, transaction: Any, lease: Lease | None) -> dict[str, str]:
    """The properties of the table that this append may make."""
    if lease is None:
        return {}
    if transaction.readVersion() >= 0 and _epoch(transaction.metadata(), lease) != lease.epoch:
        raise_epoch(spark, path, lease)
        raise BeginAnew(f"{path} was not yet written under epoch {lease.epoch} of {lease.job}")
    return {_property(lease): str(lease.epoch)}


def _commit(
    spark: SparkSession, scala: Scala, log: Any, transaction: Any, wanted: Append, made_with: dict[str, str]
) -> None:
    session: Any = spark._jsparkSession
    mode, columns = java_class(spark, "org.apache.spark.sql.SaveMode").Append, scala.seq(wanted.partition_by)
    told = scala.map({"userMetadata": wanted.metadata})
    options = java_class(spark, f"{DELTA}.DeltaOptions")(told, session.sessionState().conf())
    none, made = scala.none, scala.map(made_with)
    command = java_class(spark, f"{DELTA}.commands.WriteIntoDelta")
    write = command(log, mode, options, columns, made, wanted.rows._jdf, none, none, False)
    actions = write.write(transaction, session, none, False)
    said = (none, scala.some(wanted.metadata), *[scala.some(False)] * 3, none, none)
    operation = java_class(spark, f"{DELTA}.DeltaOperations$Write")(mode, scala.some(columns), *said)
    transaction.commitIfNeeded(actions, operation, scala.map({}))


def _property(lease: Lease) -> str:
    return f"patterns.epoch.{lease.job}"


def _epoch(metadata: Any, lease: Lease) -> int:
    """The epoch that a table is written under; 0 where it is none yet."""
    found = metadata.configuration().get(_property(lease))
    return int(found.get()) if found.isDefined() else 0
