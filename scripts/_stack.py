"""The local stack: a real Kafka broker, a real PostgreSQL server and a service of currency rates, on free loopback ports, as
many stacks as folders.

Its folder holds the data and `stack.json` (mode 0600: it has the password). Starting a stack that runs changes nothing;
starting one of which a server died starts that server again, on its data and its port. Stopping ends exactly these
processes and deletes their data.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import _setup
from _lib import kafka, needs, postgres, rates
from _lib.places import locked, room
from _lib.processes import PortTaken, Process, ServerFailed

__all__ = ["ServerFailed", "Stack"]

DISK_GB = 0.5
ATTEMPTS = 3  # a free port can be taken between asking and binding
SERVERS: dict[str, ModuleType] = {"kafka": kafka, "postgres": postgres, "rates": rates}
Launch = Callable[[dict[str, int]], Process]


@dataclass(frozen=True)
class Server:
    """One running server, as stack.json remembers it."""

    process: Process
    at: dict[str, int]

    @classmethod
    def read(cls, entry: Mapping[str, Any] | None) -> Server | None:
        return cls(Process(entry["pid"], entry["started"]), entry["at"]) if entry else None

    def written(self) -> dict[str, Any]:
        return {"pid": self.process.pid, "started": self.process.started, "at": self.at}


class Stack:
    """A running stack; leaving its context stops it."""

    def __init__(self, directory: Path, servers: Mapping[str, Server], home: Path, password: str) -> None:
        self.directory, self.home, self._servers = directory, home, dict(servers)
        self.user, self.password = postgres.USER, password

    @classmethod
    def start(cls, directory: Path) -> Stack:
        """The stack of this folder, started where it does not run yet."""
        directory = directory.absolute()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        room(directory, DISK_GB)
        jars, java = _setup.jars("kafka"), needs.java().executable
        with locked(directory, "starting this stack"):
            return _started(directory, java, jars)

    @classmethod
    def find(cls, directory: Path) -> Stack | None:
        """The stack that was started in this folder, whether it still runs or not."""
        known = _read(directory.absolute())
        servers = {name: server for name in SERVERS if (server := Server.read(known.get(name)))}
        if len(servers) < len(SERVERS):
            return None
        return cls(directory.absolute(), servers, Path(known["home"]), known["password"])

    @property
    def bootstrap_servers(self) -> str:
        return self._address("kafka")

    @property
    def jdbc_url(self) -> str:
        return f"jdbc:postgresql://{self._address('postgres')}/{postgres.DATABASE}"

    @property
    def rates_url(self) -> str:
        return f"http://{self._address('rates')}"

    def dsn(self) -> dict[str, Any]:
        """Arguments for psycopg2.connect."""
        port = self._servers["postgres"].at["port"]
        place = {"host": "127.0.0.1", "port": port, "dbname": postgres.DATABASE}
        return {**place, "user": self.user, "password": self.password}

    def environment(self) -> dict[str, str]:
        """The variables that the shipped configs read."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "POSTGRES_JDBC_URL": self.jdbc_url,
            "POSTGRES_USER": self.user,
            "POSTGRES_PASSWORD": self.password,
            "RATES_URL": self.rates_url,
        }

    def processes(self) -> dict[str, Process]:
        return {name: server.process for name, server in self._servers.items()}

    def running(self) -> dict[str, bool]:
        return {name: process.alive for name, process in self.processes().items()}

    def stop(self) -> None:
        """Ends all servers and deletes their data."""
        stop(self.directory)

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _address(self, name: str) -> str:
        return f"127.0.0.1:{self._servers[name].at['port']}"


def stop(directory: Path) -> bool:
    """Ends what runs of this folder's stack, whole or in part; False if nothing was ever started there."""
    directory = directory.absolute()
    if not directory.is_dir():
        return False
    with locked(directory, "starting or stopping this stack"):
        return _stopped(directory)


def _stopped(directory: Path) -> bool:
    """Data go with the servers; their logs stay, for a start that failed has named them."""
    known = _read(directory)
    for name, module in SERVERS.items():
        if server := Server.read(known.get(name)):
            server.process.stop(module.STOP)
    for folder in (directory / "kafka", Path(known.get("home", directory / "postgres"))):
        shutil.rmtree(folder, ignore_errors=True)
    (directory / "stack.json").unlink(missing_ok=True)
    return bool(known)


def _started(directory: Path, java: Path, jars: Sequence[Path]) -> Stack:
    """All servers at the same time. If one fails, a new stack is taken down again; an old one keeps its data."""
    known, new = _read(directory), not (directory / "stack.json").exists()
    try:
        servers = _launched(directory, known, java, jars)
    except BaseException:
        if new:
            _stopped(directory)
        raise
    return Stack(directory, servers, Path(known["home"]), known["password"])


def _launched(directory: Path, known: dict[str, Any], java: Path, jars: Sequence[Path]) -> dict[str, Server]:
    """Whatever runs at the end is in stack.json, also after a failure or Ctrl-C."""
    known.setdefault("password", secrets.token_urlsafe(24))
    if not Path(known.get("home", "")).is_dir() or "home" not in known:
        known["home"] = str(postgres.home(directory))
    _write(directory, known)
    home, password = Path(known["home"]), known["password"]
    launches: dict[str, Launch] = {
        "kafka": lambda at: kafka.launch(directory / "kafka", directory / "kafka.log", java, jars, at),
        "postgres": lambda at: postgres.launch(home, directory / "postgres.log", password, at),
        "rates": lambda at: rates.launch(directory / "rates.log", at),
    }
    starts: dict[str, Future[Server]] = {}
    try:
        with ThreadPoolExecutor(len(SERVERS)) as side_by_side:
            for name, module in SERVERS.items():
                starts[name] = side_by_side.submit(_server, module, known.get(name), launches[name])
    finally:
        done = {name: one for name, one in starts.items() if one.done() and not one.exception()}
        _write(directory, known | {name: one.result().written() for name, one in done.items()})
    return {name: one.result() for name, one in starts.items()}


def _server(module: ModuleType, entry: Mapping[str, Any] | None, launch: Launch) -> Server:
    """The server that is known and runs; else one on the ports that it had, or on new ones if they are taken."""
    known = Server.read(entry)
    if known and known.process.alive:
        return known
    at = known.at if known else module.ports()
    for _ in range(ATTEMPTS - 1):
        try:
            return Server(launch(at), at)
        except PortTaken:
            at = module.ports()
    return Server(launch(at), at)


def _read(directory: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((directory / "stack.json").read_text())
    except FileNotFoundError:
        return {}
    return found


def _write(directory: Path, known: Mapping[str, Any]) -> None:
    """Never readable by others, never half written."""
    part = directory / "stack.json.part"
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        json.dump(known, out, indent=2)
    part.replace(directory / "stack.json")
