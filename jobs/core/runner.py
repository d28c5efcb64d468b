"""The command line of a job: its config, its session, its signals, its exit code.

    spark-submit jobs/<job>.py [--config FILE] [--env NAME] [--set key=value]... [--show-config]
                               [--recover from-ledger|reprocess]

SIGTERM and SIGINT end it between batches with exit 0; a second one, or `stop_within` passed, ends it at once with 128 and the
signal's number. Other exit codes are those of `core.errors`.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_args

from py4j.protocol import Py4JError
from pyspark.java_gateway import ensure_callback_server_started
from pyspark.sql import SparkSession

from jobs.core import layers, logs
from jobs.core.config import JobConfig, Recover
from jobs.core.errors import JobError
from jobs.core.jvm import java_class
from jobs.core.run_config import RunConfig
from jobs.core.running import Running
from jobs.core.session import session
from jobs.core.values import Duration

ConfigT = TypeVar("ConfigT", bound=JobConfig)
RunT = TypeVar("RunT", bound=RunConfig)
log = logging.getLogger(__name__)


def main(
    model: type[ConfigT], start: Callable[[SparkSession, ConfigT], Running], argv: Sequence[str] | None = None
) -> None:
    """Runs a job until it ends; never returns."""
    sys.exit(run(model, start, sys.argv[1:] if argv is None else argv))


def run(model: type[ConfigT], start: Callable[[SparkSession, ConfigT], Running], argv: Sequence[str]) -> int:
    """The exit code; a failure has been explained on standard error."""
    asked = arguments(argv)

    def work(config: ConfigT) -> int:
        config = config.recovering(asked.recover)
        return _stream(session(config.job, config.spark), start, config)

    return outcome(model, asked, work)


def outcome(model: type[RunT], asked: argparse.Namespace, work: Callable[[RunT], int]) -> int:
    """The exit code of work under a config, or of what is wrong with either, explained on standard error."""
    explain = in_text
    try:
        name = Path(sys.argv[0]).stem
        loaded = layers.load(
            model, asked.config, asked.env, asked.set, os.environ, layers.conf_dir(), default_name=name
        )
        if asked.show_config:
            sys.stdout.write(loaded.show() + "\n")
            return 0
        logs.set_up(loaded.config.job, loaded.config.monitoring.log_format)
        explain = in_json if loaded.config.monitoring.log_format == "json" else in_text
        return work(loaded.config)
    except Exception as error:  # the last line of defence: say what it was, and end with its code
        explain(error)
        return _exit_code(error)


def in_text(error: Exception) -> None:
    """One sentence for what has a name of its own; a traceback for what has none."""
    if isinstance(error, JobError):
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    else:
        traceback.print_exception(type(error), error, error.__traceback__)


def in_json(error: Exception) -> None:
    """The same as a line of the log."""
    unnamed = None if isinstance(error, JobError) else error
    code = {"exit_code": _exit_code(error)}
    log.error("%s: %s", type(error).__name__, error, exc_info=unnamed, extra={"context": code})


def _exit_code(error: Exception) -> int:
    return error.exit_code if isinstance(error, JobError) else JobError.exit_code


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Raises SystemExit(2) for what it does not know."""
    known = parser()
    known.add_argument(
        "--recover", choices=get_args(Recover), help="a new checkpoint where the ledger stands, or from the beginning"
    )
    return known.parse_args(argv)


def parser() -> argparse.ArgumentParser:
    """What every job takes."""
    made = argparse.ArgumentParser(add_help=True, allow_abbrev=False)
    made.add_argument("--config", type=Path, metavar="FILE", help="the job's config, conf/<job>.yaml unless given")
    made.add_argument("--env", metavar="NAME", help="settings of one environment, conf/env/NAME.yaml")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, over all others")
    made.add_argument("--show-config", action="store_true", help="print every value and where it comes from, and end")
    return made


def _stream(spark: SparkSession, start: Callable[[SparkSession, ConfigT], Running], config: ConfigT) -> int:
    spark.sparkContext.setLogLevel("WARN")
    try:
        running = start(spark, config)
        with ending(spark, running, config.stop_within):
            running.wait()
        return 0
    finally:
        stop_quietly(spark)


class Stoppable(Protocol):
    def request_stop(self) -> None:
        """Asks for an end where nothing is left half done; returns at once."""


@contextmanager
def ending(spark: SparkSession, running: Stoppable, limit: Duration) -> Iterator[None]:
    """A signal in here asks for an end between batches."""
    hook = EndBetweenBatches(running, limit)
    hook.install(spark)
    try:
        yield
    finally:
        hook.done()


class EndBetweenBatches:
    """The first signal, to this process or to the JVM that spark-submit made of it, asks the job to end between batches.

    A second one, or a limit that has passed, ends it at once. Ctrl-C reaches both processes: each counts its own.
    """

    class Java:
        implements = ("sun.misc.SignalHandler",)

    def __init__(self, running: Stoppable, limit: Duration) -> None:
        self._running, self._limit = running, limit
        self._heard: Counter[str] = Counter()
        self._before: list[tuple[Any, Any]] = []  # the JVM's own signals and handlers
        self._late: threading.Timer | None = None

    def install(self, spark: SparkSession) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: self.hear("here", number))
        ensure_callback_server_started(spark.sparkContext._gateway)  # type: ignore[no-untyped-call]
        kind = java_class(spark, "sun.misc.Signal")
        signals = [kind(name) for name in ("TERM", "INT")]
        self._before = [(one, kind.handle(one, self)) for one in signals]
        self._handle = kind.handle

    def done(self) -> None:
        """The job has ended by itself: a signal may end what is left at once."""
        if self._late:
            self._late.cancel()
        with suppress(Py4JError, OSError):  # the JVM may be gone
            for one, handler in self._before:
                self._handle(one, handler)

    def handle(self, told: Any) -> None:
        """Called by the JVM."""
        self.hear("in the JVM", int(told.getNumber()))

    def hear(self, where: str, number: int) -> None:
        self._heard[where] += 1
        if self._heard[where] > 1:
            force(number, "second signal")
        if not self._late:
            log.info("%s: ending after the batch in flight, within %s", signal.Signals(number).name, self._limit)
            self._running.request_stop()
            late = f"not ended within {self._limit}"
            self._late = threading.Timer(self._limit.seconds_total, force, (number, late))
            self._late.daemon = True
            self._late.start()


def force(number: int, why: str) -> None:
    sys.stderr.write(f"{why}: ending at once; the batch in flight will run again at the next start\n")
    sys.stderr.flush()
    os._exit(128 + number)


def stop_quietly(spark: SparkSession) -> None:
    try:
        spark.stop()
    except Exception:  # the JVM may be gone already; the exit code says what matters
        log.debug("the session was gone already", exc_info=True)
