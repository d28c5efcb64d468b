"""`patterns dead-letters`: look at a job's dead letters, and send them once more when their cause is mended.

The job may be running. A record counts once, with its last attempt, however often its dead letter was sent. Payloads are only
printed by `show`, where one is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands import letter_text, lookup, offsets
from jobs.commands.lookup import Asked
from jobs.commands.options import AsJson, Config, Env, Job, Sets, spark_for
from jobs.core.config import JobConfig
from jobs.core.errors import ConfigError, Problem
from jobs.core.reasons import Reason

if TYPE_CHECKING:  # it comes with Spark, which takes a while
    from pyspark.sql import SparkSession

    from jobs.core.letters import Wanted

app = typer.Typer(help="Look at a job's dead letters, and redrive them.", no_args_is_help=True)
Reasons = Annotated[list[str] | None, typer.Option("--reason", metavar="CODE", help="Only these; repeatable.")]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="Rejected since; RFC 3339, with a zone.")]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many, the oldest.")]
Rate = Annotated[int | None, typer.Option("--rate", metavar="N", min=1, help="So many records a second.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")]


@app.command("list")
def list_letters(
    job: Job,
    reason: Reasons = None,
    since: Since = None,
    limit: Limit = None,
    config: Config = None,
    env: Env = None,
    sets: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Print a line a dead letter, oldest first, without its payload; with --json an object a line."""
    wanted = asked(reason, since, limit)
    with opened(job, Asked(config, env, sets or ())) as (spark, loaded):
        from jobs.core import letters

        for row in letters.listed(letters.read(spark, loaded), wanted).toLocalIterator():
            typer.echo(letter_text.line(row, as_json))


@app.command()
def show(
    job: Job,
    topic: str,
    partition: int,
    offset: int,
    config: Config = None,
    env: Env = None,
    sets: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Print one dead letter whole, by the coordinates of its record: value and headers as text, or else as hex."""
    with opened(job, Asked(config, env, sets or ())) as (spark, loaded):
        from jobs.core import letters

        found = letters.at(letters.read(spark, loaded), topic, partition, offset)
    if found is None:
        wrong = f"a record that has a dead letter of {loaded.job}"
        raise ConfigError(Problem("TOPIC PARTITION OFFSET", f"{topic} {partition} {offset}", wrong, "command line"))
    typer.echo(letter_text.whole(found, as_json))


@app.command()
def stats(
    job: Job,
    reason: Reasons = None,
    since: Since = None,
    limit: Limit = None,
    config: Config = None,
    env: Env = None,
    sets: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Count dead letters by reason, by attempt and by day."""
    wanted = asked(reason, since, limit)
    with opened(job, Asked(config, env, sets or ())) as (spark, loaded):
        from jobs.core import letters

        found = letters.counted(letters.read(spark, loaded), wanted)
    typer.echo(letter_text.counts(found, as_json))


@app.command()
def redrive(
    job: Job,
    reason: Reasons = None,
    since: Since = None,
    limit: Limit = None,
    rate: Rate = None,
    config: Config = None,
    env: Env = None,
    sets: Sets = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters to the redrive topic, which the job reads, or to the parking topic after max_attempts."""
    wanted = asked(reason, since, limit)
    with opened(job, Asked(config, env, sets or ())) as (spark, loaded):
        from jobs.core import redrive as sender

        done = sender.redrive(spark, loaded, wanted, rate, dry_run)
    typer.echo(letter_text.sent(done, dry_run, as_json))


def asked(reasons: list[str] | None, since: str | None, limit: int | None) -> Wanted:
    """Which dead letters are meant. Raises ConfigError."""
    from jobs.core.letters import Wanted

    known = [reason.value for reason in Reason]
    for reason in reasons or ():
        if reason not in known:
            raise ConfigError(Problem("--reason", reason, f"one of {', '.join(known)}", "command line"))
    return Wanted(tuple(reasons or ()), offsets.moment("--since", since) if since else None, limit)


@contextmanager
def opened(job: str, given: Asked) -> Iterator[tuple[SparkSession, JobConfig]]:
    """A session, and the config of a job that has dead letters. Raises ConfigError."""
    config = lookup.stream(lookup.find(job), given)
    if config.dead_letters is None:
        raise ConfigError(Problem("dead_letters", "", "required: kafka.topic or delta.path", config.job))
    with spark_for(config, "dead-letters") as spark:
        yield spark, config
