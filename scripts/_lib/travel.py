"""What travels to a cluster, as archives in `build/` named by what is in them: a cached one is never an old one.

An archive appears whole or not at all, so that copies of a script at the same time may share the folder.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from _lib import venv
from _lib.places import LOCKS, ROOT, SetupFailed, locked, room, say

BUILD = ROOT / "build"
LOCK = LOCKS / "runtime.txt"
MINOR = "python{}.{}".format(*sys.version_info)
DISK_GB = 1.0
LEVEL = 3  # of gzip: 6 takes twice as long for 7 % less
LEFT_OUT = ("__pycache__", "tests", "include")  # folders that nothing imports
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that zip knows: equal files make equal archives


def package() -> Path:
    """jobs/ as a zip, for the workers' path."""
    return zipped("jobs", files(ROOT / "jobs", ROOT))


def configs(folder: Path) -> Path:
    """A folder of configs and schemas as a zip that is unpacked as `conf`."""
    return zipped("conf", files(folder, folder))


def files(folder: Path, base: Path) -> dict[str, bytes]:
    """Path under `base` -> content; neither bytecode nor hidden files."""
    found = {path.relative_to(base): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name.as_posix(): path.read_bytes() for name, path in found.items() if not _hidden(name)}


def _hidden(name: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in name.parts)


def zipped(name: str, contents: Mapping[str, bytes]) -> Path:
    """The zip of these files, made unless it is there."""
    archive = BUILD / f"{name}-{_stamp(contents)}.zip"
    if not archive.is_file():
        BUILD.mkdir(exist_ok=True)
        draft = BUILD / f".{archive.name}.{os.getpid()}"
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as packed:
            for path, content in contents.items():
                packed.writestr(_entry(path), content)
        draft.replace(archive)
    return archive


def _stamp(contents: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for path, content in contents.items():
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


def _entry(path: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path, EPOCH)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    return entry


def dependencies() -> Path:
    """The locked Python packages without PySpark, as an archive that runs wherever it is unpacked.

    Only for machines like this one: it holds compiled code for this system and this minor version of Python.
    """
    kind = f"{MINOR}-{platform.system()}-{platform.machine()}".lower()
    archive = BUILD / f"deps-{kind}-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}.tar.gz"
    if not archive.is_file():
        BUILD.mkdir(exist_ok=True)
        with locked(BUILD, "packing the Python dependencies") as lock:
            if not archive.is_file():
                _pack(archive, lock)
    return archive


def _pack(archive: Path, lock: int) -> None:
    say("packing the Python dependencies, once: half a minute")
    for left in BUILD.glob(".part-*"):  # of a copy that was killed: the lock is ours
        shutil.rmtree(left)
    room(BUILD, DISK_GB)
    with tempfile.TemporaryDirectory(dir=BUILD, prefix=".part-") as part:
        target, draft = Path(part) / "deps", Path(part) / archive.name
        _install(target, lock)
        with tarfile.open(draft, "w:gz", compresslevel=LEVEL) as packed:
            for path in sorted(target.iterdir()):
                packed.add(path, path.name, filter=_packed)
        draft.replace(archive)


def _install(target: Path, lock: int) -> None:
    """pip, by the lock's hashes; children that get the lock's descriptor hold it even if this process is killed."""
    quiet = ("--no-input", "--no-compile", "--disable-pip-version-check", "--progress-bar", "off", "--retries", "2")
    strict = ("--require-hashes", "--no-deps", "--only-binary", ":all:")
    command = [sys.executable, "-I", "-m", "pip", "install", *quiet, *strict, "--target", str(target), "-r", str(LOCK)]
    log = BUILD / "deps.log"
    with log.open("wb") as out:
        code = subprocess.run(command, stdout=out, stderr=out, pass_fds=[lock], check=False).returncode
    if code != 0:
        cause = venv.cause(log.read_text(errors="replace"))
        raise SetupFailed(f"the Python dependencies could not be packed: {cause} (log: {log})")
    log.unlink()


def _packed(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Without programs, which name this machine's Python, and without owners, whom another machine does not know."""
    folders = Path(entry.name).parts
    if folders[0] == "bin" or any(folder in LEFT_OUT for folder in folders):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
