"""What has to be on the machine: Python 3.10 with venv, and Java 17 with the modules that Spark loads."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from _lib.places import SetupFailed

PYTHON = (3, 10)
JAVA = 17
MODULE = "jdk.incubator.vector"  # Spark's launcher asks for it; cut-down runtimes leave it out


@dataclass(frozen=True)
class Java:
    """A Java that will do; `home` only where JAVA_HOME names it."""

    executable: Path
    home: Path | None


def python(version: tuple[int, ...] = sys.version_info[:2]) -> None:
    """Refuses an old Python; this module is the last that one can still read."""
    if version < PYTHON:
        shown = ".".join(map(str, version))
        raise SetupFailed(f"Python 3.10 or newer is needed, and {sys.executable} is Python {shown}")


def venv(find: Callable[[str], object] = importlib.util.find_spec) -> None:
    """Refuses a Python that cannot make environments: Debian packs these modules apart."""
    for module in ("venv", "ensurepip"):
        if find(module) is None:
            remedy = f"Debian: apt-get install python{sys.version_info[0]}.{sys.version_info[1]}-venv"
            raise SetupFailed(f"{sys.executable} has no module {module}: install it ({remedy})")


def java() -> Java:
    """JAVA_HOME's Java if it will do, else the one on the PATH."""
    found = [place for place in (_home(), _path()) if place]
    if not found:
        raise SetupFailed(
            f"Java {JAVA} or newer is needed and none was found: set JAVA_HOME or put java on the PATH"
            f" (Debian: apt-get install openjdk-{JAVA}-jre-headless)"
        )
    faults = [_fault(place.executable) for place in found]
    for place, fault in zip(found, faults, strict=True):
        if fault is None:
            return place
    raise SetupFailed(f"Java {JAVA} or newer is needed, but {' and '.join(map(str, faults))}")


def _home() -> Java | None:
    home = os.environ.get("JAVA_HOME")
    return Java(Path(home) / "bin" / "java", Path(home)) if home else None


def _path() -> Java | None:
    found = shutil.which("java")
    return Java(Path(found), None) if found else None


def _fault(executable: Path) -> str | None:
    """Why this Java will not do; None if it will."""
    if not os.access(executable, os.X_OK):
        return f"there is no program {executable}"
    release = executable.resolve().parents[1] / "release"
    text = release.read_text(errors="replace") if release.is_file() else ""
    version = major(text) or major(_asked(executable))
    if version is None:
        return f"{executable} does not tell its version"
    if version < JAVA:
        return f"{executable} is Java {version}"
    if "MODULES=" in text and MODULE not in text:
        return f"{executable} lacks the module {MODULE}"
    return None


def _asked(executable: Path) -> str:
    try:
        asked = subprocess.run([executable, "-version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stderr + asked.stdout


def major(text: str) -> int | None:
    """17 from a `release` file or from what `java -version` prints; 8 from the old form 1.8.0."""
    found = re.search(r'(?:JAVA_VERSION=| version )"(?:1\.)?(\d+)', text)
    return int(found[1]) if found else None
