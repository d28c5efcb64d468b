"""Checks configs as a job would at its start, with no Spark: what is wrong is told, all of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.commands import lookup
from jobs.commands.lookup import Asked, JobFile
from jobs.core import layers
from jobs.core.config import JobConfig
from jobs.core.errors import ConfigError, Problem
from jobs.core.keys import UNKNOWN
from jobs.core.overlaps import shared_checkpoints, shared_redrives
from jobs.core.run_config import RunConfig


@dataclass(frozen=True)
class Verdict:
    """What was found in one file; a file that is fine has a config."""

    file: Path
    config: RunConfig | None
    problems: tuple[Problem, ...] = ()


def one(job: str | None, asked: Asked) -> Verdict:
    """The config of one job, or a config file for whichever job it fits."""
    if job:
        return _check(lookup.find(job), asked)
    if not asked.config:
        raise ConfigError(Problem("", "", "a JOB, --config FILE or --all", "command line"))
    return fitting(asked.config, asked)


def every(asked: Asked) -> Iterator[Verdict]:
    """Every conf/*.yaml; and last, under the folder's name, what they may not share."""
    folder = layers.conf_dir()
    found = [fitting(file, asked) for file in sorted(folder.glob("*.yaml")) if file.stem != "defaults"]
    yield from found
    valid = {str(verdict.file): verdict.config for verdict in found if isinstance(verdict.config, JobConfig)}
    shared = (*shared_checkpoints(valid), *shared_redrives(valid))
    if shared:
        yield Verdict(folder, None, shared)


def fitting(file: Path, asked: Asked) -> Verdict:
    """What the job says that takes the file, or comes nearest to taking it."""
    verdicts = [_check(job, replace(asked, config=file)) for job in candidates(file)]
    return min(verdicts, key=lambda verdict: (_strangers(verdict), len(verdict.problems)))


def _strangers(verdict: Verdict) -> int:
    """Keys that the job does not have."""
    return sum(problem.allowed.startswith(UNKNOWN) for problem in verdict.problems)


def candidates(file: Path) -> list[JobFile]:
    """The job of the file's name, beside its folder or shipped; every shipped one where there is none."""
    beside = file.resolve().parents[1] / f"{file.stem}.py"
    own = lookup.read(beside) if beside.is_file() else None
    if own:
        return [own]
    shipped = lookup.shipped()
    return [job for job in shipped if job.name == file.stem] or shipped


def _check(job: JobFile, asked: Asked) -> Verdict:
    file = asked.config or layers.conf_dir() / f"{job.name}.yaml"
    try:
        return Verdict(file, lookup.load(job, asked).config)
    except ConfigError as error:
        return Verdict(file, None, error.problems)
