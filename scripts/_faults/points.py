"""Named points of a job that runs as a process of its own, and what happens to it there. The job's own code knows of none.

A fault is armed by a file under the point's name, before the job starts or while it runs; the first one to reach the point
takes the file away, so a fault happens once.

| act | what happens |
| --- | --- |
| kill | SIGKILL to the JVM and all below it |
| stop | SIGSTOP to the same: the job stands at the point until SIGCONT |
| hold | the thread alone waits at the point until `release`; the process hears signals |
| fail | the point raises a failure that may pass |
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from _lib.processes import Process, until
from pyspark.sql import DataFrame

from jobs.core import dead_letters
from jobs.core.batch import MicroBatch
from jobs.core.enrichment.asking import Ask, Caller, Given
from jobs.core.enrichment.lookups import FromLookup
from jobs.core.events.following import Follower
from jobs.core.events.heads import Heads
from jobs.core.events.progress import Progress
from jobs.core.events.rebuilding import Rebuild
from jobs.core.events.snapshots import Snapshots
from jobs.core.ledger import Ledger
from jobs.core.ledger_postgres import PostgresLedger
from jobs.core.parking import Parking
from jobs.core.reference import ReferenceTable
from jobs.core.retry_topics import DueLetters
from jobs.core.sinks import Mark, commits, copying, postgres
from jobs.core.sinks.postgres import PostgresSink
from jobs.core.sinks.tables import DeltaTableSink
from jobs.core.sinks.topics import KafkaSink

FOLDER = "PATTERNS_FAULTS"  # the variable that names the folder of armed faults
STAGED = "PATTERNS_STAGED"  # the variable that keeps the driver from holding batches, however few their rows are
HELD_S = 600
Act = Literal["kill", "stop", "hold", "fail"]
Call = Callable[..., Any]


@dataclass(frozen=True)
class Place:
    """Before or after a function of the job."""

    owner: Any
    name: str
    after: bool = False
    when: Callable[..., bool] = lambda *_: True


POINTS = {
    "before_write": [Place(MicroBatch, "run")],
    "written": [Place(sink, "append", after=True) for sink in (DeltaTableSink, PostgresSink, KafkaSink)],
    "write_open": [Place(commits, "_entitled", after=True)],
    "before_move": [Place(PostgresSink, "move")],
    "in_transaction": [Place(PostgresSink, "move", after=True)],
    "before_dead_letters": [Place(dead_letters, "send")],
    "after_dead_letters": [Place(dead_letters, "send", after=True)],
    "settled": [Place(Parking, "settle", after=True)],
    "before_ledger": [Place(Ledger, "append"), Place(PostgresLedger, "append")],
    "after_ledger": [Place(Ledger, "append", after=True), Place(PostgresLedger, "append", after=True)],
    "due_letters_sent": [Place(DueLetters, "_redrive", after=True)],
    "before_manifest": [Place(Heads, "_written", after=True)],
    "replay_pinned": [Place(Rebuild, "pin", after=True)],
    "replay_building": [Place(Rebuild, "build", after=True)],
    "replay_built": [Place(Rebuild, "built", after=True)],
    "replay_swapped": [Place(Rebuild, "swap", after=True)],
    "follow_folded": [Place(Follower, "_committing")],
    "republish_sent": [Place(Progress, "reached")],
    "republish_reached": [Place(Progress, "reached", after=True)],
    "in_snapshot": [Place(Snapshots, "_keep_only")],
    "in_swap": [Place(ReferenceTable, "_load", after=True, when=lambda table, *_: hasattr(table, "_current"))],
}
HALF_SENT = "half_sent"  # every other record of the batch is in the sink's topic
SEND: Call = copying.send
MID_COPY = "mid_copy"  # the first half of a COPY's rows is on its way to PostgreSQL
MID_LOOKUP = "mid_lookup"  # a lookup has its first answer, and calls that are left


def install(root: int) -> None:
    """In the job's driver, before it starts. `root` is the process under which all of the job's run."""
    (_folder() / "root").write_text(str(root))
    for point, places in POINTS.items():
        for place in places:
            setattr(place.owner, place.name, _wrapped(getattr(place.owner, place.name), place, point))
    if os.environ.get(STAGED):
        postgres.SHORT_ROWS = 0
    copying.send = send_halved  # type: ignore[assignment]
    KafkaSink.append = _in_halves(KafkaSink.append)  # type: ignore[method-assign]
    FromLookup._made = _interrupted(FromLookup._made)  # type: ignore[method-assign]


def arm(folder: Path, point: str, act: Act) -> None:
    """The next time that the job gets to the point."""
    assert point in POINTS or point in (MID_COPY, HALF_SENT, MID_LOOKUP), point
    draft = folder / f".{point}"
    draft.write_text(act)
    draft.rename(folder / point)


def release(folder: Path, point: str) -> None:
    """What was held there goes on."""
    (folder / f"{point}.hit").unlink()


def was_hit(folder: Path, point: str) -> bool:
    return (folder / f"{point}.hit").exists() and not (folder / point).exists()


def hit_by(folder: Path, point: str) -> int | None:
    """The process that got to a point; None while none has."""
    taken = folder / f"{point}.hit"
    said = taken.read_text() if was_hit(folder, point) else ""
    return int(said) if said.isdigit() else None


def reach(point: str) -> None:
    """Called at each point."""
    taken = _folder() / f"{point}.hit"
    try:
        (_folder() / point).rename(taken)
    except FileNotFoundError:
        return
    act = taken.read_text()
    taken.write_text(str(os.getpid()))
    _act(act, point)


def _act(act: str, point: str) -> None:
    if act == "fail":
        raise ConnectionResetError(f"a fault at {point}")
    if act == "hold":
        until(lambda: not (_folder() / f"{point}.hit").exists(), HELD_S)
        return
    job = Process(int((_folder() / "root").read_text()), "")
    job.signal(signal.SIGKILL if act == "kill" else signal.SIGSTOP)


def _folder() -> Path:
    return Path(os.environ[FOLDER])


def _wrapped(original: Call, place: Place, point: str) -> Call:
    def reaching(*arguments: Any, **named: Any) -> Any:
        reached = place.when(*arguments)
        if reached and not place.after:
            reach(point)
        result = original(*arguments, **named)
        if reached and place.after:
            reach(point)
        return result

    return reaching


def _in_halves(original: Call) -> Call:
    def append(sink: KafkaSink, rows: DataFrame, mark: Mark) -> None:
        if (_folder() / HALF_SENT).exists():
            original(sink, rows.filter("_offset % 2 = 0"), mark)
            reach(HALF_SENT)
        original(sink, rows, mark)

    return append


def _interrupted(original: Call) -> Call:
    """Only while a fault is armed: executors are spared the import of all that has a point."""

    def made(step: FromLookup, *arguments: Any, **named: Any) -> Any:
        if not (_folder() / MID_LOOKUP).exists():
            return original(step, *arguments, **named)
        whole, step.asking = step.asking, replace(step.asking, caller=Interrupted(step.asking.caller))
        try:
            return original(step, *arguments, **named)
        finally:
            step.asking = whole

    return made


@dataclass(frozen=True)
class Interrupted:
    """Who is asked, and gets to a point with an answer that nobody has seen yet."""

    caller: Caller

    @contextlib.contextmanager
    def open(self) -> Iterator[Ask]:
        with self.caller.open() as ask:

            def asking(keys: list[str]) -> Given:
                found = ask(keys)
                reach(MID_LOOKUP)
                return found

            yield asking


def send_halved(cursor: Any, *rest: Any) -> None:
    """In place of `copying.send`; executors find it by its name, and the job's own function where it was."""
    SEND(Halving(cursor), *rest)


class Halving:
    """A cursor whose COPY gets to a point between two halves of its rows."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def copy_expert(self, statement: Any, rows: Any, size: int) -> None:
        self._cursor.copy_expert(statement, Halves(rows), size)


class Halves:
    """What is read in two parts."""

    def __init__(self, rows: Any) -> None:
        self._rows, self._half = rows, rows.size() // 2

    def read(self, size: int) -> bytes:
        first, self._half = self._half, 0
        if not first:
            reach(MID_COPY)
        found: bytes = self._rows.read(first or size)
        return found
