"""A standalone cluster on loopback, from a Spark copied elsewhere, with a clean environment and, where it can be, as
another user.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _lib import needs, processes, travel
from _lib.processes import Process

STOP = ((signal.SIGTERM, 10), (signal.SIGKILL, 5))
READY_S = 60
QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # for JVMs that live for seconds
PATH = "/usr/local/bin:/usr/bin:/bin"
DAEMON = {"SPARK_DAEMON_JAVA_OPTS": QUICK, "SPARK_DAEMON_MEMORY": "256m"}
MASTER = re.compile(r"Starting Spark master at (spark://\S+)")
MASTER_UI = re.compile(r"MasterWebUI to .* started at (http://\S+)")


@dataclass(frozen=True)
class Account:
    """Who runs the cluster, with which Python."""

    name: str
    python: str
    switch: dict[str, Any]  # for subprocess: nothing where it is the user who runs the tests

    def can(self, *command: str) -> bool:
        try:
            done = subprocess.run(command, env={"PATH": PATH}, cwd="/", capture_output=True, timeout=60, **self.switch)
        except PermissionError:
            return False
        return done.returncode == 0


def account() -> Account:
    """`nobody`, where the tests may become it and it finds a Python of this minor version and Java; else their own."""
    own = Account(pwd.getpwuid(os.getuid()).pw_name, os.path.realpath(sys.executable), {})
    python = shutil.which(travel.MINOR, path=PATH)
    if os.getuid() != 0 or python is None:
        return own
    nobody = pwd.getpwnam("nobody")
    switch = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    other = Account(nobody.pw_name, python, switch)
    return other if other.can(python, "-c", "") and other.can(str(needs.java().executable), "-version") else own


class Cluster:
    """A master and two workers of one core each."""

    def __init__(self, folder: Path, who: Account) -> None:
        self._folder, self._who = folder, who
        self._home = folder / "spark"
        copied(Path(os.environ["SPARK_HOME"]), self._home)
        self.work = open_to_all(folder / "work")
        self._running: list[Process] = []

    def start(self) -> str:
        """The master's URL, once both workers are known to it."""
        master = self._launch("master.Master", "--port", "0")
        url, ui = (self._logged(master, pattern) for pattern in (MASTER, MASTER_UI))
        for _ in range(2):
            self._launch("worker.Worker", "--cores", "1", "--memory", "1g", "--work-dir", str(self.work), url)
        assert processes.until(lambda: _alive(ui) == 2, READY_S), self._logs()
        return url

    def stop(self) -> None:
        """Workers first: they end their executors."""
        for process in reversed(self._running):
            process.stop(STOP)

    def said(self) -> str:
        """What the executors wrote on standard error, the JVMs and the Pythons."""
        return "\n".join(log.read_text(errors="replace") for log in sorted(self.work.glob("app-*/*/stderr")))

    def _launch(self, name: str, *arguments: str) -> Path:
        log = self._folder / f"{len(self._running)}.log"
        java = needs.java().executable.resolve().parents[1]
        environment = {"PATH": PATH, "JAVA_HOME": str(java), "SPARK_LOCAL_IP": "127.0.0.1", **DAEMON}
        program: list[str | Path] = [
            self._home / "bin" / "spark-class",
            f"org.apache.spark.deploy.{name}",
            "--host",
            "127.0.0.1",
        ]
        command = [*program, "--webui-port", "0", *arguments]
        self._running.append(processes.start(command, log, self.work, environment, **self._who.switch))
        return log

    def _logged(self, log: Path, pattern: re.Pattern[str]) -> str:
        """What the pattern captures in the log, once it is there."""
        assert processes.until(lambda: bool(pattern.search(log.read_text())), READY_S), self._logs()
        found = pattern.search(log.read_text())
        assert found
        return found[1]

    def _logs(self) -> str:
        return "\n".join(log.read_text() for log in sorted(self._folder.glob("*.log")))


@contextlib.contextmanager
def cluster(folder: Path, who: Account) -> Iterator[tuple[Cluster, str]]:
    """A running cluster and its URL."""
    made = Cluster(folder, who)
    try:
        yield made, made.start()
    finally:
        made.stop()


def copied(spark: Path, target: Path) -> None:
    """A copy that everyone can read, whatever this user's umask was when PySpark was installed."""
    shutil.copytree(spark, target, copy_function=link, ignore=shutil.ignore_patterns("__pycache__", "examples"))
    for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
        folder.chmod(0o755)


def link(source: str, target: str) -> None:
    """A hard link where that will do: PySpark is half a gigabyte."""
    if os.stat(source).st_mode & 0o004:
        with contextlib.suppress(OSError):
            return os.link(source, target)
    shutil.copy2(source, target)
    os.chmod(target, 0o755)


def open_to_all(folder: Path) -> Path:
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def _alive(ui: str) -> int:
    with urllib.request.urlopen(f"{ui}/json/", timeout=10) as answer:
        return int(json.load(answer)["aliveworkers"])
