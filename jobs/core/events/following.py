"""A projection that follows its log: after each step its table is what a replay of the whole log would give.

A step folds the events of the files that the log got since the version which the table is at, onto the states of their streams,
and merges what they come to into the table: one commit, whose `userMetadata` says which version of the log that is. So a
step that was killed is taken again, and none counts twice; Delta takes a version of a log and fold once, whoever brings it.

A whole replay comes first where the table is not known to stand at a version of this log by this fold: it is new, it was made
with bounds or by another fold, somebody else has written to it, or the log cannot say what was added. What a stream without a
state had before it came to that does not matter to any rule, so the table alone is enough to go on from.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from threading import Event
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core import delta_log
from jobs.core.connections import Breaker, Retry
from jobs.core.errors import DependencyMissing, StoppedWaiting
from jobs.core.events import failing, pinned_log, swapping
from jobs.core.events.pinned_log import PinnedLog
from jobs.core.events.rebuilding import Rebuild, Request
from jobs.core.guard import Guard
from jobs.core.lease import Lease
from jobs.core.retry import is_transient

HARMLESS = {"OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "UNSET TBLPROPERTIES", "CLUSTER BY"}
TRANSACTION, VERSION = "spark.databricks.delta.write.txnAppId", "spark.databricks.delta.write.txnVersion"
METADATA = "spark.databricks.delta.commitInfo.userMetadata"
log = logging.getLogger(__name__)


class Follower:
    """Steps without an end; asked to stop, it ends after the one in hand."""

    def __init__(self, spark: SparkSession, request: Request, lease: Lease | None = None) -> None:
        self._spark, self.request, self._lease = spark, request, lease
        self._stopping = Event()

    def request_stop(self) -> None:
        """Returns at once."""
        self._stopping.set()

    def run(self, every_s: float) -> None:
        """After its first step it stands still while what it needs is away. Raises EventFailed, ReplayRefused, LeaseLost; then
        the table stands where the last step left it.
        """
        guard, step = Guard(Retry(), Breaker(), self._stopping), self.step
        with suppress(StoppedWaiting):
            while not self._stopping.is_set():
                step()
                step = partial(guard, self._again)
                self._stopping.wait(every_s)

    def _again(self) -> None:
        """What was there at first, and may come back, is away."""
        try:
            self.step()
        except DependencyMissing as missing:
            cause = missing.__cause__
            raise cause if isinstance(cause, Exception) and is_transient(cause) else missing from None

    def step(self) -> None:
        """Brings the table up to the log as it is now."""
        if self._lease:
            self._lease.confirm()
        newest = pinned_log.newest(self._spark, self.request.log)
        self.request = self.request.now(self._spark)
        at, log_now = self.position(), PinnedLog(self._spark, self.request.log, newest, self.request.opener)
        new = log_now.since(at) if at is not None and at <= newest else None
        if new is None:
            Rebuild(self._spark, self.request, self._lease).run()
        elif at != newest:
            self._merge(new.events, newest)

    def position(self) -> int | None:
        """The version of the log that the table is at; None where that is not known."""
        for operation, said in swapping.said(self._spark, self.request.into):
            if said or operation not in HARMLESS:
                return int(said["log_version"]) if self._is_ours(said) else None
        return None

    def _is_ours(self, said: Mapping[str, Any]) -> bool:
        wanted = {**self.request.told(), "log_id": delta_log.table_id(self._spark, self.request.log)}
        return all(said.get(name) == value for name, value in wanted.items() if name != "job")

    def _merge(self, new: DataFrame, version: int) -> None:
        """One commit. Raises EventFailed."""
        partials = self.request.projection.partials(new, self._base(new)).persist()
        try:
            with failing.named(new):
                streams = partials.count()
            table = DeltaTable.forPath(self._spark, self.request.into).alias("held")
            merge = table.merge(partials.alias("new"), "held.stream_id = new.stream_id")
            columns: dict[str, str | Column] = {
                name: F.col(f"new.{name}") for name in partials.columns if name != "has_state"
            }
            merge = merge.whenMatchedDelete("NOT new.has_state").whenMatchedUpdate(set=columns)
            with self._committing(version):
                merge.whenNotMatchedInsert("new.has_state", columns).execute()
        finally:
            partials.unpersist()
        log.info("%s follows version %d of the log: %d streams", self.request.into, version, streams)

    def _base(self, new: DataFrame) -> DataFrame:
        """PARTIAL of the streams that have new events, where they have a state."""
        held = self._spark.read.format("delta").load(self.request.into)
        touched = held.join(new.select("stream_id").distinct(), "stream_id", "left_semi")
        return touched.withColumn("has_state", F.lit(True))

    @contextmanager
    def _committing(self, version: int) -> Iterator[None]:
        """What the commit says of itself; these are settings of a session, which have to go again."""
        log_id = delta_log.table_id(self._spark, self.request.log)
        told = {**self.request.told(), "log_id": log_id, "log_version": version}
        settings = {
            METADATA: json.dumps(told, sort_keys=True),
            TRANSACTION: f"{self.request.fold}-{log_id}",
            VERSION: str(version),
        }
        for name, value in settings.items():
            self._spark.conf.set(name, value)
        try:
            yield
        finally:
            for name in settings:
                self._spark.conf.unset(name)
