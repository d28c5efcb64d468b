"""A running job: one query, its ticker, and an end between batches.

Batches and ticks share one lock, so nothing changes under a batch; `foreachBatch` does not fire on an idle topic, ticks do.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame
from pyspark.sql.streaming import StreamingQuery

from jobs.core import logs
from jobs.core.batch import MicroBatch
from jobs.core.causes import Namer
from jobs.core.errors import LeaseLost, StoppedWaiting
from jobs.core.guard import SOURCE, Guard
from jobs.core.lease import Lease
from jobs.core.retry import is_transient
from jobs.core.watch import Watch

Tick = Callable[[], None]
TICK_S = 0.5
COMMIT_S = 2.0  # at most; it takes milliseconds
log = logging.getLogger(__name__)


class Stopping(Exception):
    """Raised inside a batch that has not begun yet when the job is asked to end."""


class Running:
    """A started job; `wait` returns when it ended as asked, and raises what ended it otherwise."""

    def __init__(
        self,
        batch: MicroBatch,
        lease: Lease,
        guard: Guard,
        watch: Watch,
        ticks: Sequence[Tick],
        releases: Sequence[Tick] = (),
        checks: Sequence[Tick] = (),
        named: Namer = lambda failure: failure,
    ) -> None:
        """`releases` are due once more at the end, and `checks`, which are due after each batch, too.

        Releases call what batches call, and wait for it as those do.
        """
        self.batch, self.watch, self._lease, self._named = batch, watch, lease, named
        guarded: list[Tick] = [partial(guard, release) for release in releases]
        self._checks, self._last = list(checks), [*guarded, *checks]
        self._ticks = [*ticks, *self._last]
        self.query: StreamingQuery
        self._lock = threading.Lock()
        self._guard, self._stopping = guard, guard.stopping
        self._was_away = False  # the source, and no call has said since that it is back
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
            with self._lock:  # a batch in hand ends
                pass
            self._await_commit()
            with self._lock:
                self.query.stop()
            return True
        try:
            waiting: Any = self.query  # PySpark takes fractions of a second, its types say it does not
            return bool(waiting.awaitTermination(TICK_S))
        except StreamingQueryException as failure:
            return not self._goes_on(failure)

    def _await_commit(self) -> None:
        """Spark's own record of a batch comes after ours: a stop in between would have the batch planned again, for nothing."""
        ends = time.monotonic() + COMMIT_S
        while self.query.status["isTriggerActive"] and time.monotonic() < ends:
            time.sleep(COMMIT_S / 100)

    def _goes_on(self, failure: StreamingQueryException) -> bool:
        """Whether the query was started again: between batches, the source was away for longer than Spark waits."""
        if self._stopping.is_set() and self._failure is None:  # a batch that did not begin, as the job is to end
            return False
        self._failure = self._failure or self._lost()
        cause = self._failure or self._named(failure)
        if self._failure is not None or not is_transient(cause):
            self._failure = cause
            return False
        with suppress(StoppedWaiting):
            self._guard.give_up(failure)
            self.batch.look_again()
            self.query, self._was_away = self._again(), True
        return True

    def _lost(self) -> LeaseLost | None:
        """What Spark sees of an instance that has taken over is only that its log was written to."""
        try:
            self._lease.confirm()
        except LeaseLost as lost:
            return lost
        except Exception:
            log.debug("who has the lease could not be found out", exc_info=True)
        return None

    def _finish(self) -> None:
        with self._lock:
            if self._failure is None:
                self._tick(self._last)
        self._stopping.set()
        self._ticker.join()
        self.watch.stop()
        self._lease.give_back()
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
                self._guard(lambda: self._one(records, batch_id))
                for check in self._checks:
                    check()
        except (Stopping, StoppedWaiting):
            raise
        except BaseException as failure:
            self._failure = self._failure or failure
            raise
        finally:
            self._lock.release()

    def _one(self, records: DataFrame, batch_id: int) -> None:
        self._lease.confirm()
        self.batch.run(records, batch_id)

    def _tick_until_stopped(self) -> None:
        while not self._stopping.wait(TICK_S):
            with self._lock:
                if not self._stopping.is_set():
                    self._tick([*self._ticks, self.hear_of_source])

    def hear_of_source(self) -> None:
        """A query that waits has asked its source, which makes no batch that would close the breaker if it has nothing new."""
        if self._was_away and _waits(self.query):
            self._guard(lambda: None)
            self._was_away = self._guard.state(SOURCE) != "closed"

    def _tick(self, ticks: Sequence[Tick]) -> None:
        try:
            for tick in ticks:
                tick()
        except StoppedWaiting as stopped:
            log.warning("%s; what waits is released by the next run", stopped)
        except Exception as failure:  # whatever it is, it has to end the job, not the ticker alone
            self._failure = failure
            self._stopping.set()


def _waits(query: StreamingQuery) -> bool:
    """Whether its last trigger is over, and it did not fail."""
    status = query.status
    return not status["isTriggerActive"] and str(status["message"]).startswith("Waiting")


def _query_id(records: DataFrame) -> str:
    """As Spark keeps it for the thread that runs the batch: known before `start` has returned."""
    return str(records.sparkSession.sparkContext.getLocalProperty("sql.streaming.queryId"))
