"""From the config and a job's own parts to a running job: the wiring of source, decoder, transform, sinks and ledger.

`start` takes the job's lease first, then looks at all that is there, and only then begins the query; a job adds its transform
and what has to tick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import Event
from typing import Any, Protocol

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from jobs.core import classify, continuity, dead_letters, doubt, lateness, recovery, sources
from jobs.core import lease as leases
from jobs.core.batch import Dropped, MicroBatch, Planned, Prepare, is_in_doubt, unprepared
from jobs.core.budget import Budget
from jobs.core.causes import namer, naming
from jobs.core.checkpoint import Checkpoint
from jobs.core.classify import Transform
from jobs.core.clock import Clock, utc_now
from jobs.core.config import JobConfig, Trigger
from jobs.core.failures import Away, is_of_kafka
from jobs.core.files import keep_private
from jobs.core.guard import SOURCE, Guard
from jobs.core.holder import this
from jobs.core.lease import Lease
from jobs.core.ledger import Books, takeover, telling
from jobs.core.metrics import Metrics
from jobs.core.order import key_order
from jobs.core.outlets import Outlets, Phase
from jobs.core.parking import Parking, Wait
from jobs.core.redriven import redrive
from jobs.core.release import Release
from jobs.core.retry_topics import DueLetters, retried
from jobs.core.running import Running, Tick
from jobs.core.sinks import Sink
from jobs.core.sinks.places import fitting, folders, place, register
from jobs.core.sinks.scaled import scaled
from jobs.core.values import Duration
from jobs.core.watch import NOTHING, Watch
from jobs.core.watched import Watched

Note = Callable[[], dict[str, str]]
Beside = Callable[[MicroBatch, StructType], Sequence[Tick]]  # given the schema of what the source brings
SINK, DEAD_LETTERS = "sink", "dead_letters"
CALLED = {"write": SINK, "ledger": SINK, "dead_letters": DEAD_LETTERS}  # phase of a batch: which dependency it calls


class Plan(Planned, Protocol):
    """A part of a query's plan."""

    def made(self, records: DataFrame) -> DataFrame:
        """The stream that a source brings -> DECODED."""


def nothing_beside(batch: MicroBatch, records: StructType) -> Sequence[Tick]:
    return []


@dataclass(frozen=True)
class Given:
    """What a job adds."""

    transform: Transform
    ticks: Sequence[Tick]
    note: Note
    clock: Clock
    wait: Wait | None
    watched: Watched
    prepare: Prepare
    dropped: Dropped
    make: Callable[[], None]
    looks_ahead: bool
    beside: Beside
    plan: Plan | None


def start(
    spark: SparkSession,
    config: JobConfig,
    transform: Transform,
    ticks: Sequence[Tick] = (),
    note: Note = dict,
    clock: Clock = utc_now,
    wait: Wait | None = None,
    watched: Watched = NOTHING,
    prepare: Prepare = unprepared,
    dropped: Dropped = "filtered",
    make: Callable[[], None] = lambda: None,
    looks_ahead: bool = False,
    beside: Beside = nothing_beside,
    plan: Plan | None = None,
) -> Running:
    """Starts the job, under its lease; `make` comes before anything of the sink is looked at.

    A transform that `looks_ahead` reads its events before it gives any. What is done `beside` batches calls what they call, and
    waits for it as they do. A `plan` is applied to the stream itself.

    Raises DependencyMissing, LeaseHeld, CheckpointDamaged, LedgerMismatch, SourceLost, ConfigError before any row is written.
    """
    given = Given(transform, ticks, note, clock, wait, watched, prepare, dropped, make, looks_ahead, beside, plan)
    with naming(_places(config, wait)):
        keep_private(spark, _places(config, wait))
        lease = leases.take(register(spark, config), config.job, this(clock()), config.lease)
        try:
            return _start(spark, config, given, lease)
        except BaseException:
            lease.give_back()
            raise


