"""The stream-table join: half-way through, some customers change in PostgreSQL, and later orders show it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import psycopg2
from _orders import customer
from _stack import Stack
from pyspark.sql import Row
from rich.table import Table

from _demos.job import Ledger
from _demos.report import Played, Verdict, audited, dead_letters, summary
from _demos.stage import Stage
from jobs.core.audit import Report
from jobs.core.config import JobConfig
from jobs.stream_table_join import Config

CHANGED = 500
SHOWN = ("order_id", "customer_id", "segment", "amount", "_reference_version")
FEW = 3


class Join:
    """A `Demo`."""

    job, rows, least = "stream_table_join", 100_000, 100
    model: type[JobConfig] = Config

    def settings(self, folder: Path) -> dict[str, object]:
        return {
            "sink.delta.path": folder / "enriched_orders",
            "checkpoint": folder / "checkpoint",
            "trigger.every": "1s",
            "reference.refresh.every": "1s",
            "scaling.max_offsets_per_trigger": 25_000,
        }

    def play(self, stage: Stage) -> None:
        """Half of the orders, then changed customers, then the rest once the job has seen the change."""
        feed, half = stage.feed, stage.rows // 2
        feed.send(half)
        stage.until(lambda ledger: ledger.read > 0)
        stage.say("joining")
        stage.until(lambda ledger: ledger.read >= half)
        before = stage.job.ledger().versions
        change_customers(stage.stack)
        stage.say(f"{CHANGED} customers changed")
        stage.until(lambda ledger: is_newer(ledger, before, stage))
        feed.send(stage.rows)
        stage.say("joining with the new version")
        stage.prepare_report()
        stage.until(lambda ledger: ledger.read >= stage.rows)
        stage.say("joined")

    def judge(self, played: Played) -> Verdict:
        assert played.config.sink.delta, "the demo's sink is a Delta table"
        report, sink = played.report, str(played.config.sink.delta.path)
        joined = played.spark.read.format("delta").load(sink).cache()
        missed = joined.where("segment IS NULL").count()
        some = joined.where("customer_id IN ('c1', 'c499')").orderBy("ordered_at").select(*SHOWN).collect()
        unseen = [] if len(report.versions) > 1 else ["the changed customers were never seen"]
        return Verdict([_summary(report, missed, played.took_s), _before_and_after(some)], unseen)


def change_customers(stack: Stack) -> None:
    with contextlib.closing(psycopg2.connect(**stack.dsn())) as connection, connection, connection.cursor() as cursor:
        changed = tuple(customer(number)[0] for number in range(CHANGED))
        cursor.execute(
            "UPDATE customers SET segment = 'platinum', updated_at = now() WHERE customer_id IN %s", (changed,)
        )


def is_newer(ledger: Ledger, before: set[str], stage: Stage) -> bool:
    """Whether a batch was joined with a newer version; sends an order now and then, so that there are batches."""
    if ledger.read >= stage.feed.sent:
        stage.feed.send(1)
    return ledger.versions != before


def _summary(report: Report, missed: int, took_s: float) -> Table:
    lines = {
        "read": f"{report.counts.read:,}",
        "joined": f"{report.counts.written - missed:,}",
        "missed (kept with nulls)": f"{missed:,}",
        **dead_letters(report),
        "reference versions seen": str(len(report.versions)),
        "batches": f"{report.batches:,}",
        "events a second, start-up included": f"{report.counts.read / took_s:,.0f}",
        **audited(report),
    }
    return summary("stream-table join", lines)


def _before_and_after(rows: Sequence[Row]) -> Table:
    table = Table(*SHOWN, title="one customer before and after the change", title_justify="left")
    for row in rows if len(rows) <= 2 * FEW else [*rows[:FEW], *rows[-FEW:]]:
        table.add_row(*map(str, row))
    return table
