"""What the demo shows at its end: the audit's counts, and one customer before and after the change."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from _lib.classes import QUICK
from pyspark.sql import Row, SparkSession
from rich.table import Table

from jobs.core import layers
from jobs.core.audit import Report, audit
from jobs.core.session import session
from jobs.stream_table_join import Config

SHOWN = ("order_id", "customer_id", "segment", "amount", "_reference_version")
FEW = 3
STDERR = 2


class Found(NamedTuple):
    """The audit, the orders without a customer, and some joined rows by time."""

    report: Report
    missed: int
    rows: Sequence[Row]


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

    def __init__(self, overrides: Sequence[str], log: Path) -> None:
        self._config = layers.load(Config, None, "local", overrides, os.environ).config
        self._log = log
        self._thread = ThreadPoolExecutor(1)
        self._session: Future[SparkSession] | None = None

    def prepare(self) -> None:
        """Starts the session; returns at once."""
        self._session = self._thread.submit(self._started)

    def read(self) -> Found:
        """Ends the session, too."""
        assert self._session and self._config.sink.delta, "it was prepared, and the demo's sink is a Delta table"
        spark = self._session.result()
        try:
            report = audit(spark, self._config)
            joined = spark.read.format("delta").load(str(self._config.sink.delta.path)).cache()
            some = joined.where("customer_id in ('c1', 'c499')").orderBy("ordered_at").select(*SHOWN).collect()
            missed = joined.where("segment is null").count()
        finally:
            spark.stop()
        return Found(report, missed, some if len(some) <= 2 * FEW else [*some[:FEW], *some[-FEW:]])

    def _started(self) -> SparkSession:
        short_lived = {"spark.ui.enabled": "false", "spark.driver.extraJavaOptions": QUICK}
        with jvm_writes_to(self._log):
            spark = session("demo", {**self._config.spark, **short_lived})
        spark.sparkContext.setLogLevel("ERROR")
        return spark


def tables(found: Found, took_s: float) -> list[Table]:
    report, counts = found.report, found.report.counts
    summary = Table(title="stream-table join", show_header=False, title_justify="left")
    lines = {
        "read": f"{counts.read:,}",
        "joined": f"{counts.written - found.missed:,}",
        "missed (kept with nulls)": f"{found.missed:,}",
        "dead letters": f"{counts.dead_letters:,}",
        **{f"  {reason}": f"{count:,}" for reason, count in sorted(report.reasons.items())},
        "reference versions seen": str(len(report.versions)),
        "batches": str(report.batches),
        "events a second, start-up included": f"{counts.read / took_s:,.0f}",
        "audit": "holds" if report.holds else "DOES NOT HOLD",
    }
    for name, value in lines.items():
        summary.add_row(name, value)
    rows = Table(*SHOWN, title="one customer before and after the change", title_justify="left")
    for row in found.rows:
        rows.add_row(*map(str, row))
    return [summary, rows]


def wrong(report: Report, rows: int) -> str:
    """What is not as it should be; empty where all is."""
    broken = [f"{each.name}: {each.expected} expected, {each.found} found" for each in report.checks if not each.holds]
    if report.counts.read != rows:
        broken.append(f"{report.counts.read} of {rows} orders were read")
    if len(report.versions) < 2:
        broken.append("the changed customers were never seen")
    return "; ".join(broken)
