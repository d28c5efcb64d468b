"""Republish an event log to a topic (event sourcing).

In         log           a Delta table of events (`core.events.envelope`), read at one version from beginning to end
Out        into          a topic: a record an event, its stream's id as the key, its own id in the header `event_id`; the value
                         is a whole envelope, or with `shape: short` type, data and time alone
Rejected   nothing       an event that is larger than its topic takes ends the job, and is named; --skip-events leaves it out
Delivery   at least once a start after a kill goes on behind the last whole step; what was sent of the one in flight is sent
                         again, each event under its own id
Order      within a stream that of its versions; between streams about that of time, when an event occurred or, where that was
           before, was recorded
State      work          the events as records, in the order in which they are due, and how far they have been sent; dropped in
                         the end
Ends       once all is sent; asked to (SIGTERM), after the step in hand, and the next start goes on
Choose     a topic is to have the events again: lost to its retention, for another consumer, for a test at the log's own pace
Run        spark-submit jobs/event_republish.py --env local [--until-time T] [--until-event-time T] [--until-version N]
           [--until-offset TOPIC/PARTITION/OFFSET] [--stream ID] [--type TYPE] [--skip-events FILE] [--speed N|max]
           [--dry-run]
"""

from __future__ import annotations

import argparse
import sys

from pyspark.sql import SparkSession

from jobs.core import bounded, runner
from jobs.core import lease as leases
from jobs.core.causes import naming
from jobs.core.clock import utc_now
from jobs.core.connections import Findings, Kafka, LeaseLimits, Settings
from jobs.core.events import outlook, replay_options, republish_options
from jobs.core.events.outgoing import Shape
from jobs.core.events.republishing import Republisher, Request
from jobs.core.events.sealing import Opener
from jobs.core.events.sending import EventTopic
from jobs.core.files import keep_private
from jobs.core.holder import this
from jobs.core.lease_files import FileRegister
from jobs.core.overlaps import overlap
from jobs.core.problems import Finding
from jobs.core.run_config import Place, RunConfig
from jobs.core.values import Count, Duration, Topic


class Into(Settings):
    """A topic that is there already."""

    topic: Topic
    shape: Shape = "envelope"


class Step(Settings):
    """What is sent at a time, and once more if it was interrupted."""

    events: Count = 100_000  # about so many at most
    every: Duration = Duration("1s")  # with a speed: what is due within this time goes together


class Config(RunConfig):
    """conf/event_republish.yaml."""

    kafka: Kafka
    log: Place
    into: Into
    work: Place
    step: Step = Step()
    lease: LeaseLimits = LeaseLimits()

    def findings(self) -> Findings:
        yield from super().findings()
        if overlap(self.log.path, self.work.path):
            yield Finding(("work", "path"), f"a folder apart from log.path ({self.log.path})")


def request(config: Config, given: argparse.Namespace) -> Request:
    """What the command line asks for. Raises ConfigError."""
    return Request(
        config.job,
        config.log.path,
        config.kafka.bootstrap_servers,
        config.into.topic,
        config.work.path,
        config.into.shape,
        replay_options.read_bounds(given),
        republish_options.speed(given),
        config.step.events,
        config.step.every.seconds_total,
        given.dry_run,
        Opener.of(config.postgres),
    )


def start(spark: SparkSession, config: Config, wanted: Request) -> int:
    """Log -> records in their order -> topic, a step at a time; or, in a dry run, what that would be."""
    topic = EventTopic(spark, config.kafka, wanted.topic)
    topic.check()
    if wanted.dry_run:
        return tell(Republisher(spark, wanted, topic), topic)
    with naming([wanted.work]):
        keep_private(spark, [wanted.work])
        lease = leases.take(FileRegister(spark, f"{wanted.work}/_lease"), config.job, this(utc_now()), config.lease)
        try:
            return republish(spark, config, Republisher(spark, wanted, topic, lease))
        finally:
            lease.give_back()


def republish(spark: SparkSession, config: Config, republisher: Republisher) -> int:
    """To its end, or until a signal asks for one."""
    with runner.ending(spark, republisher, config.stop_within):
        republisher.run()
    return 0


def tell(republisher: Republisher, topic: EventTopic) -> int:
    """Prints what would be sent."""
    asked = republisher.request
    sys.stdout.write(outlook.as_text(republisher.outlook(), topic.name, asked.speed) + "\n")
    return 0


JOB = bounded.Job(Config, republish_options.add, request, start)

if __name__ == "__main__":
    bounded.main(JOB)
