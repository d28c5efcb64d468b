"""What a demo plays on: servers, orders, a job that takes them, and a screen that shows how far it is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from _stack import Stack
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from _demos.feed import Feed
from _demos.job import Job, Ledger

COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("records"),
    TimeElapsedColumn(),
)
screen = Console(highlight=False)


@dataclass(frozen=True)
class Stage:
    """While the job runs."""

    stack: Stack
    feed: Feed
    rows: int
    job: Job
    prepare_report: Callable[
        [], None
    ]  # has to be called before the last orders: then it is ready when they are through
    progress: Progress
    bar: TaskID

    def until(self, done: Callable[[Ledger], bool]) -> None:
        """Until the job's ledger says so; the bar shows what was read. Raises DemoFailed."""

        def looked(ledger: Ledger) -> bool:
            self.progress.update(self.bar, completed=ledger.read)
            return done(ledger)

        self.job.until(looked)

    def say(self, what: str) -> None:
        """What happens now."""
        self.progress.update(self.bar, description=what)


@contextlib.contextmanager
def stage(stack: Stack, rows: int, job: Job, prepare_report: Callable[[], None]) -> Iterator[Stage]:
    with Progress(*COLUMNS, console=screen) as progress:
        bar = progress.add_task("starting the job", total=rows)
        yield Stage(stack, Feed(stack, rows), rows, job, prepare_report, progress, bar)


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Says how long it took."""
    began = time.monotonic()
    yield
    screen.print(f"[dim]{what}: {time.monotonic() - began:.1f} s[/dim]")
