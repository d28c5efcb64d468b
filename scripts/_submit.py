"""Checks the config, packs what has to travel, becomes spark-submit; run by scripts/submit inside the environment."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from _lib import travel
from _lib.places import one_sentence

from jobs.commands import lookup
from jobs.commands.lookup import JobFile
from jobs.core import layers
from jobs.core.config import Recover
from jobs.core.errors import ConfigError, JobError, Problem
from jobs.core.keys import secret_paths
from jobs.core.run_config import RunConfig

OWN = "What stands after -- is for the job alone, which says with --help what that may be."
ELSEWHERE = "known where the driver runs"  # stands for a secret that this machine need not have


@dataclass(frozen=True)
class Parcels:
    """What travels: archives of the package, of the configs and of the Python dependencies."""

    package: Path
    configs: Path
    dependencies: Path


def main() -> int:
    """Returns only where something is wrong, with the exit code for it."""
    asked = arguments(sys.argv[1:])
    try:
        job = lookup.find(asked.job)
        settings, passed_on = check(job, asked), options(asked)
    except JobError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return error.exit_code
    with one_sentence():
        parcels = None if here(settings) else packed()
        line = command(job, settings, parcels, asked.python, passed_on)
        os.execve(line[0], line, {**os.environ, "PATTERNS_CONF_DIR": str(layers.conf_dir().absolute())})


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """`set` has the master and the deploy mode too: so the job sees what spark-submit sees."""
    about = "Submits a job to a cluster with everything that has to travel."
    parser = argparse.ArgumentParser(prog="scripts/submit", description=about, epilog=OWN, allow_abbrev=False)
    parser.add_argument("job", metavar="JOB", help="a job's name, or the file of one of your own")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the config; conf/JOB.yaml unless given")
    parser.add_argument("--env", metavar="NAME", help="settings of one environment, conf/env/NAME.yaml")
    parser.add_argument("--master", metavar="URL", help="spark://host:7077, yarn, k8s://https://host:443, local[*]")
    parser.add_argument("--deploy-mode", choices=["client", "cluster"], default="client", help="where the driver runs")
    parser.add_argument("--python", metavar="PROGRAM", help=f"the workers' Python; {travel.MINOR} unless given")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, over all others")
    parser.add_argument("--recover", choices=get_args(Recover), help="as the job takes it, for this one start")
    given, own = _split(argv)
    asked = parser.parse_args(given)
    asked.own = own
    master = [f"spark.spark.master={asked.master}"] if asked.master else []
    mode = [f"spark.spark.submit.deployMode={asked.deploy_mode}"] if asked.deploy_mode == "cluster" else []
    asked.set = [*asked.set, *master, *mode]
    return asked


def _split(argv: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """What stands before `--`, and what the job alone takes."""
    end = argv.index("--") if "--" in argv else len(argv)
    return argv[:end], argv[end + 1 :]


def check(job: JobFile, asked: argparse.Namespace) -> dict[str, str]:
    """The `spark.*` settings of the job's config. Raises ConfigError for all that the job would refuse."""
    settings = dict(_config(job, asked).recovering(asked.recover).spark)
    if "spark.master" not in settings:
        raise _wrong("--master", "", "required, unless the config's `spark` has spark.master")
    return settings


def _config(job: JobFile, asked: argparse.Namespace) -> RunConfig:
    """Where the driver runs elsewhere, secrets need not be known here."""
    try:
        return _load(job, asked, os.environ)
    except ConfigError as error:
        secret = secret_paths(lookup.model(job))
        missing = {problem.path for problem in error.problems}
        if asked.deploy_mode != "cluster" or not all(tuple(path.split(".")) in secret for path in missing):
            raise
        stand_ins = {layers.PREFIX + path.upper().replace(".", "__"): ELSEWHERE for path in missing}
        return _load(job, asked, {**os.environ, **stand_ins})


def _load(job: JobFile, asked: argparse.Namespace, environ: Mapping[str, str]) -> RunConfig:
    place = layers.conf_dir()
    model = lookup.model(job)
    return layers.load(model, asked.config, asked.env, asked.set, environ, place, default_name=job.name).config


def options(asked: argparse.Namespace) -> list[str]:
    """What the job itself is to be told; in cluster mode its config is one of those that travel."""
    config = _travelling(asked.config) if asked.config and asked.deploy_mode == "cluster" else asked.config
    named = {"--config": config, "--env": asked.env, "--recover": asked.recover}
    given = [part for name, value in named.items() if value is not None for part in (name, str(value))]
    return [*given, *(part for setting in asked.set for part in ("--set", setting)), *asked.own]


def _travelling(config: Path) -> Path:
    folder = layers.conf_dir().resolve()
    if folder not in config.resolve().parents:
        raise _wrong("--config", str(config), f"a file in {folder}, which is what travels in cluster mode")
    return "conf" / config.resolve().relative_to(folder)


def here(settings: Mapping[str, str]) -> bool:
    """Whether the workers run on this machine, in this environment."""
    return settings["spark.master"].startswith("local")


def packed() -> Parcels:
    return Parcels(travel.package(), travel.configs(layers.conf_dir()), travel.dependencies())


def command(
    job: JobFile, settings: Mapping[str, str], parcels: Parcels | None, python: str | None, passed_on: Sequence[str]
) -> list[str]:
    """The whole spark-submit line. Settings stand on it because some are read before the job is: memory, for one."""
    whole = {**settings, **pythons(settings, python or (travel.MINOR if parcels else sys.executable))}
    program = Path(os.environ["SPARK_HOME"]) / "bin" / "spark-submit"
    confs = [part for key, value in whole.items() for part in ("--conf", f"{key}={value}")]
    parts = [*_parts(parcels)] if parcels else []
    return [str(program), *confs, "--jars", os.environ["PATTERNS_JARS"], *parts, str(job.path), *passed_on]


def pythons(settings: Mapping[str, str], python: str) -> dict[str, str]:
    """Which Python runs where, and where it finds the unpacked dependencies."""
    if here(settings):
        return {"spark.pyspark.python": python, "spark.pyspark.driver.python": sys.executable}
    found = {"spark.pyspark.python": python, "spark.executorEnv.PYTHONPATH": "deps"}
    if settings.get("spark.submit.deployMode") != "cluster":
        return {**found, "spark.pyspark.driver.python": sys.executable}
    return {**found, "spark.yarn.appMasterEnv.PYTHONPATH": "deps", "spark.kubernetes.driverEnv.PYTHONPATH": "deps"}


def _parts(parcels: Parcels) -> list[str]:
    archives = f"{parcels.dependencies}#deps,{parcels.configs}#conf"
    return ["--py-files", str(parcels.package), "--archives", archives]


def _wrong(what: str, value: str, allowed: str) -> ConfigError:
    return ConfigError(Problem(what, value, allowed, "command line"))


if __name__ == "__main__":
    sys.exit(main())
