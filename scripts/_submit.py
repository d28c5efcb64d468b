"""Builds what has to travel and calls spark-submit; run by scripts/submit inside the environment."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from jobs.core import layers
from jobs.core.errors import JobError

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
LOCK = ROOT / "scripts" / "locks" / "runtime.txt"
MINOR = "python" + ".".join(platform.python_version_tuple()[:2])


def main() -> int:
    asked = _arguments()
    try:
        job = importlib.import_module(f"jobs.{asked.job}")
        config = layers.load(job.Config, asked.config, asked.env, asked.set, os.environ).config
    except ModuleNotFoundError:
        sys.stderr.write(f"there is no job {asked.job}: `patterns list` shows those there are\n")
        return 2
    except JobError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return error.exit_code
    return subprocess.run(command(asked, config.spark)).returncode


def command(asked: argparse.Namespace, settings: Mapping[str, str]) -> list[str]:
    """The whole spark-submit line."""
    travel = [f"{dependencies()}#deps", f"{configs()}#conf"]
    python = asked.python or MINOR
    confs = {**settings, "spark.executorEnv.PYTHONPATH": "deps", "spark.pyspark.python": python}
    confs["spark.pyspark.driver.python"] = sys.executable
    if asked.master:
        confs["spark.master"] = asked.master
    return [
        str(Path(os.environ["SPARK_HOME"]) / "bin" / "spark-submit"),
        *(part for key, value in confs.items() for part in ("--conf", f"{key}={value}")),
        "--jars",
        os.environ["PATTERNS_JARS"],
        "--py-files",
        str(package()),
        "--archives",
        ",".join(travel),
        str(ROOT / "jobs" / f"{asked.job}.py"),
        *_passed_on(asked),
    ]


def package() -> Path:
    """jobs/ as a zip, for the workers' path."""
    return _zipped("jobs", (file for file in (ROOT / "jobs").rglob("*") if "__pycache__" not in file.parts), ROOT)


def configs() -> Path:
    """conf/ as a zip that is unpacked as `conf` in each working folder."""
    return _zipped("conf", (ROOT / "conf").rglob("*"), ROOT / "conf")


def dependencies() -> Path:
    """The locked Python dependencies without PySpark, as an archive that runs wherever it is unpacked."""
    stamp = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    archive = BUILD / f"deps-{MINOR}-{platform.machine()}-{stamp}.tar.gz"
    if archive.is_file():
        return archive
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        target = Path(folder) / "deps"
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "--no-deps"]
        subprocess.run([*install, "--target", str(target), "-r", str(LOCK)], check=True)
        made = shutil.make_archive(str(Path(folder) / "made"), "gztar", target)
        os.replace(made, archive)
    return archive


def _zipped(name: str, files: Iterable[Path], base: Path) -> Path:
    """A zip named after its content, so that a cached one is never an old one."""
    BUILD.mkdir(exist_ok=True)
    contents = dict(_contents(files, base))
    stamp = hashlib.sha256(repr(sorted(contents.items())).encode()).hexdigest()[:12]
    archive = BUILD / f"{name}-{stamp}.zip"
    if not archive.is_file():
        draft = archive.with_suffix(f".{os.getpid()}")
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as packed:
            for path, content in sorted(contents.items()):
                packed.writestr(path, content)
        os.replace(draft, archive)
    return archive


def _contents(files: Iterable[Path], base: Path) -> Iterator[tuple[str, bytes]]:
    for file in files:
        if file.is_file():
            yield str(file.relative_to(base)), file.read_bytes()


def _passed_on(asked: argparse.Namespace) -> list[str]:
    named = {"--config": asked.config, "--env": asked.env}
    given = [part for key, value in named.items() if value is not None for part in (key, str(value))]
    return [*given, *(part for setting in asked.set for part in ("--set", setting))]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/submit", description="Submits a job with everything that has to travel.")
    parser.add_argument("job", help="a job of this collection: stream_table_join")
    parser.add_argument("--config", type=Path, metavar="FILE")
    parser.add_argument("--env", metavar="NAME", help="conf/env/NAME.yaml; cluster unless given", default="cluster")
    parser.add_argument("--master", metavar="URL", help="spark://host:7077, yarn, k8s://..., local[*]")
    parser.add_argument("--python", metavar="PROGRAM", help=f"Python of the workers, {MINOR} unless given")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
