"""What a demo shows at its end: the audit of its job, and what the pattern has to say for itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from _lib.classes import QUICK
from pyspark.sql import SparkSession
from rich.console import RenderableType
from rich.table import Table

from jobs.core import layers
from jobs.core.audit import Report, audit
from jobs.core.config import JobConfig
from jobs.core.session import session

STDERR = 2


class Played(NamedTuple):
    """A demo whose job has ended, and a session to look at what it has left."""

    spark: SparkSession
    config: JobConfig
    report: Report
    took_s: float  # of the job, start-up included


class Verdict(NamedTuple):
    """Of one pattern."""

    shown: Sequence[RenderableType]
    wrong: Sequence[str]  # what is not as it should be


Judge = Callable[[Played], Verdict]


@contextlib.contextmanager
def jvm_writes_to(log: Path) -> Iterator[None]:
    """A JVM that starts meanwhile has this file as its standard error."""
    kept = os.dup(STDERR)
    with log.open("ab") as file:
        os.dup2(file.fileno(), STDERR)
    try:
        yield
    finally:
        os.dup2(kept, STDERR)
        os.close(kept)


class DemoReport:
    """Read in a session of the demo's own, whose JVM may start before it is needed and writes to `log`."""

    def __init__(self, model: type[JobConfig], overrides: Sequence[str], log: Path) -> None:
        self._config, self._log = layers.load(model, None, "local", overrides, os.environ).config, log
        self._thread = ThreadPoolExecutor(1)
        self._session: Future[SparkSession] | None = None

    def prepare(self) -> None:
        """Starts the session; returns at once."""
        self._session = self._thread.submit(self._started)

    def read(self, rows: int, took_s: float, judge: Judge) -> Verdict:
        """That of the pattern, with what any job has to answer for; ends the session, too."""
        assert self._session, "it was prepared"
        spark = self._session.result()
        try:
            report = audit(spark, self._config)
            verdict = judge(Played(spark, self._config, report, took_s))
        finally:
            spark.stop()
        return Verdict(verdict.shown, [*wrong(report, rows), *verdict.wrong])

    def _started(self) -> SparkSession:
        short_lived = {"spark.ui.enabled": "false", "spark.driver.extraJavaOptions": QUICK}
        with jvm_writes_to(self._log):
            spark = session("demo", {**self._config.spark, **short_lived})
        spark.sparkContext.setLogLevel("ERROR")
        return spark


def summary(title: str, lines: Mapping[str, str]) -> Table:
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in lines.items():
        table.add_row(name, value)
    return table


def dead_letters(report: Report) -> dict[str, str]:
    """Lines of a summary."""
    reasons = {f"  {reason}": f"{count:,}" for reason, count in sorted(report.reasons.items())}
    return {"dead letters": f"{report.counts.dead_letters:,}", **reasons}


def audited(report: Report) -> dict[str, str]:
    """A line of a summary."""
    return {"audit": "holds" if report.holds else "DOES NOT HOLD"}


def wrong(report: Report, rows: int) -> list[str]:
    """What is not as it should be, whatever the pattern."""
    broken = [f"{each.name}: {each.expected} expected, {each.found} found" for each in report.checks if not each.holds]
    if report.counts.read != rows:
        broken.append(f"{report.counts.read} of {rows} orders were read")
    if report.counts.parked:
        broken.append(f"{report.counts.parked} orders still wait")
    return broken
