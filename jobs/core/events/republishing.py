"""A republishing: the events of a log into a topic, step by step.

    begin   pin one version of the log, for as long as this takes, over any number of starts
    build   its events within the bounds, as records in the order in which they are due (`core.events.chunks`)
    send    a step at a time: what is due together, of one chunk; then remember where that ends
    drop    the chunks, and what was remembered

A start after a kill goes on behind the last step that was remembered. Of the one in flight, events may have been sent already:
they are sent again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core import delta_log
from jobs.core.errors import ConfigError, Problem
from jobs.core.events import pinned_log
from jobs.core.events.bounds import Bounds, selected
from jobs.core.events.chunks import Batch, Span
from jobs.core.events.outgoing import DUE, SECOND_US, Shape, timed
from jobs.core.events.outlook import Outlook
from jobs.core.events.pacing import Pace
from jobs.core.events.pinned_log import PinnedLog
from jobs.core.events.progress import Begun, Position, Progress
from jobs.core.events.sealing import Opener
from jobs.core.lease import Lease

TELL_S = 10.0  # from one line of the log to the next
log = logging.getLogger(__name__)


class OneIsForgotten(Exception):
    """What was made of the log has what is gone from it now."""


@dataclass(frozen=True)
class Request:
    """What is asked for: the same one again, at whatever speed, goes on with what it began."""

    job: str
    log: str
    broker: str
    topic: str
    work: str
    shape: Shape = "envelope"
    bounds: Bounds = field(default_factory=Bounds)
    speed: float | None = None  # seconds of the log's time a second; None: as fast as it goes
    events: int = 100_000  # about as many are sent in a step at most
    every_s: float = 1.0  # of the clock: what is due within it is sent together
    dry_run: bool = False
    opener: Opener = field(default_factory=Opener)

    def name(self) -> str:
        told = [self.job, self.log, self.broker, self.topic, self.shape, self.bounds.told()]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


class Topic(Protocol):
    """Where events go."""

    def id(self) -> str:
        """What makes it another topic than an earlier one of its name."""

    def send(self, outgoing: DataFrame, events: int, step: int) -> None:
        """OUTGOING. Raises SinkFailed."""


class Republisher:
    """One request, at whatever point it stands; asked to stop, it ends after the step in hand."""

    def __init__(
        self,
        spark: SparkSession,
        request: Request,
        topic: Topic,
        lease: Lease | None = None,
        clock: Callable[[], float] = time.monotonic,
        stopping: Event | None = None,
    ) -> None:
        self._spark, self.request, self._topic, self._lease = spark, request, topic, lease
        self._clock, self._stopping = clock, stopping or Event()
        self._progress = Progress(spark, request.work, request.name())
        self._told = clock()

    def request_stop(self) -> None:
        """Returns at once."""
        self._stopping.set()

    def run(self) -> None:
        """To its end, or until it is asked to stop. Raises ConfigError, DependencyMissing, SinkFailed, LeaseLost."""
        while True:
            begun = self.begin()
            try:
                spans = self.built(begun)
                if not spans:
                    log.warning("no event of %s is within the bounds", self.request.log)
                if self._send(spans, begun):
                    self._progress.forget()
                return
            except OneIsForgotten:
                log.warning(
                    "a subject is forgotten since its events were made: they are dropped, and sending begins anew"
                )
                self._progress.forget()

    def outlook(self) -> Outlook:
        """Raises ConfigError, DependencyMissing."""
        unfinished = self._unfinished()
        begun, sent = unfinished or self._newest(), self._progress.position().sent if unfinished else 0
        self._check(begun)
        counted = F.count(F.lit(1)), F.count_distinct("stream_id"), F.min(DUE), F.max(DUE)
        found = timed(self._events(begun)).agg(*counted).first()
        assert found is not None, "an aggregate has one row"
        return Outlook(begun.log_version, found[0], found[1], found[2], found[3], sent)

    def begin(self) -> Begun:
        """The unfinished one of the same request, or a new one. Raises ConfigError, DependencyMissing."""
        begun = self._unfinished()
        if begun is None:
            begun = self._newest()
            self._check(begun)
            self._progress.forget()
            self._progress.begin(begun)
        log.info("version %d of %s goes to topic %s", begun.log_version, self.request.log, self.request.topic)
        return begun

    def built(self, begun: Begun) -> list[Span]:
        """What an earlier start has built, or a new build."""
        spans = self._progress.spans()
        if spans is None:
            chunks = self._progress.chunks
            chunks.write(self._events(begun), self.request.shape, self.request.events)
            spans = chunks.spans()
            self._progress.built(spans)
        return spans

    def _send(self, spans: list[Span], begun: Begun) -> bool:
        """Whether all of it has been sent."""
        at, total = self._progress.position(), sum(span.all.events for span in spans)
        pace = Pace(self.request.speed, self._clock, self._stopping)
        for span in (span for span in spans if span.chunk >= at.chunk):
            waiting = self._waiting(span, at)
            while waiting:
                if not pace.wait(waiting[0]):
                    log.info("ended as asked: %d of %d events are sent", at.sent, total)
                    return False
                batch = pace.together(waiting)
                self._confirm(begun)
                at = self._step(span, at, batch)
                self._tell(at, total, pace.lag_s(batch))
        log.info("%d events are sent to topic %s", at.sent, self.request.topic)
        return True

    def _waiting(self, span: Span, at: Position) -> list[Batch]:
        """What a chunk still has, as it goes out together. Without a speed, a chunk is not looked into for that."""
        after_us = at.within(span)
        if after_us is None and self.request.speed is None:
            return [span.all]
        width_us = SECOND_US * self.request.every_s * (self.request.speed or 1)
        return self._progress.chunks.batches(span, after_us, max(width_us, 1.0))

    def _confirm(self, begun: Begun) -> None:
        """That what was made may be sent now. Raises LeaseLost, OneIsForgotten."""
        if self._lease:
            self._lease.confirm()
        if self.request.opener.forgotten(self._spark, self.request.log) != begun.forgotten:
            raise OneIsForgotten

    def _step(self, span: Span, at: Position, batch: Batch) -> Position:
        """One action, then what has to be remembered of it. Raises SinkFailed."""
        rows = self._progress.chunks.between(span.chunk, at.within(span), batch.until_us)
        self._topic.send(rows, batch.events, at.steps)
        reached = Position(span.chunk, batch.until_us, at.sent + batch.events, at.steps + 1)
        self._progress.reached(reached)
        return reached

    def _tell(self, at: Position, total: int, lag_s: float) -> None:
        """Not each step: there may be many in a second."""
        if self._clock() - self._told >= TELL_S:
            self._told = self._clock()
            late = f", {lag_s:.1f} s after they were due" if self.request.speed else ""
            log.info("%d of %d events are sent%s", at.sent, total, late)

    def _unfinished(self) -> Begun | None:
        """What an earlier start has begun, unless log or topic is another one, the log cannot be read as it was, or one more
        subject is forgotten."""
        found = self._progress.begun()
        if found is None or found != self._here(found.log_version):
            return None
        is_built = self._progress.spans() is not None
        return found if is_built or self._log(found).is_there() else None

    def _newest(self) -> Begun:
        """Raises DependencyMissing."""
        return self._here(pinned_log.newest(self._spark, self.request.log))

    def _here(self, log_version: int) -> Begun:
        """Raises ConfigError, DependencyMissing."""
        path = self.request.log
        forgotten = self.request.opener.forgotten(self._spark, path)
        return Begun(delta_log.table_id(self._spark, path), log_version, self._topic.id(), forgotten)

    def _check(self, begun: Begun) -> None:
        """Raises ConfigError."""
        self._log(begun).check(self.request.bounds.skips)
        came_from = self._log(begun).events().filter(F.col("_topic") == self.request.topic)
        if self.request.shape == "short" and came_from.head(1):
            known = "a short one has no id, and would be appended to the log once more"
            allowed = f"envelope: the log has events that came from topic {self.request.topic}, and {known}"
            raise ConfigError(Problem("into.shape", self.request.shape, allowed, "conf"))

    def _events(self, begun: Begun) -> DataFrame:
        """EVENT, within the bounds."""
        return selected(self._log(begun).events(), self.request.bounds)

    def _log(self, begun: Begun) -> PinnedLog:
        return PinnedLog(self._spark, self.request.log, begun.log_version, self.request.opener)
