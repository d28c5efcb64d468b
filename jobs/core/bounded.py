"""The command line of a job that runs to its end: what every job takes, and what is this job's own.

    spark-submit jobs/<job>.py [--config FILE] [--env NAME] [--set key=value]... [--show-config] [its own arguments]

What is asked for is made sense of before Spark starts. No signal is waited out: the next start finds what there is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pyspark.sql import SparkSession

from jobs.core import runner
from jobs.core.run_config import RunConfig
from jobs.core.session import session

C = TypeVar("C", bound=RunConfig)
A = TypeVar("A")


@dataclass(frozen=True)
class Job(Generic[C, A]):
    """A job as its file has it."""

    model: type[C]
    options: Callable[[argparse.ArgumentParser], None]
    asked: Callable[[C, argparse.Namespace], A]  # raises ConfigError
    start: Callable[[SparkSession, C, A], int]  # the exit code
    settings: Callable[[argparse.Namespace], list[str]] = lambda given: []  # arguments that stand for `--set`


def main(job: Job[C, A], argv: Sequence[str] | None = None) -> None:
    """Runs a job to its end; never returns."""
    sys.exit(run(job, sys.argv[1:] if argv is None else argv))


def run(job: Job[C, A], argv: Sequence[str]) -> int:
    """The exit code; a failure has been explained on standard error."""
    parser = runner.parser()
    job.options(parser)
    given = parser.parse_args(argv)
    given.set = [*given.set, *job.settings(given)]

    def work(config: C) -> int:
        asked = job.asked(config, given)
        spark = session(config.job, config.spark)
        spark.sparkContext.setLogLevel("WARN")
        try:
            return job.start(spark, config, asked)
        finally:
            runner.stop_quietly(spark)

    return runner.outcome(job.model, given, work)
