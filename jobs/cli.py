"""The `patterns` command.

    patterns list | validate | show-config | schema | migrate | audit | checkpoint | dead-letters | new

Errors are told in one line each, without a traceback; exit codes are those of `core.errors`. Only `audit`, `checkpoint`
and `dead-letters` start Spark.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from jobs.commands import checkpoint, dead_letters, events, lookup, report, validate
from jobs.commands.lookup import Asked, JobFile
from jobs.commands.new import new
from jobs.commands.options import AsJson, Config, Env, Job, Sets, spark_for
from jobs.core.errors import ConfigError, JobError, Problem, Refused

SHOWN = ("Choose", "In", "Out", "Rejected", "Delivery", "Staleness", "State", "Run")
app = typer.Typer(
    help="Stream-processing patterns as Spark jobs.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
MaybeJob = Annotated[str | None, typer.Argument(metavar="[JOB]", help="A job's name, or the file of one of your own.")]
app.add_typer(checkpoint.app, name="checkpoint")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(events.app, name="events")


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command; never returns."""
    try:
        app(argv, prog_name="patterns")
    except JobError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(error.exit_code)


@app.command("list")
def list_jobs(
    folder: Annotated[
        Path | None, typer.Argument(help="A folder with jobs of your own.", exists=True, file_okay=False)
    ] = None,
) -> None:
    """Say what each job is for, and when to choose it."""
    for job in lookup.jobs_in(folder) if folder else lookup.shipped():
        _out().print(_card(job))


@app.command("validate")
def validate_config(
    job: MaybeJob = None,
    config: Config = None,
    env: Env = None,
    sets: Sets = None,
    every: Annotated[bool, typer.Option("--all", help="Every conf/*.yaml, and what they may not share.")] = False,
) -> None:
    """Check a config without starting Spark; every problem is told."""
    asked = Asked(config, env, sets or ())
    verdicts = list(validate.every(asked)) if every else [validate.one(job, asked)]
    for verdict in verdicts:
        _tell(verdict)
    raise typer.Exit(2 if any(verdict.problems for verdict in verdicts) else 0)


@app.command()
def show_config(job: Job, config: Config = None, env: Env = None, sets: Sets = None) -> None:
    """Print every value with the layer that set it, secrets masked."""
    typer.echo(lookup.load(lookup.find(job), Asked(config, env, sets or ())).show())


@app.command()
def schema(
    job: Job,
    output: Annotated[Path | None, typer.Option("-o", metavar="FILE", help="Write it there instead.")] = None,
) -> None:
    """Print the JSON Schema of a job's config, for editors."""
    text = json.dumps(lookup.model(lookup.find(job)).model_json_schema(), indent=2) + "\n"
    if output is None:
        typer.echo(text, nl=False)
    else:
        _save(text, output)


@app.command()
def migrate(
    job: Job,
    config: Config = None,
    env: Env = None,
    sets: Sets = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Try all of it, then undo it.")] = False,
) -> None:
    """Make the ledger and the roles in PostgreSQL, and grant what the job needs; what is there already stays."""
    from jobs.core import migrations
    from jobs.core.postgres import Database

    loaded = lookup.stream(lookup.find(job), Asked(config, env, sets or ()))
    if loaded.postgres is None:
        raise ConfigError(Problem("postgres", "", "required: the database to migrate", "conf"))
    for step in migrations.migrate(Database(loaded.postgres), loaded, dry_run):
        typer.echo(f"would apply {step}" if dry_run else f"applied {step}")


@app.command()
def audit(
    job: Job,
    config: Config = None,
    env: Env = None,
    sets: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Check that each record has exactly one outcome; exit 4 where it has not."""
    from jobs.core.audit import audit as run_audit

    loaded = lookup.stream(lookup.find(job), Asked(config, env, sets or ()))
    with spark_for(loaded) as spark:
        found = run_audit(spark, loaded)
    if as_json:
        typer.echo(report.as_json(loaded.job, found))
    else:
        _out().print(report.as_table(loaded.job, found))
    raise typer.Exit(0 if found.holds else Refused.exit_code)


@app.command("new")
def new_job(
    name: Annotated[str, typer.Argument(help="A lower-case Python name.")],
    into: Annotated[Path, typer.Option("--into", metavar="DIR", help="The folder to write into.")] = Path(),
) -> None:
    """Write a job of your own that works: job, config, schema, test, notebook."""
    for path in new(name, into):
        typer.echo(f"wrote {path}")
    there = "" if into == Path() else f"cd {into} && "
    typer.echo(f'try it: {there}pytest tests/test_{name}.py && spark-submit --jars "$PATTERNS_JARS" {name}.py')


def _save(text: str, path: Path) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as failure:
        raise ConfigError(
            Problem("-o", str(path), f"a file to write to ({failure.strerror})", "command line")
        ) from None


def _card(job: JobFile) -> Text:
    card = Text.assemble((job.name, "bold"), f"  {job.purpose}\n")
    for name in SHOWN:
        for number, line in enumerate(job.headings.get(name, "").splitlines()):
            card.append(f"  {name if number == 0 else '':<10} {line}\n")
    return card


def _tell(verdict: validate.Verdict) -> None:
    for problem in verdict.problems:
        typer.echo(str(problem), err=True)
    if not verdict.problems:
        typer.echo(f"OK {verdict.file}")


def _out() -> Console:
    return Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())


if __name__ == "__main__":
    main()
