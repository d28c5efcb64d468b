"""Where the scripts write, how two copies stay out of each other's way, and how a failure becomes one sentence."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "scripts" / "locks"
NAME = "stream-patterns"


class SetupFailed(SystemExit):
    """Ends a script with one sentence on stderr and exit 1; whoever can say more may catch it."""


def say(sentence: str) -> None:
    """Progress goes to stderr: stdout belongs to the script's own output."""
    print(f"setup: {sentence}", file=sys.stderr, flush=True)


def cache() -> Path:
    """What can be fetched again: JARs."""
    return _home("XDG_CACHE_HOME", ".cache")


def state() -> Path:
    """What a running stack has to remember."""
    return _home("XDG_STATE_HOME", ".local/state")


def _home(variable: str, default: str) -> Path:
    if base := os.environ.get(variable):
        return Path(base).absolute() / NAME
    try:
        return Path.home() / default / NAME
    except RuntimeError as unknown:
        raise SetupFailed(f"no home folder is known: set HOME or {variable}") from unknown


@contextlib.contextmanager
def locked(folder: Path, doing: str) -> Iterator[int]:
    """One copy at a time in `folder`; children that get the descriptor hold the lock even if the parent is killed."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another copy that is {doing}")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def room(folder: Path, needed_gb: float) -> None:
    """Refuses where there is too little free disk under `folder`, which need not exist yet."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    if free_gb < needed_gb:
        raise SetupFailed(f"{folder} needs {needed_gb:g} GB of free disk, and only {free_gb:.1f} GB are there")


@contextlib.contextmanager
def one_sentence() -> Iterator[None]:
    """Turns what the machine refuses, and Ctrl-C, into a sentence without a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        raise SetupFailed("set-up: interrupted; the next run starts it again") from None
    except OSError as refused:
        where = f" ({refused.filename})" if refused.filename else ""
        raise SetupFailed(f"set-up: {refused.strerror or refused}{where}") from refused


def last_line(log: str) -> str:
    """The last line of a log that says something."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1] if lines else "it wrote nothing"
