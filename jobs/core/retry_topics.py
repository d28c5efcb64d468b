"""Retry topics: dead letters whose cause may pass are redriven by themselves, each attempt after a time of its own.

A record that is rejected for one of `retry.reasons` is a dead letter in the first of `retry.topics`; rejected again, in the
second, and so on. After the last, and for any other reason, it is one among the other dead letters. In whichever topic, it has
the same form and counts the same. When it is due, `after` behind its time in the topic, a tick between batches sends it to
the redrive topic, as `patterns dead-letters redrive` would: no batch waits for a record.

How far each topic was sent stands in a note of the checkpoint, written after the sending. So a run that is cut short sends
some again: the first tick of a run, or after a failure, leaves out what the redrive topic has, and the job what it has
handled (`core.redriven`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core import kafka, letters, oversize
from jobs.core import redrive as redrives
from jobs.core.clock import Clock
from jobs.core.config import JobConfig, Retries
from jobs.core.dead_letters import IDENTITY, KafkaDeadLetters, redriven_headers, spring_headers
from jobs.core.errors import DependencyMissing
from jobs.core.failures import words
from jobs.core.files import Folder
from jobs.core.kafka import Positions
from jobs.core.retry import is_transient
from jobs.core.sinks import Mark, Outlet

NOTES = "retries"  # a folder of the checkpoint; Spark passes over it
NAME = "retry topics"  # of what is away, in metrics
NEARLY = 30  # bytes that a weight may be off
OFTEN, SELDOM = timedelta(seconds=0.5), timedelta(seconds=30)
Retried = Callable[[str], None]
log = logging.getLogger(__name__)


class RetriedLetters:
    """Dead letters, of which some go to the retry topics and the others to where they go without."""

    def __init__(self, retry: Retries, topics: list[KafkaDeadLetters], rest: Outlet, limits: list[int]) -> None:
        """Where there are limits, a record that is too large for its retry topic is not retried: it would have to be cut."""
        self._retry, self._topics, self._rest, self._limits = retry, topics, rest, limits

    def append(self, rows: DataFrame, mark: Mark) -> None:
        """DEAD_LETTER -> its places, of which each is only written if it gets any. Raises as these do."""
        routed = rows.withColumn("_to", self._place())
        for (to,) in sorted(routed.select("_to").distinct().collect()):
            place = self._topics[to] if to < len(self._topics) else self._rest
            place.append(routed.filter(F.col("_to") == to).drop("_to"), mark)

    def held(self) -> DataFrame | None:
        return self._rest.held()

    def _place(self) -> Column:
        """The number of the row's retry topic, from 0; the first that is none for a row that is not retried."""
        last, number = F.lit(len(self._topics)), F.col("attempt") - 1
        is_meant = F.col("reason").isin([reason.value for reason in self._retry.reasons]) & (number < last)
        if self._limits:
            is_meant &= oversize.weight(spring_headers()) + NEARLY <= F.get(F.array(*map(F.lit, self._limits)), number)
        return F.when(is_meant, number).otherwise(last)


def retried(spark: SparkSession, config: JobConfig, rest: Outlet | None) -> Outlet | None:
    """Dead letters with their retry topics, where the config has any. Raises DependencyMissing."""
    given = config.dead_letters
    if not (rest and given and given.retry and config.kafka):
        return rest
    names = letters.retry_topics(config)
    kafka.check(spark, config.kafka, [*names, redrives.settings(config).parking_topic])
    is_cut = given.kafka is not None and given.kafka.too_large == "cut"
    limits = [kafka.largest_record(spark, config.kafka, name) for name in names] if is_cut else []
    return RetriedLetters(given.retry, [KafkaDeadLetters(config.kafka, name) for name in names], rest, limits)


class DueLetters:
    """Sends the letters that are due."""

    def __init__(self, spark: SparkSession, config: JobConfig, checkpoint: str, clock: Clock, retried: Retried) -> None:
        """`retried` is called when the broker is away: what is due waits."""
        self._spark, self._config, self._clock, self._retried = spark, config, clock, retried
        self._notes = Folder(spark, f"{checkpoint}/{NOTES}")
        given = config.dead_letters.retry if config.dead_letters else None
        self._after = {one.topic: timedelta(milliseconds=one.after.ms) for one in given.topics} if given else {}
        self._every = min(max(OFTEN, min(self._after.values(), default=SELDOM) / 4), SELDOM)
        self._looked: datetime | None = None

    def tick(self) -> None:
        """Looks now and then; a broker that is away is asked again later. Raises DependencyMissing for a topic that is gone."""
        now = self._clock()
        if not self._after or (self._looked and now - self._looked < self._every):
            return
        self._looked = now
        try:
            self._send(now)
        except Exception as failure:
            is_away = isinstance(failure, DependencyMissing) and failure.dependency != kafka.TOPIC
            if not (is_away or is_transient(failure)):
                raise
            log.warning("dead letters that are due wait: %s", words(failure))
            self._retried(NAME)

    def _send(self, now: datetime) -> None:
        assert self._config.kafka, "retry topics come with a broker"
        due_at = {topic: int((now - after).timestamp() * 1000) for topic, after in self._after.items()}
        due, sent = kafka.at_times(self._spark, self._config.kafka, due_at), self._noted()
        if due != sent:
            there = kafka.spans(self._spark, self._config.kafka, due)
            start = {topic: begun(topic, sent.get(topic, {}), places) for topic, places in there.items()}
            end = {
                topic: {p: max(at, due[topic].get(p, at)) for p, at in places.items()}
                for topic, places in start.items()
            }
            self._redrive(start, end)
            self._note(end)

    def _redrive(self, start: Positions, end: Positions) -> None:
        """Without what was sent already: by somebody else before it was due, or by a run that was cut short."""
        assert self._config.kafka
        given, found = redrives.settings(self._config), letters.retried_between(self._spark, self._config, start, end)
        (first,) = found.agg(F.min("rejected_at")).first() or (None,)
        if first is None:
            return
        sent = redrives.sent(self._spark, self._config, given, first)  # none was before it was a letter
        found = found.join(sent, IDENTITY, "left_anti")
        redrives.send(found, redriven_headers(), self._config.kafka, given.topic)
        log.info("dead letters that were due are redriven: %s up to %s", json.dumps(start), json.dumps(end))

    def _noted(self) -> Positions:
        names = self._notes.list()
        return dict(json.loads(self._notes.read(names[-1].name))) if names else {}

    def _note(self, sent: Positions) -> None:
        earlier = self._notes.list()
        number = int(earlier[-1].name) + 1 if earlier else 0
        self._notes.write(f"{number:020d}", json.dumps(sent))
        for one in earlier:
            self._notes.delete(one.name)


def begun(topic: str, sent: Mapping[str, int], there: Mapping[int, tuple[int, int]]) -> dict[str, int]:
    """From where to read each partition: after what was sent, or the first that there is."""
    begun = {}
    for partition, (first, after) in there.items():
        at = sent.get(str(partition), first)
        begun[str(partition)] = at if first <= at <= after else first
        if at != begun[str(partition)]:
            log.warning("%s %d: offset %d is gone, so letters may be; read from %d on", topic, partition, at, first)
    return begun
