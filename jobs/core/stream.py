"""A running job: one query, its ticker, and an end between batches.

`start` wires source, decoder, transform, sinks and ledger together; a job adds its transform and what has to tick. Batches and
ticks share one lock, so nothing changes under a batch; `foreachBatch` does not fire on an idle topic, ticks do.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from threading import Event
from typing import Any

from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming import StreamingQuery

from jobs.core import classify, continuity, dead_letters, doubt, logs, recovery, sources
from jobs.core.batch import Clock, MicroBatch, Outlets, Transform, utc_now
from jobs.core.causes import Namer, namer
from jobs.core.checkpoint import Checkpoint
from jobs.core.config import JobConfig, Scaling, Trigger
from jobs.core.errors import StoppedWaiting
from jobs.core.files import Folder
from jobs.core.guard import Guard, guard
from jobs.core.ledger import Books
from jobs.core.metrics import Metrics
from jobs.core.parking import Parking
from jobs.core.reference import Status
from jobs.core.release import Release
from jobs.core.retry import is_transient
from jobs.core.sinks import Sink
from jobs.core.sinks.places import folders, place
from jobs.core.values import Duration
from jobs.core.watch import Watch

Tick = Callable[[], None]
TICK_S = 0.5
NEVER = Duration("3650d")
BATCH = "batch"  # the breaker's name: source, sink and dead letters of one micro-batch
log = logging.getLogger(__name__)


class Stopping(Exception):
    """Raised inside a batch that has not begun yet when the job is asked to end."""


class Running:
    """A started job; `wait` returns when it ended as asked, and raises what ended it otherwise."""

    def __init__(
        self,
        batch: MicroBatch,
        guard: Callable[[Event], Guard],
        watch: Watch,
        ticks: Sequence[Tick],
        releases: Sequence[Tick] = (),
        named: Namer = lambda failure: failure,
    ) -> None:
        self.batch, self.watch, self._named = batch, watch, named
        self._ticks, self._releases = [*ticks, *releases], list(releases)
        self.query: StreamingQuery
        self._lock = threading.Lock()
        self._stopping = Event()
        self._guard = guard(self._stopping)
        self._failure: BaseException | None = None
        self._ticker = threading.Thread(target=self._tick_until_stopped, name="ticker", daemon=True)

    def begin(self, writer: Any) -> Running:
        """Raises ConfigError where the port to watch it at cannot be had."""
        self.watch.start(self._stopping.is_set)
        self._again = writer.foreachBatch(self._run).start
        try:
            self.query = self._again()
        except BaseException:
            self.watch.stop()
            raise
        self._ticker.start()
        return self

    @property
    def stop_requested(self) -> bool:
        return self._stopping.is_set()

    def request_stop(self) -> None:
        """Asks for an end between batches; returns at once."""
        self._stopping.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until the query ends (True) or the time is up (False). Raises what made it fail."""
        waited = 0.0
        while not self._ended():
            if timeout_s is not None and waited >= timeout_s:
                return False
            waited += TICK_S
        self._finish()
        return True

    def stop(self) -> None:
        """Ends between batches and waits for it."""
        self.request_stop()
        self.wait()

    def _ended(self) -> bool:
        if self._stopping.is_set():
            with self._lock:
                self.query.stop()
            return True
        try:
            waiting: Any = self.query  # PySpark takes fractions of a second, its types say it does not
            return bool(waiting.awaitTermination(TICK_S))
        except StreamingQueryException as failure:
            return not self._goes_on(failure)

    def _goes_on(self, failure: StreamingQueryException) -> bool:
        """Whether the query was started again: between batches, the source was away for longer than Spark waits."""
        if self._stopping.is_set() and self._failure is None:  # a batch that did not begin, as the job is to end
            return False
        cause = self._failure or self._named(failure)
        if self._failure is not None or not is_transient(cause):
            self._failure = cause
            return False
        with suppress(StoppedWaiting):
            self._guard.give_up(failure)
            self.batch.in_doubt = True
            self.query = self._again()
        return True

    def _finish(self) -> None:
        self._stopping.set()
        self._ticker.join()
        if self._failure is None:
            self._tick(self._releases)
        self.watch.stop()
        if self._failure is not None:
            raise self._named(self._failure)

    def _run(self, records: DataFrame, batch_id: int) -> None:
        while not self._lock.acquire(timeout=0.1):
            if self._stopping.is_set():
                raise Stopping
        try:
            if self._stopping.is_set():
                raise Stopping
            with logs.fields(query_id=_query_id(records), batch_id=str(batch_id)):
                self._guard(lambda: self.batch.run(records, batch_id))
        except (Stopping, StoppedWaiting):
            raise
        except BaseException as failure:
            self._failure = self._failure or failure
            raise
        finally:
            self._lock.release()

    def _tick_until_stopped(self) -> None:
        while not self._stopping.wait(TICK_S):
            with self._lock:
                self._tick(self._ticks)

    def _tick(self, ticks: Sequence[Tick]) -> None:
        try:
            for tick in ticks:
                tick()
        except Exception as failure:  # whatever it is, it has to end the job, not the ticker alone
            self._failure = failure
            self._stopping.set()


