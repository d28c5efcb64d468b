"""From a job's name or file to the file, what it says of itself, and its config; no Spark is started.

A job is a Python file with a `Config` and a `start`; which files are jobs is read from their source, not by running it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from jobs.core import layers
from jobs.core.config import JobConfig
from jobs.core.errors import ConfigError, Problem
from jobs.core.layers import Loaded
from jobs.core.run_config import RunConfig

JOBS = Path(__file__).resolve().parents[1]
HEADING = re.compile(r"([A-Z][a-z]+)\s{2,}(\S.*)")


@dataclass(frozen=True)
class Asked:
    """What the options that every command takes ask for."""

    config: Path | None = None
    env: str | None = None
    sets: Sequence[str] = field(default=())


@dataclass(frozen=True)
class JobFile:
    """A job as its docstring tells it."""

    path: Path
    purpose: str
    headings: dict[str, str]

    @property
    def name(self) -> str:
        return self.path.stem


def shipped() -> list[JobFile]:
    """The jobs of this package, by name."""
    return jobs_in(JOBS)


def jobs_in(folder: Path) -> list[JobFile]:
    found = (read(path) for path in sorted(folder.glob("*.py")))
    return [job for job in found if job]


def read(path: Path) -> JobFile | None:
    """The job in a file; None where it holds no job. Raises ConfigError where it is no Python."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError) as failure:
        raise _wrong(str(path), f"a Python file ({failure})") from None
    names = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    if not {"Config", "start"} <= names:
        return None
    purpose, _, rest = inspect.cleandoc(ast.get_docstring(tree) or "").partition("\n")
    return JobFile(path, purpose, headings(rest))


def headings(text: str) -> dict[str, str]:
    """`In   source ...` -> {"In": "source ..."}; lines below a heading that are indented belong to it."""
    found: dict[str, list[str]] = {}
    current, column = [""], 0
    for line in text.splitlines():
        match = HEADING.fullmatch(line)
        if match:
            current, column = [match[2]], match.start(2)
            found[match[1]] = current
        elif line.startswith(" "):
            current.append(line[:column].lstrip() + line[column:])
    return {name: "\n".join(lines) for name, lines in found.items()}


def find(job: str) -> JobFile:
    """A job by its name here, or by its file. Raises ConfigError, naming the nearest."""
    known = {found.name: found for found in shipped()}
    if job in known:
        return known[job]
    found = read(Path(job)) if job.endswith(".py") else None
    if not found:
        near = get_close_matches(job, known, 1)
        hint = f"nearest: {near[0]}" if near else f"known: {', '.join(known)}"
        raise _wrong(job, f"a job, or a Python file with a Config and a start ({hint})")
    return found


def model(job: JobFile) -> type[RunConfig]:
    """The job's own Config. Imports the file, which starts nothing. Raises ConfigError."""
    config = getattr(_module(job.path.resolve()), "Config", None)
    if not (isinstance(config, type) and issubclass(config, RunConfig)):
        raise _wrong(
            str(job.path), "a job whose Config is a jobs.core.config.JobConfig or jobs.core.run_config.RunConfig"
        )
    return config


def load(job: JobFile, asked: Asked) -> Loaded[RunConfig]:
    """The job's config from all its layers, found as the runner finds it. Raises ConfigError."""
    place = layers.conf_dir()
    return layers.load(model(job), asked.config, asked.env, asked.sets, os.environ, place, default_name=job.name)


def stream(job: JobFile, asked: Asked) -> JobConfig:
    """The config of a job over a stream, which has a sink and a checkpoint. Raises ConfigError for any other."""
    config = load(job, asked).config
    if not isinstance(config, JobConfig):
        raise _wrong(job.name, "a job over a stream: this one runs to its end, and keeps no checkpoint")
    return config


def _module(path: Path) -> ModuleType:
    if path.parent == JOBS:
        return importlib.import_module(f"jobs.{path.stem}")
    name = f"job_{path.stem}"  # not the name under which its tests import it
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a .py file always has a loader"
    assert spec.loader is not None, "and so has its spec"
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # its neighbours, as when it runs by itself
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def _wrong(job: str, allowed: str) -> ConfigError:
    return ConfigError(Problem("JOB", job, allowed, "command line"))