def _start(spark: SparkSession, config: JobConfig, given: Given, lease: Lease) -> Running:
    stream, metrics = sources.read(spark, config), Metrics(config.job, given.clock)
    budget = Budget(config.job, config.error_budget, metrics.budget) if config.error_budget else None
    given.make()
    target, ledger = place(spark, config, telling(metrics.batch, *([budget.told] if budget else [])), lease)
    if lease.taken_from:
        ledger.append(takeover(config.job, lease.epoch, str(lease.taken_from), given.clock()))
    outlets, checkpoint = _outlets(spark, config, given, target, lease), Checkpoint(spark, str(config.checkpoint))
    source = continuity.Source(spark, config, checkpoint, ledger)
    source.check()
    recovery.ready(spark, config, checkpoint, ledger, given.clock)
    if ledger.last_batch:
        metrics.resumed(ledger.last_batch)
    watch = Watch(spark, config, metrics, checkpoint, given.clock, given.watched)
    keep_private(spark, [checkpoint.path])
    batch = _batch(config, given, checkpoint, ledger, outlets, source)
    guard = _guard(config, metrics)
    batch.phase, batch.redrive = _phase(metrics, guard), redrive(spark, config, checkpoint.path)
    waits = outlets.parked.pending if outlets.parked and _in_order(config, given.wait) else None
    batch.order, batch.planned = key_order(spark, config, lease, waits), given.plan
    due = DueLetters(spark, config, checkpoint.path, given.clock, metrics.retried)
    due.tick()  # so that a run over what is there has them, too
    releases = [Release(batch, outlets.parked)] if outlets.parked else []
    for release in releases:
        release.reopen()
    checks = [budget.check] if budget else []
    if config.scaling.shuffle_partitions:
        spark.conf.set("spark.sql.shuffle.partitions", str(config.scaling.shuffle_partitions))
    planned = given.plan.made(stream) if given.plan else stream
    writer = planned.writeStream.queryName(config.job).option("checkpointLocation", checkpoint.path)
    ticks = [lease.check, *given.ticks, due.tick]
    named = namer(source.check, [checkpoint.path, *_places(config, given.wait)])
    beside = [*(release.tick for release in releases), *given.beside(batch, stream.schema)]
    running = Running(batch, lease, guard, watch, ticks, beside, checks, named)
    return running.begin(writer.trigger(**_trigger(config.trigger)))


def _places(config: JobConfig, wait: Wait | None) -> list[str]:
    """All folders of the job but its checkpoint."""
    return [*folders(config), *([wait.path] if wait else [])]


def _outlets(spark: SparkSession, config: JobConfig, given: Given, target: Sink, lease: Lease) -> Outlets:
    wait = given.wait
    parking = Parking(spark, wait.path, wait.wait_for, lease) if wait else None
    dead = retried(spark, config, dead_letters.sink(spark, config, lease))
    late = lateness.bound(spark, config, lease, given.plan is not None)
    return Outlets(scaled(target, config.scaling), dead, parking, late, config.sink.max_refused)


def _batch(
    config: JobConfig,
    given: Given,
    checkpoint: Checkpoint,
    ledger: Books,
    outlets: Outlets,
    source: continuity.Source,
) -> MicroBatch:
    """With what the checkpoint and the ledger leave open."""
    last = ledger.last_batch
    unsure = doubt.lasting(last.note, last.end) if last else {}
    in_doubt = bool(unsure) or is_in_doubt(checkpoint, ledger)
    decode = classify.as_it_came if given.plan else classify.decoder(config.source)
    routed = fitting(config, given.transform)

    def noted() -> dict[str, str]:
        return {**given.note(), **source.note}

    wiring = (config.job, checkpoint, ledger, outlets, decode, routed, given.clock, noted)
    return MicroBatch(*wiring, given.prepare, given.dropped, given.looks_ahead, in_doubt, unsure)


def _guard(config: JobConfig, metrics: Metrics) -> Guard:
    """Around each batch: while what it needs is away, it is tried again and stands still, and metrics say so."""
    dead = config.dead_letters
    in_kafka = {SOURCE, *([SINK] if config.sink.kafka else []), *([DEAD_LETTERS] if dead and dead.kafka else [])}

    def whose(dependency: str, failure: BaseException) -> str:
        """A lookup's failure names it. To write is to read, too: a broker's is the source's where nothing else is in one."""
        if isinstance(failure, Away):
            return failure.dependency
        return SOURCE if dependency not in in_kafka and is_of_kafka(failure) else dependency

    return Guard(
        config.retry,
        config.breaker,
        Event(),
        on_retry=lambda dependency, *_: metrics.retried(dependency),
        on_change=lambda dependency, before, after: metrics.breaker(dependency, after),
        whose=whose,
    )


def _phase(metrics: Metrics, guard: Guard) -> Phase:
    """Times a part of a batch, which is a call of the dependency that it writes to."""

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        with metrics.phase(name), guard.calling(CALLED[name]):
            yield

    return phase


def wait(path: str | None, wait_for: Duration | None, key_order: bool) -> Wait | None:
    return Wait(path, timedelta(milliseconds=wait_for.ms), key_order) if path and wait_for else None


def _in_order(config: JobConfig, wait: Wait | None) -> bool:
    """Whether what waits holds its key up; where a dead letter does, what may become one does, too."""
    letters = config.dead_letters
    return bool((wait and wait.key_order) or (letters and letters.key_order))


def _trigger(trigger: Trigger) -> dict[str, Any]:
    if trigger.available_now:
        return {"availableNow": True}
    assert trigger.every is not None, "the config has exactly one trigger"
    return {"processingTime": f"{int(trigger.every.ms)} milliseconds"}
