"""JARs by the lock `scripts/locks/jars.txt`: fetched by Ivy (PySpark brings it), each checked against its SHA-256.

A set lies in a folder named after its part of the lock, which appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from _lib.places import LOCKS, SetupFailed, cache, locked, room, say

LOCK = LOCKS / "jars.txt"
DISK_GB = 0.5
SETTINGS = """<ivysettings>
  <settings defaultResolver="central"/>
  <caches defaultCacheDir="{cache}"/>
  <resolvers><ibiblio name="central" m2compatible="true" usepoms="{poms}" useMavenMetadata="{poms}"/></resolvers>
</ivysettings>
"""
MODULE = """<ivy-module version="2.0">
  <info organisation="local" module="locked"/>
  <configurations><conf name="default"/></configurations>
  <dependencies>
{dependencies}
  </dependencies>
</ivy-module>
"""
UNREACHABLE = (
    "destination server",
    "Server access",
    "UnknownHost",
    "Connect",
    "timed out",
    "unreachable",
    "HTTP response status",
)
TRIES = 2  # the second fetches only what the first did not
DEPENDENCY = '    <dependency org="{0}" name="{1}" rev="{2}" conf="default->{conf}" transitive="{transitive}"/>'
RETRIEVED = "[organisation]~[module]~[revision].[ext]"


@dataclass(frozen=True, order=True)
class Jar:
    """One line of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str = ""

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    @property
    def retrieved(self) -> str:
        return f"{self.group}~{self.artifact}~{self.version}.jar"


def locked_jars(name: str, lock: Path = LOCK) -> list[Jar]:
    """The set `name` of the lock: lines of `set group:artifact:version sha256`."""
    lines = [line.split() for line in lock.read_text().splitlines() if line.strip() and not line.startswith("#")]
    found = [jar(coordinates, sha256) for of, coordinates, sha256 in lines if of == name]
    if not found:
        raise SetupFailed(f"{lock} has no set {name}")
    return found


def jar(coordinates: str, sha256: str = "") -> Jar:
    """From `group:artifact:version`."""
    group, artifact, version = coordinates.split(":")
    return Jar(group, artifact, version, sha256)


def ensure(name: str, java: Path, ivy: Path) -> list[Path]:
    """The set's JARs on disk, fetched at the first call."""
    jars = locked_jars(name)
    folder = cache() / "jars" / f"{name}-{_key(jars)}"
    paths = [folder / one.file for one in jars]
    if not all(path.exists() for path in paths):
        folder.parent.mkdir(parents=True, exist_ok=True)
        room(folder.parent, DISK_GB)
        with locked(folder.parent, "fetching JARs") as lock:
            if not all(path.exists() for path in paths):
                _fetch(name, jars, folder, java, ivy, lock)
    return paths


def _key(jars: Sequence[Jar]) -> str:
    return hashlib.sha256("".join(f"{one} {one.sha256}\n" for one in jars).encode()).hexdigest()[:16]


def _fetch(name: str, jars: Sequence[Jar], folder: Path, java: Path, ivy: Path, lock: int) -> None:
    say(f"fetching {len(jars)} JARs for {name}, once")
    for left in folder.parent.glob(".part-*"):  # of a copy that was killed: the lock is ours
        shutil.rmtree(left)
    log = folder.parent / f"{name}.log"
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".part-") as part:
        for _ in range(TRIES):
            retrieve(jars, Path(part), log, java, ivy, transitive=False, lock=lock)
            if all((Path(part) / "lib" / one.retrieved).exists() for one in jars):
                break
        ready = Path(part) / "ready"
        ready.mkdir()
        for one in jars:
            _check(one, Path(part) / "lib" / one.retrieved, log).rename(ready / one.file)
        shutil.rmtree(folder, ignore_errors=True)
        ready.rename(folder)
    log.unlink()


def _check(want: Jar, path: Path, log: Path) -> Path:
    if not path.exists():
        raise SetupFailed(f"JAR {want} could not be fetched: {_cause(log)} (log: {log})")
    if (found := sha256(path)) != want.sha256:
        raise SetupFailed(f"JAR {want} is not the locked one: its SHA-256 is {found}, the lock says {want.sha256}")
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def retrieve(
    jars: Sequence[Jar], work: Path, log: Path, java: Path, ivy: Path, *, transitive: bool, lock: int | None = None
) -> None:
    """Ivy's own command line; what it finds lies in `work`/lib afterwards, and what it does not, not."""
    poms = "true" if transitive else "false"
    conf = "compile(*),runtime(*),master(*)" if transitive else "*"
    lines = [DEPENDENCY.format(j.group, j.artifact, j.version, conf=conf, transitive=poms) for j in jars]
    (work / "settings.xml").write_text(SETTINGS.format(cache=work / "cache", poms=poms))
    (work / "ivy.xml").write_text(MODULE.format(dependencies="\n".join(lines)))
    command = [str(java), *proxy(os.environ), "-jar", str(ivy), "-settings", str(work / "settings.xml")]
    command += ["-ivy", str(work / "ivy.xml"), "-types", "jar", "bundle", "-retrieve", str(work / "lib" / RETRIEVED)]
    with log.open("wb") as out:
        subprocess.run(command, stdout=out, stderr=out, pass_fds=[] if lock is None else [lock], check=False)


def proxy(environment: os._Environ[str] | dict[str, str]) -> list[str]:
    """Java does not read HTTPS_PROXY by itself."""
    url = urlsplit(environment.get("HTTPS_PROXY") or environment.get("https_proxy") or "")
    return [f"-Dhttps.proxyHost={url.hostname}", f"-Dhttps.proxyPort={url.port or 8080}"] if url.hostname else []


def _cause(log: Path) -> str:
    return cause(log.read_text(errors="replace"))


def cause(text: str) -> str:
    """The reason a user can act on, from Ivy's log; a host that cannot be found is a warning there, among others."""
    if any(sign in text for sign in UNREACHABLE):
        return "the repository of JARs could not be reached"
    if "No space left on device" in text:
        return "no space left on the disk"
    return "the repository of JARs does not have it"