def start(
    spark: SparkSession,
    config: JobConfig,
    transform: Transform,
    ticks: Sequence[Tick] = (),
    note: Callable[[], dict[str, str]] = dict,
    clock: Clock = utc_now,
    parking: Parking | None = None,
    reference: Callable[[], Status] | None = None,
) -> Running:
    """Starts the job. Raises DependencyMissing, CheckpointDamaged, LedgerMismatch, ConfigError before anything is written."""
    stream = sources.read(spark, config)
    metrics = Metrics(config.job, clock)
    target, ledger = place(spark, config, metrics.batch)
    outlets = Outlets(scaled(target, config.scaling), dead_letters.sink(spark, config), parking)
    checkpoint = Checkpoint(spark, str(config.checkpoint))
    source = continuity.Source(spark, config, checkpoint, ledger)
    source.check()
    recovery.ready(spark, config, checkpoint, ledger, clock)
    if ledger.last_batch:
        metrics.resumed(ledger.last_batch)
    watch = Watch(spark, config, metrics, checkpoint, clock, reference)
    places = [*folders(config), *([parking.path] if parking else [])]
    _keep_private(spark, places)
    decode = classify.decoder(config.source)
    last = ledger.last_batch
    unsure = doubt.lasting(last.note, last.end) if last else {}
    in_doubt = bool(unsure) or _in_doubt(checkpoint, ledger)

    def noted() -> dict[str, str]:
        return {**note(), **source.note}

    batch = MicroBatch(
        config.job, checkpoint, ledger, outlets, decode, transform, clock, noted, in_doubt, unsure, metrics.phase
    )
    releases = [Release(batch, parking).tick] if parking else []
    if config.scaling.shuffle_partitions:
        spark.conf.set("spark.sql.shuffle.partitions", str(config.scaling.shuffle_partitions))
    writer = stream.writeStream.queryName(config.job).option("checkpointLocation", checkpoint.path)
    named = namer(source.check, places)
    running = Running(batch, lambda stopping: _guard(config, metrics, stopping), watch, ticks, releases, named)
    return running.begin(writer.trigger(**_trigger(config.trigger)))


def _guard(config: JobConfig, metrics: Metrics, stopping: Event) -> Guard:
    """Around each batch: while what it needs is away, it is tried again and stands still, and metrics say so.

    A batch is as slow as it is large: slowness says nothing of what it depends on.
    """
    return guard(
        BATCH,
        config.retry,
        config.breaker.model_copy(update={"slow_call": NEVER}),
        stopping,
        on_retry=lambda dependency, *_: metrics.retried(dependency),
        on_change=lambda dependency, before, after: metrics.breaker(dependency, after),
    )


def _keep_private(spark: SparkSession, paths: Sequence[str]) -> None:
    """Only where driver and executors are one process: on a cluster, another user's executors may have to write there."""
    if str(spark.sparkContext.master).startswith("local"):
        for path in paths:
            Folder(spark, path).make_private()


def parking(spark: SparkSession, path: str | None, wait_for: Duration | None) -> Parking | None:
    return Parking(spark, path, timedelta(milliseconds=wait_for.ms)) if path and wait_for else None


def scaled(target: Sink, scaling: Scaling) -> Sink:
    """The same sink behind the config's repartition or coalesce."""
    return Scaled(target, scaling) if scaling.repartition or scaling.coalesce else target


class Scaled:
    """Sets the number of tasks that write, and so of files."""

    def __init__(self, target: Sink, scaling: Scaling) -> None:
        self._target, self._scaling = target, scaling

    def append(self, rows: DataFrame, mark: Any) -> None:
        self._target.append(spread(rows, self._scaling), mark)

    def held(self) -> DataFrame | None:
        return self._target.held()

    def records(self) -> DataFrame | None:
        return self._target.records()


def spread(rows: DataFrame, scaling: Scaling) -> DataFrame:
    """ROWS -> ROWS, in as many partitions as the config says."""
    again = scaling.repartition
    if again:
        by: list[Any] = [*([again.count] if again.count else []), *again.by]
        rows = rows.repartition(*by)
    return rows.coalesce(scaling.coalesce) if scaling.coalesce else rows


def _trigger(trigger: Trigger) -> dict[str, Any]:
    if trigger.available_now:
        return {"availableNow": True}
    assert trigger.every is not None, "the config has exactly one trigger"
    return {"processingTime": f"{int(trigger.every.ms)} milliseconds"}


def _query_id(records: DataFrame) -> str:
    """As Spark keeps it for the thread that runs the batch: known before `start` has returned."""
    return str(records.sparkSession.sparkContext.getLocalProperty("sql.streaming.queryId"))


def _in_doubt(checkpoint: Checkpoint, ledger: Books) -> bool:
    planned = checkpoint.planned()
    known = ledger.last_batch.batch_id if ledger.last_batch else -1
    return bool(planned) and planned[-1] > known
