"""`patterns events`: look into an event log: its events, one stream's history, what changed between two points; forget.

JOB is the replay whose config names log and fold; to forget, the job that appends, which knows the keys. Payloads are printed:
that is what is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer
from rich.console import Console

from jobs.commands import event_text, lookup
from jobs.commands.lookup import Asked
from jobs.commands.options import AsJson, Config, Env, Sets, spark_for
from jobs.core.errors import ConfigError, Problem

if TYPE_CHECKING:  # it comes with Spark, which takes a while
    from pyspark.sql import DataFrame, SparkSession

    from jobs import event_replay
    from jobs.core.events.pinned_log import PinnedLog

app = typer.Typer(help="Look into an event log.", no_args_is_help=True)
Job = Annotated[str, typer.Option("--job", metavar="JOB", help="The replay whose config names log and fold.")]
Stream = Annotated[str | None, typer.Option("--stream", metavar="ID", help="Only this stream.")]
Kind = Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only this type of event.")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")]
REPLAY, APPEND = "event_replay", "event_append"
POINT = "a version of the log's table, or a time of recording, RFC 3339 with a zone"


class Wanted(NamedTuple):
    """Which events, and how many of them."""

    stream: str | None
    kind: str | None
    limit: int


@dataclass(frozen=True)
class Opened:
    """A replay's config, a session, and its log as it is now."""

    spark: SparkSession
    config: event_replay.Config
    log: PinnedLog


@app.command()
def show(
    job: Job = REPLAY,
    stream: Stream = None,
    kind: Kind = None,
    limit: Limit = 20,
    config: Config = None,
    env: Env = None,
    sets: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Print the first events, stream by stream."""
    _listed("oldest", job, Asked(config, env, sets or ()), Wanted(stream, kind, limit), as_json)


@app.command()
def tail(
    job: Job = REPLAY,
    stream: Stream = None,
    kind: Kind = None,
    limit: Limit = 20,
    config: Config = None,
    env: Env = None,
    sets: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Print the events that were recorded last."""
    _listed("newest", job, Asked(config, env, sets or ()), Wanted(stream, kind, limit), as_json)


@app.command("history")
def stream_history(
    stream: Annotated[str, typer.Argument(metavar="STREAM")],
    job: Job = REPLAY,
    limit: Limit = 20,
    config: Config = None,
    env: Env = None,
    sets: Sets = None,
) -> None:
    """Print a stream's last events, each with what it changed in the state."""
    with opened(job, Asked(config, env, sets or ())) as here:
        from jobs.core.events import history

        found = history.of_stream(_events(here, stream, None), here.config.projection, limit)
        if not found:
            raise ConfigError(Problem("STREAM", stream, "a stream of which the log has events", "command line"))
        _out().print(event_text.timeline(stream, found), end="")


@app.command()
def diff(
    at: Annotated[list[str], typer.Option("--at", metavar="POINT", help=f"Twice; {POINT}.")],
    job: Job = REPLAY,
    stream: Stream = None,
    config: Config = None,
    env: Env = None,
    sets: Sets = None,
) -> None:
    """Print how the states differ between two points of the log; exit 1 where they do."""
    if len(at) != 2:
        raise ConfigError(Problem("--at", " ".join(at), f"twice; {POINT}", "command line"))
    with opened(job, Asked(config, env, sets or ())) as here:
        from jobs.core.events import comparing

        then, now = (_states(here, point, stream) for point in at)
        found = comparing.difference(then, now)
        sides = (at[0], at[1])
        kinds = {"here": f"only at {at[0]}", "there": f"only at {at[1]}", "changed": "changed"}
        _out().print(comparing.as_text(found, *sides, sides, kinds))
    raise typer.Exit(0 if found.is_none else 1)


@app.command()
def forget(
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="As `source.personal.subject` names it.")],
    job: Annotated[str, typer.Option("--job", metavar="JOB", help="The job that appends to the log.")] = APPEND,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which events it is about.")] = False,
    config: Config = None,
    env: Env = None,
    sets: Sets = None,
) -> None:
    """Drop a person's key for good: nobody can read any more what the log has sealed with it."""
    from jobs import event_append

    given = lookup.load(lookup.find(job), Asked(config, env, sets or ())).config
    if not isinstance(given, event_append.Config) or given.source.personal is None:
        raise ConfigError(Problem("--job", job, "a job that appends to a log, with source.personal", "command line"))
    with spark_for(given, "forget") as spark:
        from jobs.core.events import forgetting
        from jobs.core.events.subject_keys import SubjectKeys

        assert given.postgres and given.sink.delta, "the config has checked it"
        keys = SubjectKeys.of(given.postgres)
        found = forgetting.forget(spark, str(given.sink.delta.path), keys, subject, dry_run)
    _out().print(event_text.forgotten(subject, found, dry_run), end="")


@contextmanager
def opened(job: str, asked: Asked) -> Iterator[Opened]:
    """Raises ConfigError, and DependencyMissing where there is no log."""
    from jobs import event_replay
    from jobs.core.events import pinned_log, sealing

    config = lookup.load(lookup.find(job), asked).config
    if not isinstance(config, event_replay.Config):
        raise ConfigError(Problem("--job", job, "a replay of an event log", "command line"))
    with spark_for(config, "events") as spark:
        version, opener = pinned_log.newest(spark, config.log.path), sealing.Opener.of(config.postgres)
        yield Opened(spark, config, pinned_log.PinnedLog(spark, config.log.path, version, opener))


def _states(here: Opened, point: str, stream: str | None) -> DataFrame:
    """STATE at a point. Raises ConfigError."""
    from jobs.core.events import folding, replay_options
    from jobs.core.events.bounds import Bounds, selected

    log, bounds = here.log, Bounds(streams=(stream,) if stream else ())
    if point.isdecimal() and int(point) > log.version:
        allowed = f"{POINT}; the log is at version {log.version}"
        raise ConfigError(Problem("--at", point, allowed, "command line"))
    if point.isdecimal():
        log = log.at(int(point))
    else:
        bounds = replace(bounds, until_time=replay_options.moment("--at", point))
    return folding.states(here.config.projection.partials(selected(log.events(), bounds), None))


def _events(here: Opened, stream: str | None, kind: str | None) -> DataFrame:
    from jobs.core.events import history

    return here.log.events().filter(history.within(stream, kind))


def _listed(order: Literal["oldest", "newest"], job: str, asked: Asked, wanted: Wanted, as_json: bool) -> None:
    with opened(job, asked) as here:
        from jobs.core.events import history

        events = getattr(history, order)(_events(here, wanted.stream, wanted.kind), wanted.limit)
    if not as_json:
        return _out().print(event_text.table(events))
    for event in events:
        typer.echo(event_text.line(event))


def _out() -> Console:
    return Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())
