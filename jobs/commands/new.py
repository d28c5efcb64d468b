"""A job of the user's own from a name: job, config, schema, test, notebook and a few sample records, all of which work.

Nothing is ever overwritten; what the name may be is checked before the first file is written.
"""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from importlib import resources
from pathlib import Path

from jobs.commands import lookup
from jobs.core.errors import ConfigError, Problem

FILES = {
    "job.py.txt": "{name}.py",
    "config.yaml.txt": "conf/{name}.yaml",
    "schema.ddl.txt": "conf/schemas/{name}.ddl",
    "test.py.txt": "tests/test_{name}.py",
    "notebook.ipynb.txt": "notebooks/{name}.ipynb",
    "sample.jsonl.txt": "data/{name}/in/sample.jsonl",
}
ONCE = {"conftest.py.txt": "conftest.py"}  # shared by all jobs of a folder: one that is there is kept
RESERVED = ("conftest", "defaults")  # files of the layout


def new(name: str, into: Path) -> list[Path]:
    """Writes the files and names them. Raises ConfigError where the name or the place can't be used."""
    problem = _unusable(name) or _taken(name, into)
    if problem:
        raise ConfigError(problem)
    once = {template: place for template, place in ONCE.items() if not (into / place).exists()}
    targets = {template: into / place.format(name=name) for template, place in (FILES | once).items()}
    try:
        for template, target in targets.items():
            _write(target, _text(template, name))
    except OSError as failure:
        raise ConfigError(Problem("--into", str(into), f"a folder to write into ({failure})", "command line")) from None
    return list(targets.values())


def _unusable(name: str) -> Problem | None:
    cause = _cause(name)
    return Problem("NAME", name, cause, "command line") if cause else None


def _cause(name: str) -> str | None:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name) or keyword.iskeyword(name):
        return "a lower-case Python name: up to 63 letters, digits and _, beginning with a letter"
    if name in sys.stdlib_module_names:
        return "not the name of a standard-library module: the job's folder comes first on the path and would hide it"
    if name in {job.name for job in lookup.shipped()}:
        return "not the name of a job that is shipped"
    return "not a name that the layout itself uses" if name in RESERVED else None


def _taken(name: str, into: Path) -> Problem | None:
    """A file that is there already, or a module that the job would hide."""
    there = [
        str(into / place.format(name=name)) for place in FILES.values() if (into / place.format(name=name)).exists()
    ]
    if there:
        return Problem("NAME", name, f"a name that is free; there already: {', '.join(there)}", "command line")
    if importlib.util.find_spec(name):
        return Problem("NAME", name, "not the name of an installed package: the job would hide it", "command line")
    return None


def _text(template: str, name: str) -> str:
    text = (resources.files("jobs") / "templates" / template).read_text("utf-8")
    return text.replace("{{name}}", name)


def _write(target: Path, text: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("x", encoding="utf-8") as file:
        file.write(text)
