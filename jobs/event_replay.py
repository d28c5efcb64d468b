"""Replay an event log into a table of states (event sourcing).

In         log           a Delta table of events (`core.events.envelope`), read at one version from beginning to end
Out        into          a Delta table: stream_id, stream_version, the state's columns; a row a stream that has a state
Rejected   nothing       an event that the fold or its upcasters cannot take ends the replay, and is named; the live table stays
                         as it is. --skip-events leaves events out, each with its reason; the log keeps them
Delivery   exactly once  the states replace those that were there in one commit; a start after a kill goes on, and does not
                         repeat it
State      work          a build beside the live table, checked against the log before it is swapped, then dropped
           snapshots     what all events came to, so that --from-snapshot folds only those of the files that were added since
Follows    with --follow the table is kept at the log's end, a step of `follow.every` behind it: each step is one commit, and
           the table is what a replay of the whole log would give
Choose     states have to be made anew: a fold that had a fault, a new one, a look at what was so at a time or version
Run        spark-submit jobs/event_replay.py --env local [--until-time T] [--until-event-time T] [--until-version N]
           [--until-offset TOPIC/PARTITION/OFFSET] [--stream ID] [--type TYPE] [--skip-events FILE] [--into PATH]
           [--from-snapshot] [--dry-run] [--follow]
"""

from __future__ import annotations

import argparse
import sys
from itertools import combinations
from typing import Literal

from pyspark.sql import SparkSession
from rich.console import Console

from jobs.core import bounded, checks, runner
from jobs.core import lease as leases
from jobs.core.causes import naming
from jobs.core.clock import utc_now
from jobs.core.connections import Findings, LeaseLimits, Settings
from jobs.core.errors import ConfigError, Problem
from jobs.core.events import comparing, projection, replay_options
from jobs.core.events.folds import Fold
from jobs.core.events.following import Follower
from jobs.core.events.projection import Evolve, Module, Projection
from jobs.core.events.rebuilding import Rebuild, Request
from jobs.core.events.sealing import Opener
from jobs.core.files import keep_private
from jobs.core.holder import this
from jobs.core.lease_files import FileRegister
from jobs.core.overlaps import overlap
from jobs.core.problems import Finding
from jobs.core.run_config import Place, RunConfig
from jobs.core.values import Count, DataPath, Duration


class Snapshots(Settings):
    """What all events come to, kept for replays with --from-snapshot."""

    path: DataPath
    every: Count  # events since the last one, and a replay of all writes the next


class Follow(Settings):
    """How a replay with --follow goes on."""

    every: Duration = Duration("5s")


class Config(RunConfig):
    """conf/event_replay.yaml. Exactly one of fold and evolve."""

    log: Place
    fold: Fold | None = None
    evolve: Evolve | None = None
    upcast: Module | None = None  # with fold: the module whose CHAIN brings events up to date
    unknown: Literal["pass", "reject"] = "pass"  # with fold: a type of event without a rule
    into: Place
    work: Place
    snapshots: Snapshots | None = None
    follow: Follow = Follow()
    lease: LeaseLimits = LeaseLimits()

    @property
    def projection(self) -> Projection:
        """Raises ConfigError."""
        if self.evolve:
            return projection.evolved(self.evolve)
        assert self.fold, "the config has exactly one of them"
        return projection.declared(self.fold, self.upcast, self.unknown)

    def findings(self) -> Findings:
        yield from super().findings()
        yield from checks.one_of(self, "fold", "evolve")
        if self.evolve and self.upcast:
            yield Finding(("upcast",), "only with fold: evolve.module has the CHAIN of its own")
        if self.evolve and self.unknown == "reject":
            yield Finding(("unknown",), "only with fold: evolve decides itself what it knows")
        for (name, place), (other, beside) in combinations(self.places().items(), 2):
            if overlap(place, beside):
                yield Finding((other, "path"), f"a folder apart from {name}.path ({place})")

    def places(self) -> dict[str, str]:
        own = {"log": self.log.path, "into": self.into.path, "work": self.work.path}
        return {**own, "snapshots": self.snapshots.path} if self.snapshots else own


def request(config: Config, given: argparse.Namespace) -> Request:
    """What the command line asks for. Raises ConfigError."""
    kept, bounds = config.snapshots, replay_options.bounds(given)
    if given.from_snapshot and kept is None:
        raise ConfigError(Problem("snapshots", "", "required with --from-snapshot: path and every", "conf"))
    return Request(
        config.job,
        config.log.path,
        config.into.path,
        config.work.path,
        config.projection,
        bounds,
        given.dry_run,
        given.from_snapshot,
        kept.path if kept else None,
        kept.every if kept else None,
        config.follow.every.seconds_total if given.follow else None,
        Opener.of(config.postgres),
    )


def start(spark: SparkSession, config: Config, wanted: Request) -> int:
    """Log -> fold -> live table, in one commit; or, in a dry run, how the two differ."""
    written = [wanted.into, *([wanted.snapshots] if wanted.snapshots else [])]
    with naming([wanted.work, *written]):
        keep_private(spark, [wanted.work, *([] if wanted.dry_run else written)])
        lease = leases.take(FileRegister(spark, f"{wanted.work}/_lease"), config.job, this(utc_now()), config.lease)
        try:
            if wanted.follow_s is not None:
                return follow(spark, config, Follower(spark, wanted, lease), wanted.follow_s)
            rebuild = Rebuild(spark, wanted.now(spark), lease)
            return compare(rebuild) if wanted.dry_run else replay(rebuild)
        finally:
            lease.give_back()


def replay(rebuild: Rebuild) -> int:
    rebuild.run()
    return 0


def follow(spark: SparkSession, config: Config, follower: Follower, every_s: float) -> int:
    """Until a signal asks it to end."""
    with runner.ending(spark, follower, config.stop_within):
        follower.run(every_s)
    return 0


def compare(rebuild: Rebuild) -> int:
    """Prints the difference; 1 where there is one."""
    found = rebuild.compare()
    out = Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())
    out.print(comparing.as_text(found, "the replay", rebuild.request.into))
    return 0 if found.is_none else 1


JOB = bounded.Job(Config, replay_options.add, request, start, replay_options.settings)

if __name__ == "__main__":
    bounded.main(JOB)
