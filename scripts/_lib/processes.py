"""Servers that outlive the script, known by pid and start time: a recycled pid is never taken for ours."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POLL_S = 0.05
TAIL = 8  # lines of a log in an error


class ServerFailed(Exception):
    """A server did not start; the sentence holds the end of its log."""


class PortTaken(ServerFailed):
    """Another process took the port between asking for it and binding it."""


@dataclass(frozen=True)
class Process:
    """A pid, and when the system says that it started."""

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        with contextlib.suppress(ChildProcessError):  # reaps it where it is our child
            os.waitpid(self.pid, os.WNOHANG)
        return start_time(self.pid) == self.started

    def stop(self, steps: Sequence[tuple[signal.Signals, float]]) -> None:
        """Sends each signal in turn, and waits so many seconds, until the process is gone."""
        for number, wait_s in steps:
            if not self.alive:
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
            until(lambda: not self.alive, wait_s)

    def signal(self, number: signal.Signals) -> None:
        """To it and to all below it, in whatever groups and sessions; to the caller last, where it is one of them."""
        for pid in sorted([self.pid, *below(self.pid)], key=lambda pid: pid == os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                _send(pid, number)


def _send(pid: int, number: signal.Signals) -> None:
    """To the caller's own process by way of the calling thread: another one may hear of SIGSTOP only after it has gone on."""
    if pid == os.getpid():
        signal.pthread_kill(threading.get_ident(), number)
    else:
        os.kill(pid, number)


def start_time(pid: int) -> str | None:
    """When `pid` started, as the system tells it; None if it does not run (a zombie does not)."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else fields[19]
    asked = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = asked.stdout.strip().partition(" ")
    return None if not started or state.startswith("Z") else started.strip()


def is_stopped(pid: int) -> bool:
    """By SIGSTOP, or by a debugger."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] in "Tt"


def below(pid: int) -> list[int]:
    """Its children, theirs, and so on, as far as they live now."""
    parents = dict(_parents())
    found = [pid]
    for above in found:
        found.extend(child for child, parent in parents.items() if parent == above)
    return found[1:]


def _parents() -> Iterator[tuple[int, int]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            yield int(stat.parent.name), int(stat.read_text().rpartition(")")[2].split()[1])


def start(command: Sequence[str | Path], log: Path, cwd: Path, env: Mapping[str, str], **user: Any) -> Process:
    """A server in a session of its own, with its output in `log`."""
    with log.open("ab") as out:
        started = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd, env=env, start_new_session=True, **user
        )
    started.returncode = 0  # `Process` looks after it: no warning that it still runs
    return Process(started.pid, start_time(started.pid) or "ended at once")


def until(done: Callable[[], bool], limit_s: float) -> bool:
    """Asks again and again until `done` or the limit; says which it was."""
    deadline = time.monotonic() + limit_s
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def free_ports(count: int) -> list[int]:
    """Loopback ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def failed(sentence: str, log: Path, seen: int) -> ServerFailed:
    """The error for a server that did not start, with the end of what it wrote after byte `seen` of its log."""
    with log.open("rb") as written:
        written.seek(seen)
        text = written.read().decode(errors="replace")
    kind = PortTaken if "Address already in use" in text else ServerFailed
    lines = [line for line in text.splitlines() if not line.startswith("\tat ")]  # Java's frames hide the message
    return kind("\n".join([f"{sentence} (log: {log}):", *lines[-TAIL:]]))
