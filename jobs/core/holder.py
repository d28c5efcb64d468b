"""Who runs a job: a process on a machine, told so that it can be found, and be known to be gone.

On Linux a machine is one boot of it, as one container sees it, and a process is a number and its start: so neither a restart
nor a number that is used again makes a dead one look alive. Elsewhere it is the host's name, and the number alone.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from uuid import uuid4

ENDED = ("Z", "X")  # what is left of a process until its parent has asked how it ended


@dataclass(frozen=True)
class Holder:
    """One instance of a job."""

    instance: str  # a UUID: two instances in one process differ
    machine: str
    host: str
    pid: int
    began: str  # the process, as the machine counts
    user: str
    since: str  # the instance, RFC 3339

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user} on {self.host}, since {self.since}"

    def is_gone(self) -> bool:
        """Whether its process has certainly ended; of another machine nobody knows."""
        return self.machine == _machine() and _began(self.pid) != self.began

    def text(self) -> str:
        return json.dumps(asdict(self))


def parse(text: str) -> Holder:
    """Of what `Holder.text` gave."""
    return Holder(**json.loads(text))


def this(now: datetime) -> Holder:
    """A new instance in this process."""
    pid = os.getpid()
    return Holder(str(uuid4()), _machine(), platform.node(), pid, _began(pid), _user(), now.isoformat())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())


def _machine() -> str:
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return platform.node()


def _began(pid: int) -> str:
    """When a process began; "" for one that has ended."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return "" if state in ENDED else rest[18]
    except OSError:
        return "alive" if not Path("/proc/self").exists() and _answers(pid) else ""


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
