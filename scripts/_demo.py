"""The demo itself, run by scripts/demo inside the environment.

Orders stream in, about one in a hundred of them bad in every way, and a job takes them under spark-submit, while what it needs
beside them changes or fails (`_demos.join`, `_demos.enrichment`). Then the audit counts every record.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from _demos import DemoFailed
from _demos.enrichment import Enrichment
from _demos.feed import CUSTOMERS, make_customers, make_topics
from _demos.job import overrides, submitted
from _demos.join import Join
from _demos.report import DemoReport, Played, Verdict
from _demos.stage import Stage, screen, stage, step
from _stack import ServerFailed, Stack

from jobs.core.config import JobConfig
from jobs.core.errors import JobError


class Demo(Protocol):
    """What is a pattern's own."""

    job: str  # its file in jobs/, without .py
    model: type[JobConfig]
    rows: int  # unless another number is asked for
    least: int  # fewer show nothing

    def settings(self, folder: Path) -> dict[str, object]:
        """What differs from the shipped config: folders, and times that are short enough to be watched."""

    def play(self, stage: Stage) -> None:
        """Sends orders and brings about what is to be seen, until the job has taken them all. Raises DemoFailed."""

    def judge(self, played: Played) -> Verdict: ...


DEMOS: Mapping[str, type[Demo]] = {"join": Join, "enrichment": Enrichment}


def main() -> int:
    asked = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _folder(asked.keep) as folder, _stack(folder, asked.keep) as stack:
            _demo(DEMOS[asked.pattern](), asked.rows, folder, stack)
    except (DemoFailed, ServerFailed, JobError) as failure:
        print(f"demo: FAILED: {failure}")
        return 1
    except KeyboardInterrupt:
        print("demo: FAILED: interrupted")
        return 130
    print("demo: OK")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A job on a real broker, a real database and a real service.")
    parser.add_argument("--pattern", choices=DEMOS, default="join", help="which job (join)")
    parser.add_argument("--rows", type=int, metavar="N", help="how many orders stream in")
    parser.add_argument("--keep", action="store_true", help="leave servers and data as they are at the end")
    asked = parser.parse_args()
    demo = DEMOS[asked.pattern]
    asked.rows = demo.rows if asked.rows is None else asked.rows
    if asked.rows < demo.least:
        parser.error(f"--rows {asked.rows}: at least {demo.least} are needed to show anything")
    return asked


@contextlib.contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    if keep:
        yield Path(tempfile.mkdtemp(prefix="stream-patterns-demo-"))
        return
    with tempfile.TemporaryDirectory(prefix="stream-patterns-demo-") as name:
        yield Path(name)


@contextlib.contextmanager
def _stack(folder: Path, keep: bool) -> Iterator[Stack]:
    with step("starting Kafka, PostgreSQL and a service of currency rates"):
        stack = Stack.start(folder / "stack")
    try:
        yield stack
    finally:
        if keep:
            screen.print(
                f"kept: {folder} (scripts/stack down --dir {stack.directory} stops the servers)", soft_wrap=True
            )
        else:
            stack.stop()


def _demo(demo: Demo, rows: int, folder: Path, stack: Stack) -> None:
    with step(f"making topics and {CUSTOMERS:,} customers"):
        make_topics(stack)
        make_customers(stack)
    os.environ.update(stack.environment())
    settings = demo.settings(folder)
    report = DemoReport(demo.model, overrides(settings), folder / "audit.log")
    began = time.monotonic()
    with submitted(demo.job, settings, folder) as job:
        with stage(stack, rows, job, report.prepare) as played:
            demo.play(played)
        took_s = time.monotonic() - began
    with step("auditing"):
        verdict = report.read(rows, took_s, demo.judge)
    screen.print(*verdict.shown, sep="\n")
    if verdict.wrong:
        raise DemoFailed("; ".join(verdict.wrong))


if __name__ == "__main__":
    sys.exit(main())
