"""An archive of the classes that Spark loads (class data sharing), which a JVM maps instead of reading and checking JARs.

It is made once an environment, by a small run of the main job, and lies in it. A JVM that it does not fit goes without, and
so does a machine on which it can't be made.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from _lib import venv
from _lib.places import ROOT, SetupFailed, locked, room, say

RUN = ROOT / "scripts" / "_archived_run.py"
LAUNCHER = "org.apache.spark.launcher.Main"
SCALA = {"SPARK_SCALA_VERSION": "2.13"}  # the launcher asks for it, and has no use for it here
DISK_GB = 1
# A JVM that lives for minutes beside others: the second compiler would take more time than its code gives back. The first one
# alone has 48 MB for code by default, and forgets what it compiled when they are full.
QUICK = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC"


def ensure(java: Path, environment: Mapping[str, str]) -> Path | None:
    """The archive on disk, made at the first call; `environment` is what Spark is started with."""
    made = venv.VENV / f"classes-{_key(java)}.jsa"
    if not made.exists():
        with locked(venv.VENV, "archiving classes"):
            if not made.exists():
                _make(made, java, environment)
    return made if made.exists() else None


def _key(java: Path) -> str:
    """Of this Java, which may be another one at its old place, and of what is run; the JARs are the environment's."""
    program = java.resolve()
    made_of = f"{program} {program.stat().st_mtime_ns}".encode() + RUN.read_bytes()
    return hashlib.sha256(made_of).hexdigest()[:12]


def _make(made: Path, java: Path, environment: Mapping[str, str]) -> None:
    say("archiving the classes that Spark loads, once: a minute")
    room(made.parent, DISK_GB)
    for left in made.parent.glob("classes-*"):  # of another Java, or of a copy that was killed: the lock is ours
        left.unlink()
    part, log = made.with_suffix(".part"), made.with_suffix(".log")
    with tempfile.TemporaryDirectory(prefix=f"{made.stem}-") as work, log.open("wb") as out:
        command = _command(java, environment, f"{QUICK} -XX:ArchiveClassesAtExit={part}", work)
        code = subprocess.run(command, env=dict(environment), cwd=work, stdout=out, stderr=out, check=False).returncode
    if code != 0 or not part.exists():
        say(f"the classes could not be archived, so that each JVM starts more slowly (log: {log})")
        return
    part.rename(made)
    log.unlink()


def _command(java: Path, environment: Mapping[str, str], options: str, work: str) -> list[str]:
    """As Spark's launcher would start it, but with Spark's JARs alone on the class path: an archive allows no folder."""
    jars = str(Path(environment["SPARK_HOME"]) / "jars" / "*")
    submit = ["org.apache.spark.deploy.SparkSubmit", "--driver-java-options", options]
    submit += ["--jars", environment["PATTERNS_JARS"], str(RUN), work]
    asked = subprocess.run(
        [str(java), "-cp", jars, LAUNCHER, *submit], env={**environment, **SCALA}, capture_output=True, check=False
    )
    if asked.returncode != 0:
        raise SetupFailed(f"Spark's launcher failed: {asked.stderr.decode(errors='replace').strip()}")
    _, _, words = asked.stdout.partition(b"\0\n")  # what the launcher says otherwise comes before it
    command = [os.fsdecode(word) for word in words.split(b"\0")[:-1]]
    command[command.index("-cp") + 1] = jars
    return command
