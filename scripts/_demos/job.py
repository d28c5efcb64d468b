"""A demo's job under spark-submit, as a user starts it; what it has done is read in its ledger, what it says in its log."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from _lib.classes import QUICK
from _lib.places import ROOT

from _demos import DemoFailed

STALL_S = 90  # the job has stopped if nothing moves for so long
LOOK_S = 0.2
END_S = 60


@dataclass(frozen=True)
class Ledger:
    """Its records as they are at one moment."""

    records: Sequence[Mapping[str, Any]] = ()

    @property
    def read(self) -> int:
        return self._sum("read")

    @property
    def waiting(self) -> int:
        return self._sum("parked")

    @property
    def versions(self) -> set[str]:
        """Of the reference table."""
        return {str(record["note"]["reference_version"]) for record in self.records}

    @property
    def newest(self) -> float:
        """When the last batch began, in seconds since the epoch; 0 before the first."""
        times = [datetime.fromisoformat(record["written_at"]) for record in self.records if record["kind"] == "batch"]
        return max(times).timestamp() if times else 0.0

    def _sum(self, outcome: str) -> int:
        return sum(record["counts"][outcome] for record in self.records)


class Job:
    """A job that runs."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, ledger: Path) -> None:
        self._process, self.log, self._ledger = process, log, ledger

    def until(self, done: Callable[[Ledger], bool]) -> None:
        """Looks at the ledger again and again. Raises DemoFailed once the job has ended, or stands still."""
        known, moved = self.ledger(), time.monotonic()
        while not done(known):
            if self._process.poll() is not None:
                raise DemoFailed(f"the job ended with exit {self._process.returncode}: {last_words(self.log)}")
            time.sleep(LOOK_S)
            before, known = known, self.ledger()
            moved = moved if known == before else time.monotonic()
            if time.monotonic() - moved > STALL_S:
                raise DemoFailed(f"no batch in {STALL_S} s: {last_words(self.log)}")

    def ledger(self) -> Ledger:
        found: dict[int, dict[str, Any]] = {}
        for file in sorted(self._ledger.glob("*.json")) if self._ledger.is_dir() else ():
            with contextlib.suppress(
                FileNotFoundError
            ):  # folded into a segment meanwhile: the next look finds it there
                found |= {record["seq"]: record for record in map(json.loads, file.read_text().splitlines())}
        return Ledger(list(found.values()))


@contextlib.contextmanager
def submitted(name: str, settings: Mapping[str, object], folder: Path) -> Iterator[Job]:
    """Runs a job on its shipped config with some settings; SIGTERM ends it, as on a cluster. Raises DemoFailed."""
    log = folder / "job.log"
    with log.open("wb") as out:
        process = subprocess.Popen(_command(name, settings), stdout=out, stderr=out, cwd=folder)
        try:
            yield Job(process, log, Path(str(settings["sink.delta.path"])) / "_ledger" / name)
        finally:
            code = _ended(process)
    if code != 0:
        raise DemoFailed(f"the job ended with exit {code}: {last_words(log)}")


def _command(name: str, settings: Mapping[str, object]) -> list[str]:
    submit = [str(Path(os.environ["SPARK_HOME"]) / "bin" / "spark-submit"), "--jars", os.environ["PATTERNS_JARS"]]
    submit += ["--driver-java-options", QUICK]
    given = [text for override in overrides(settings) for text in ("--set", override)]
    return [*submit, str(ROOT / "jobs" / f"{name}.py"), "--env", "local", *given]


def overrides(settings: Mapping[str, object]) -> list[str]:
    """As --set takes them."""
    return [f"{key}={value}" for key, value in settings.items()]


def _ended(process: subprocess.Popen[bytes]) -> int:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def last_words(log: Path) -> str:
    """What the job said last, log lines aside; its whole log is kept for whoever wants to know more."""
    text = log.read_text(errors="replace")
    kept = Path(tempfile.gettempdir()) / f"stream-patterns-demo-{os.getpid()}.log"
    kept.write_text(text)
    error = re.compile(r"[A-Za-z_.]+(Error|Exception|Missing|Mismatch|Refused|Stale)\b")
    said = [line for line in text.splitlines() if error.match(line)]
    return f"{said[-1] if said else 'it did not say why'} (its log: {kept})"
