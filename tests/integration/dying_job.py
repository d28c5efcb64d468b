"""Runs the main job in a process of its own and kills it, JVM and all, at a named point: dying_job.py CONFIG POINT

half_sent       every other record of the batch is in the sink's topic
before_ledger   the batch is in the sink, its dead letters are not: neither the ledger nor Spark knows of it
before_record   all that the batch writes is there, but for its record in the ledger
before_commit   the ledger has the batch, Spark's commit log has not
in_transaction  rows are in their table in PostgreSQL, the transaction with their ledger record is open
after_ms=N      N milliseconds after the first batch began
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.core import layers
from jobs.core.batch import MicroBatch
from jobs.core.ledger import Ledger
from jobs.core.ledger_postgres import PostgresLedger
from jobs.core.session import session
from jobs.core.sinks.postgres import PostgresSink
from jobs.core.sinks.topics import KafkaSink
from jobs.stream_table_join import Config, start


def die(*_: Any) -> None:
    os.killpg(0, signal.SIGKILL)


def before(owner: type, name: str, act: Callable[..., None]) -> None:
    """Makes `act` run before a method."""
    original = getattr(owner, name)

    def acted(self: Any, *arguments: Any) -> Any:
        act()
        return original(self, *arguments)

    setattr(owner, name, acted)


def after(owner: type, name: str, act: Callable[..., None]) -> None:
    original = getattr(owner, name)

    def acted(self: Any, *arguments: Any) -> Any:
        result = original(self, *arguments)
        act()
        return result

    setattr(owner, name, acted)


def arm(point: str) -> None:
    if point == "half_sent":
        half = KafkaSink.append
        KafkaSink.append = lambda sink, rows, mark: half(sink, rows.filter("_offset % 2 = 0"), mark)  # type: ignore[method-assign]
        after(KafkaSink, "append", die)
    elif point == "before_ledger":
        after(MicroBatch, "_good", die)
    elif point == "before_record":
        before(Ledger, "append", die)
    elif point == "before_commit":
        after(Ledger, "append", die)
        after(PostgresLedger, "append", die)
    elif point == "in_transaction":
        after(PostgresSink, "move", die)
    else:
        delay_s = int(point.removeprefix("after_ms=")) / 1000
        before(MicroBatch, "run", lambda: threading.Timer(delay_s, die).start())


def main() -> None:
    file, point = Path(sys.argv[1]), sys.argv[2]
    config = layers.load(Config, file, None, (), os.environ).config
    spark = session(
        "dying", {"spark.master": "local[1]", "spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "1"}
    )
    arm(point)
    start(spark, config).wait()


if __name__ == "__main__":
    main()
