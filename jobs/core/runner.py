"""The command line of a job: its config, its session, its signals, its exit code.

    spark-submit jobs/<job>.py [--config FILE] [--env NAME] [--set key=value]... [--show-config]
                               [--recover from-ledger|reprocess]

SIGTERM and SIGINT end it between batches with exit 0; a second one ends it at once. Exit codes are those of `core.errors`.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, get_args

from py4j.protocol import Py4JError
from pyspark.java_gateway import ensure_callback_server_started
from pyspark.sql import SparkSession

from jobs.core import layers, logs
from jobs.core.config import JobConfig, Recover
from jobs.core.errors import JobError
from jobs.core.session import session
from jobs.core.stream import Running

ConfigT = TypeVar("ConfigT", bound=JobConfig)
HOOK_PRIORITY = 100  # before Spark's own shutdown hook, which is 50
STOP_LIMIT_S = 120
log = logging.getLogger(__name__)


def main(
    model: type[ConfigT], start: Callable[[SparkSession, ConfigT], Running], argv: Sequence[str] | None = None
) -> None:
    """Runs a job until it ends; never returns."""
    sys.exit(run(model, start, sys.argv[1:] if argv is None else argv))


def run(model: type[ConfigT], start: Callable[[SparkSession, ConfigT], Running], argv: Sequence[str]) -> int:
    """The exit code; a failure has been explained on standard error."""
    asked, explain = arguments(argv), in_text
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
        config = loaded.config.recovering(asked.recover)
        return _stream(session(config.job, config.spark), start, config)
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
    parser = argparse.ArgumentParser(add_help=True, allow_abbrev=False)
    parser.add_argument("--config", type=Path, metavar="FILE", help="the job's config, conf/<job>.yaml unless given")
    parser.add_argument("--env", metavar="NAME", help="settings of one environment, conf/env/NAME.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, over all others")
    parser.add_argument("--show-config", action="store_true", help="print every value and where it comes from, and end")
    parser.add_argument(
        "--recover", choices=get_args(Recover), help="a new checkpoint where the ledger stands, or from the beginning"
    )
    return parser.parse_args(argv)


def _stream(spark: SparkSession, start: Callable[[SparkSession, ConfigT], Running], config: ConfigT) -> int:
    spark.sparkContext.setLogLevel("WARN")
    try:
        running = start(spark, config)
        hook = EndBetweenBatches(running, spark)
        hook.install()
        try:
            running.wait()
        finally:
            hook.done()
        return 0
    finally:
        _stop_quietly(spark)


class EndBetweenBatches:
    """Signals to this process, and to the JVM that spark-submit made of it, ask the job to end; a second one forces it."""

    class Java:
        implements = ("java.lang.Runnable",)

    def __init__(self, running: Running, spark: SparkSession) -> None:
        self._running, self._spark = running, spark
        self._hook: Any = None
        self._hooks: Any = None

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        ensure_callback_server_started(self._spark.sparkContext._gateway)  # type: ignore[no-untyped-call]
        jvm: Any = self._spark._jvm
        self._hook = jvm.java.lang.Thread(self)  # an object of the JVM's own, by which it can be taken back
        self._hooks = jvm.org.apache.hadoop.util.ShutdownHookManager.get()
        self._hooks.addShutdownHook(self._hook, HOOK_PRIORITY, STOP_LIMIT_S, jvm.java.util.concurrent.TimeUnit.SECONDS)

    def done(self) -> None:
        """The job has ended by itself: the JVM need not ask any more."""
        with suppress(Py4JError):  # it is being run right now
            self._hooks.removeShutdownHook(self._hook)

    def run(self) -> None:
        """Called by the JVM when it is told to end: waits for the batch, then ends the JVM with 0."""
        self._running.request_stop()
        self._running.finished.wait(STOP_LIMIT_S)
        jvm: Any = self._spark._jvm
        jvm.java.lang.Runtime.getRuntime().halt(0)

    def _signalled(self, number: int, frame: Any) -> None:
        if self._running.stop_requested:
            sys.stderr.write("second signal: ending at once; the batch in flight will run again at the next start\n")
            os._exit(128 + number)
        self._running.request_stop()


def _stop_quietly(spark: SparkSession) -> None:
    try:
        spark.stop()
    except Exception:  # the JVM may be gone already; the exit code says what matters
        log.debug("the session was gone already", exc_info=True)
