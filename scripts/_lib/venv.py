"""The Python environment `.venv`, made from the locks and from nothing that has no hash.

A stamp in it says what it was made from, so that the next run only compares. The log lies beside it as long as the
set-up has not ended: a log and no stamp tell of a half-made environment, which is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from _lib import needs
from _lib.places import LOCKS, ROOT, SetupFailed, last_line, locked, room, say

VENV = ROOT / ".venv"
STAMP = VENV / "stamp.json"
LOG = ROOT / ".venv-setup.log"
BUILDERS, REQUIREMENTS = LOCKS / "builders.txt", LOCKS / "requirements.txt"
SCRATCH = ".venv-setup-"
DISK_GB = 4  # the environment, and PySpark once more while it is built
CACHE_GB = 2
UNREACHABLE = (
    "Failed to establish a new connection",
    "Max retries exceeded",
    "Temporary failure in name resolution",
    "Connection refused",
    "Read timed out",
    "ConnectTimeout",
    "ProxyError",
    "SSLError",
)


def python() -> Path:
    return VENV / "bin" / "python"


def site_packages() -> Path:
    found = sorted(VENV.glob("lib/python3.*/site-packages"))
    if not found:
        raise SetupFailed(f"{VENV} has no site-packages: remove it and run this again")
    return found[-1]


def ensure() -> None:
    """Makes or completes `.venv` unless it is current."""
    if _current():
        return
    needs.venv()
    if VENV.is_symlink():  # what lies behind it is not this project's to change
        raise SetupFailed(f"{VENV} is a link to {VENV.resolve()}: remove the link and run this again")
    with locked(ROOT, "setting up the environment") as lock:
        if not _current():
            room(ROOT, DISK_GB)
            _make(lock)


def beside(lock_file: Path) -> Path:
    """A folder with the packages of another lock, for programs that are compared with ours; it goes with the environment."""
    ensure()
    folder = VENV / f"beside-{_sha256(lock_file.read_bytes())[:12]}"
    if not folder.exists():
        draft = VENV / "beside.part"
        with locked(ROOT, "setting up packages") as lock:
            shutil.rmtree(draft, ignore_errors=True)
            _pip(lock, "--require-hashes", "--no-deps", "--target", str(draft), "-r", str(lock_file))
            draft.rename(folder)
            LOG.unlink()
    return folder


def wanted() -> dict[str, str]:
    """What a current environment was made from; it cannot be moved, so the place counts too."""
    packages = BUILDERS.read_bytes() + REQUIREMENTS.read_bytes() + bytes(ROOT)
    return {"packages": _sha256(packages), "project": _sha256((ROOT / "pyproject.toml").read_bytes())}


def stamp() -> None:
    """Writes the stamp in one step: from then on the environment counts as current."""
    part = STAMP.with_suffix(".part")
    part.write_text(json.dumps(wanted(), indent=2) + "\n")
    part.replace(STAMP)


def _stamped() -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(STAMP.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return found


def _current() -> bool:
    return python().exists() and _stamped() == wanted()


def _make(lock: int) -> None:
    whole = _stamped().get("packages") != wanted()["packages"]
    ours = LOG.exists() or STAMP.exists()
    LOG.write_text("")
    for left in ROOT.glob(f"{SCRATCH}*/"):  # of a copy that was killed: the lock is ours
        shutil.rmtree(left)
    if whole:
        say("making the Python environment, once: a minute or two")
        if ours:  # half made, or made from another lock; a user's own is completed instead
            _removed()
        _packages(lock)
    _pip(lock, "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    stamp()
    LOG.unlink()


def _removed() -> None:
    STAMP.unlink(missing_ok=True)  # first: what is half removed must not count as current
    shutil.rmtree(VENV, ignore_errors=True)


def _packages(lock: int) -> None:
    """Build tools first, then the rest: what comes as source is built with these, not with freshly fetched ones."""
    if not python().exists():
        base = getattr(sys, "_base_executable", sys.executable)
        _run(lock, [base, "-I", "-m", "venv", str(VENV)], "the environment could not be made")
    hashed = ("--require-hashes", "--no-deps", "--no-build-isolation")
    _pip(lock, *hashed, "-r", str(BUILDERS))
    _pip(lock, *hashed, *_cache(), "-r", str(REQUIREMENTS))


def _cache() -> list[str]:
    """No cache where there is no room for it: pip would fail on it."""
    home = Path(os.environ.get("PIP_CACHE_DIR") or Path.home())
    exists = home.exists()
    return [] if exists and shutil.disk_usage(home).free > CACHE_GB * 1e9 else ["--no-cache-dir"]


def _pip(lock: int, *arguments: str) -> None:
    """pip, with the user's own settings for index and proxy; bytecode is left to the first import."""
    quiet = ("--no-input", "--no-compile", "--disable-pip-version-check", "--progress-bar", "off", "--retries", "2")
    command = [str(python()), "-I", "-m", "pip", "install", *quiet, *arguments]
    _run(lock, command, "the Python packages could not be installed")


def _run(lock: int, command: list[str], failed: str) -> None:
    """Runs with its output in the log and its temporary files beside the environment."""
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=SCRATCH) as scratch, LOG.open("ab") as log:
        stored = Path(scratch) / "stored.cfg"  # JARs do not get smaller in a wheel that lives for seconds
        stored.write_text("[bdist_wheel]\ncompression = stored\n")
        environment = {**os.environ, "TMPDIR": scratch, "DIST_EXTRA_CONFIG": str(stored)}
        code = subprocess.run(command, stdout=log, stderr=log, env=environment, pass_fds=[lock], check=False).returncode
    if code != 0:
        raise SetupFailed(f"{failed}: {cause(LOG.read_text(errors='replace'))} (log: {LOG})")


def cause(log: str) -> str:
    """The reason a user can act on, from pip's log."""
    if "No space left on device" in log:
        return "no space left on the disk"
    if "DO NOT MATCH THE HASHES" in log:
        return "a package is not the one that was locked: its hash differs"
    if any(sign in log for sign in UNREACHABLE):
        return "the package index that pip is set to use could not be reached"
    if "No matching distribution found" in log:
        return "the package index that pip is set to use does not have a locked package"
    return last_line(log)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
