"""`patterns checkpoint`: look at a job's checkpoint, copy it, set it aside, or begin another one at given offsets.

The job should not be running. Nothing is ever deleted; what changes something takes `--dry-run`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands import lookup, offsets
from jobs.commands.lookup import Asked
from jobs.commands.options import AsJson, Config, Env, Job, Sets, spark_for
from jobs.core.config import JobConfig
from jobs.core.errors import ConfigError, Problem, Refused

if TYPE_CHECKING:  # it comes with Spark, which takes a while
    from pyspark.sql import SparkSession

    from jobs.core.checkpoint import Checkpoint
    from jobs.core.kafka import Positions

app = typer.Typer(
    help="Look at a job's checkpoint, copy it, set it aside, or begin one elsewhere.", no_args_is_help=True
)
To = Annotated[str, typer.Option("--to", metavar="FOLDER", help="A folder that is not there yet.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Timestamp = Annotated[str | None, typer.Option("--to-timestamp", metavar="TIME", help="RFC 3339, with a zone.")]
AtOffsets = Annotated[
    str | None, typer.Option("--to-offsets", metavar="JSON", help='As Spark has them: {"topic": {"0": 5}}.')
]
RESET = "the next start is refused unless it says --recover from-ledger (goes on) or --recover reprocess (all again)"
REWIND = (
    "give a job with a sink of its own this checkpoint; on the old sink its start is refused, as the ledger has another"
)


@dataclass(frozen=True)
class Opened:
    """A job's config, its session and its checkpoint."""

    config: JobConfig
    spark: SparkSession
    checkpoint: Checkpoint


@app.command()
def inspect(job: Job, config: Config = None, env: Env = None, sets: Sets = None, as_json: AsJson = False) -> None:
    """Print what the checkpoint holds, what is wrong, and how it compares with the ledger; exit 4 where a start is refused."""
    from jobs.commands import inspection

    with opened(job, Asked(config, env, sets or ())) as here:
        found = inspection.inspect(here.spark, here.config, here.checkpoint)
    typer.echo(inspection.as_json(found) if as_json else inspection.as_text(found))
    raise typer.Exit(0 if found.accepted else Refused.exit_code)


@app.command()
def clone(job: Job, to: To, config: Config = None, env: Env = None, sets: Sets = None, dry_run: DryRun = False) -> None:
    """Copy the checkpoint to a folder that is not there yet."""
    with opened(job, Asked(config, env, sets or ())) as here:
        _must_be_new(here.spark, to)
        if not dry_run:
            here.checkpoint.copy_to(to)
    _say(dry_run, f"copy: {here.checkpoint.path} -> {to}")


@app.command()
def reset(job: Job, config: Config = None, env: Env = None, sets: Sets = None, dry_run: DryRun = False) -> None:
    """Move the checkpoint aside, so that the next start begins anew."""
    with opened(job, Asked(config, env, sets or ())) as here:
        aside = "the same name with the time" if dry_run else here.checkpoint.set_aside(datetime.now(timezone.utc))
    _say(dry_run, f"move: {here.checkpoint.path} -> {aside}", RESET)


@app.command()
def rewind(
    job: Job,
    to: To,
    to_timestamp: Timestamp = None,
    to_offsets: AtOffsets = None,
    config: Config = None,
    env: Env = None,
    sets: Sets = None,
    dry_run: DryRun = False,
) -> None:
    """Begin a new checkpoint in another folder, whose next batch starts at a time or at offsets."""
    wanted = offsets.asked(to_timestamp, to_offsets)
    with opened(job, Asked(config, env, sets or ()), must_exist=False) as here:
        at = offsets.found(here.spark, here.config, wanted)
        _must_be_new(here.spark, to)
        if not dry_run:
            begin(here.spark, to, at)
    _say(dry_run, f"new: {to}, next batch from {json.dumps(at)}", REWIND)


def begin(spark: SparkSession, path: str, at: Positions) -> None:
    """A checkpoint under a new query id."""
    from uuid import uuid4

    from jobs.core import checkpoint

    checkpoint.begin(spark, path, str(uuid4()), [at], datetime.now(timezone.utc))


@contextmanager
def opened(job: str, asked: Asked, must_exist: bool = True) -> Iterator[Opened]:
    """Raises ConfigError where there is no checkpoint."""
    from jobs.core.checkpoint import Checkpoint

    config = lookup.stream(lookup.find(job), asked)
    with spark_for(config, "checkpoint") as spark:
        checkpoint = Checkpoint(spark, str(config.checkpoint))
        if must_exist and not checkpoint.exists():
            raise ConfigError(Problem("checkpoint", checkpoint.path, "a folder that is there", config.job))
        yield Opened(config, spark, checkpoint)


def _must_be_new(spark: SparkSession, path: str) -> None:
    from jobs.core.files import Folder

    if Folder(spark, path).exists():
        raise ConfigError(Problem("--to", path, "a folder that is not there yet", "command line"))


def _say(dry_run: bool, *lines: str) -> None:
    for line in lines:
        typer.echo(f"dry run: {line}" if dry_run else line)
