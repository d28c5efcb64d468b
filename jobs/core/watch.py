"""The watch over a running job: listens to its query, asks its broker, serves what is known.

Nothing of it runs where `monitoring.port` is null. All of it runs beside the query: a batch that hangs, a broker that does not
answer and a slow client hold up neither each other nor the stream.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from typing import Any

from pyspark.sql import SparkSession

from jobs.core import kafka, sources
from jobs.core.checkpoint import Checkpoint
from jobs.core.config import JobConfig
from jobs.core.health import Readiness, Server, State, app
from jobs.core.listening import QueryListener
from jobs.core.metrics import Metrics
from jobs.core.watched import Watched

NOTHING = Watched()
ENDING_S = 2  # how long a look at the broker may still take when the job ends
log = logging.getLogger(__name__)


class Watch:
    """Listener, look-out and server of one job."""

    def __init__(
        self,
        spark: SparkSession,
        config: JobConfig,
        metrics: Metrics,
        checkpoint: Checkpoint,
        clock: Callable[[], datetime],
        beside: Watched = NOTHING,
    ) -> None:
        self._spark, self._config, self._metrics, self._checkpoint = spark, config, metrics, checkpoint
        self._beside = beside
        self._listener = Listener(config.job, metrics)
        self._stopping: Callable[[], bool] = lambda: False
        self._readiness = Readiness(config.monitoring.ready, self.state, clock)
        self._ended = threading.Event()
        self._open = ExitStack()
        self._answered = True
        self.url: str | None = None
        metrics.watch(beside)

    def start(self, stopping: Callable[[], bool]) -> None:
        """Before the query starts. Raises ConfigError where the port cannot be had."""
        given = self._config.monitoring
        if given.port is None:
            return
        self._stopping = stopping
        server = Server(given.host, given.port, app(self._metrics.registry, self._readiness))
        self._open.callback(server.close)
        self._listen()
        self._look_out()
        self.url = server.url
        log.info("monitoring: %s/metrics, /healthz, /readyz", server.url)

    def stop(self) -> None:
        self._open.close()

    def state(self) -> State:
        behind = self._metrics.lag.behind()
        return State(
            self._metrics.progress_at,
            None if behind is None else sum(behind.values()),
            self._metrics.open_breakers,
            self._beside.stale(),
            self._listener.alive,
            self._stopping(),
        )

    def look(self) -> None:
        """Asks the broker where its topics end; while it does not answer, the lag is not known."""
        try:
            if not self._metrics.lag.placed:
                self._metrics.lag.begins(self._checkpoint.start(0))
            self._metrics.lag.ends(self._spans())
            self._answered = True
        except Exception as failure:  # whatever it is, the next look may do better; the query is not to end for it
            self._metrics.lag.ends(None)
            if self._answered:  # once, not every few seconds
                log.warning("the lag is not known: %s", str(failure).partition("\n")[0])
            self._answered = False

    def _spans(self) -> kafka.Spans:
        assert self._config.kafka, "only a source in Kafka is looked at"
        return kafka.spans(self._spark, self._config.kafka, sources.subscribed(self._spark, self._config))

    def _listen(self) -> None:
        self._spark.streams.addListener(self._listener)
        self._open.callback(self._spark.streams.removeListener, self._listener)

    def _look_out(self) -> None:
        thread = threading.Thread(target=self._look_until_ended, name="look-out", daemon=True)
        self._open.callback(thread.join, ENDING_S)
        self._open.callback(self._ended.set)
        thread.start()

    def _look_until_ended(self) -> None:
        self._observe()
        while not self._ended.wait(self._config.monitoring.every.seconds_total):
            self._observe()

    def _observe(self) -> None:
        if self._config.source.kafka:
            self.look()
        self._readiness.causes()  # so that the time for which the lag is too great counts without requests


class Listener(QueryListener):
    """Passes on what Spark tells of one query; the session may have others."""

    def __init__(self, job: str, metrics: Metrics) -> None:
        self._job, self._metrics = job, metrics
        self._run: Any = None

    @property
    def alive(self) -> bool:
        """Whether the query has started and not ended."""
        return self._run is not None

    def onQueryStarted(self, event: Any) -> None:
        if event.name == self._job:
            self._run = event.runId

    def onQueryProgress(self, event: Any) -> None:
        if event.progress.runId == self._run:
            self._metrics.progress(event.progress.durationMs)

    def onQueryIdle(self, event: Any) -> None:
        if event.runId == self._run:
            self._metrics.idle()

    def onQueryTerminated(self, event: Any) -> None:
        if event.runId == self._run:
            self._run = None
