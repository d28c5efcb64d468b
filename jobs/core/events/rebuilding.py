"""A replay: the states of a log's events, built beside the live table and put in its place by one commit.

    pin       one version of the log, for as long as this replay takes, over any number of starts
    build     PARTIAL of the events within the bounds, in a table of its own; from a snapshot on, where that is asked for
    check     against the log, counted without the fold (`core.events.verdicts`)
    swap      STATE over the live table; or, with streams as bounds, over the rows of these streams alone
    snapshot  where one is due
    drop      the build, and what was remembered

A start after a kill finds which of these are done: what is not built is built again, what is built is checked and swapped, and
what is swapped is known by the commit's `userMetadata`, so it is not swapped twice. A reader sees the old or the new states.
A replay that fails by itself is dropped: the next one begins with what the log has then.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.observation import Observation

from jobs.core import delta_log
from jobs.core.errors import EventFailed, ReplayRefused
from jobs.core.events import failing, pinned_log, swapping, verdicts
from jobs.core.events.bounds import Bounds, selected
from jobs.core.events.comparing import Difference, difference
from jobs.core.events.folding import states
from jobs.core.events.pinned_log import PinnedLog
from jobs.core.events.projection import Projection
from jobs.core.events.records import Built, Pinned, Records, new_run
from jobs.core.events.sealing import Opener
from jobs.core.events.snapshots import Snapshots
from jobs.core.events.taking import Taking
from jobs.core.lease import Lease
from jobs.core.session import overridden

T = TypeVar("T")
INSTEAD = "move it away, or replay into another one"
NOT_ADAPTIVE = ("spark.sql.adaptive.enabled", "false")  # it may drop, of an empty side, what `observe` counts
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What is asked for: the same one again goes on with what it began."""

    job: str
    log: str
    into: str
    work: str
    projection: Projection
    bounds: Bounds = field(default_factory=Bounds)
    dry_run: bool = False
    from_snapshot: bool = False
    snapshots: str | None = None
    every: int | None = None  # events since the last snapshot
    follow_s: float | None = None  # seconds from one look at the log to the next; None: to the end, once
    opener: Opener = field(default_factory=Opener)
    forgotten: int = 0  # subjects: whatever was made before one more was, is made anew

    @property
    def fold(self) -> str:
        """What makes states other ones, of the same events in the log."""
        fingerprint = self.projection.fingerprint
        return f"{fingerprint}-{self.forgotten}" if self.forgotten else fingerprint

    def told(self) -> dict[str, Any]:
        bounds = self.bounds.told()
        return {"job": self.job, "log": self.log, "into": self.into, "bounds": bounds, "fold": self.fold}

    def now(self, spark: SparkSession) -> Request:
        """With those who are forgotten by now. Raises ConfigError, DependencyMissing."""
        return replace(self, forgotten=self.opener.forgotten(spark, self.log))

    def name(self, *more: int) -> str:
        """Of the request, or of its replay of one version of the log."""
        text = json.dumps([self.told(), self.dry_run, self.from_snapshot, *more], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Rebuild:
    """One request, at whatever point it stands."""

    def __init__(self, spark: SparkSession, request: Request, lease: Lease | None = None) -> None:
        self._spark, self.request, self._lease = spark, request, lease
        self._records = Records(spark, request.work, request.name())

    def run(self) -> None:
        """To its end, again where a subject is forgotten meanwhile. Raises EventFailed and ReplayRefused; then nothing is
        swapped.
        """
        self._until_none_is_forgotten(self._run)

    def _until_none_is_forgotten(self, step: Callable[[], T]) -> T:
        """What was built while a key was dropped does not fit the log any more, which says nothing against the log."""
        while True:
            try:
                return step()
            except ReplayRefused:
                now = self.request.now(self._spark)
                if now.forgotten == self.request.forgotten:
                    raise
                log.warning("a subject is forgotten since the replay began: it begins anew")
                self.request, self._records = now, Records(self._spark, now.work, now.name())

    def _run(self) -> None:
        pin = self.pin()
        with self._dropped_when_it_fails():
            if not self._is_swapped(pin):
                self.recognise(pin)
                built = self.built(pin)
                found = self.check(pin, built)
                self.swap(pin, found)
                self.keep(pin, built, found)
        self.drop()

    def compare(self) -> Difference:
        """What a run would change. Raises EventFailed and ReplayRefused."""
        return self._until_none_is_forgotten(self._compare)

    def _compare(self) -> Difference:
        pin = self.pin()
        with self._dropped_when_it_fails():
            self.check(pin, self.built(pin))
        found = difference(states(self.partials(pin)), self._live())
        self.drop()
        return found

    def pin(self) -> Pinned:
        """The unfinished replay of the same request, or a new one. Raises DependencyMissing, ConfigError."""
        found, log_id = self._records.pinned(), delta_log.table_id(self._spark, self.request.log)
        if found is None or found.log_id != log_id or self._is_overtaken(found) or not self._log(found).is_there():
            self.drop()
            version = pinned_log.newest(self._spark, self.request.log)
            live = delta_log.version(self._spark, self.request.into)
            found = Pinned(self.request.name(version), log_id, version, live, new_run())
            self._log(found).check(self.request.bounds.skips)
            self._records.add(found)
        log.info("replay %s of version %d of %s", found.replay_id, found.log_version, self.request.log)
        return found

    def recognise(self, pin: Pinned) -> None:
        """The log has not lost what the live table was made of. Raises ReplayRefused."""
        last = self._said()
        if last.get("log") != self.request.log:  # nothing is known of it, or it moves to another log
            return
        if last.get("log_id") != pin.log_id:
            raise ReplayRefused(
                self.request.into, f"it is of another table that was at {self.request.log} before; {INSTEAD}"
            )
        if last["log_version"] > pin.log_version:
            gone = f"it is of version {last['log_version']} of {self.request.log}, which has {pin.log_version} only"
            raise ReplayRefused(self.request.into, f"{gone}; {INSTEAD}")

    def built(self, pin: Pinned) -> Built:
        """What an earlier start has built, or a new build."""
        found = self._records.built()
        if found is None:
            found = self.build(pin)
            self._records.add(found)
        return found

    def build(self, pin: Pinned) -> Built:
        """Raises EventFailed."""
        taking, seen = self._taking(pin), Observation()
        taken = (taking.newest() if self.request.from_snapshot else None) or taking.whole()
        counted = taken.events.observe(seen, F.count(F.lit(1)).alias("events"))
        with overridden(self._spark, *NOT_ADAPTIVE), failing.named(taken.events):
            _overwrite(self.request.projection.partials(counted, taken.base), self._build(pin))
        return Built(seen.get["events"], taken.snapshot.name if taken.snapshot else None)

    def check(self, pin: Pinned, built: Built) -> verdicts.Counts:
        """Raises ReplayRefused."""
        taken = self._taking(pin).again(built.base)
        if taken is None:
            raise ReplayRefused(self.request.into, f"snapshot {built.base}, from which it was built, is gone")
        found = verdicts.counts(self.partials(pin), taken.events, taken.base)
        wrong = verdicts.wrong(found, built.folded)
        if not found.streams and (live := self._live()) is not None and live.head(1):
            wrong = f"no event of version {pin.log_version} of the log is within the bounds"
        if wrong:
            raise ReplayRefused(self.request.into, wrong)
        if found.holed and not self.request.bounds.told():
            log.warning(
                "%d of %d streams have a version without an event in %s", found.holed, found.streams, self.request.log
            )
        return found

    def swap(self, pin: Pinned, found: verdicts.Counts) -> None:
        """One commit, or none where it is there already. Raises LeaseLost, ReplayRefused."""
        into = self.request.into
        told = {**self.request.told(), "log_id": pin.log_id, "log_version": pin.log_version}
        told |= {"replay_id": pin.replay_id, "run": pin.run}
        said = json.dumps({**told, "events": found.events, "streams": found.streams}, sort_keys=True)
        if self._lease:
            self._lease.confirm()
        swapping.swap(states(self.partials(pin)), into, self.request.bounds.streams, pin.run, said)
        log.info("%s holds the states of %d streams, by %d events", into, found.streams, found.events)

    def keep(self, pin: Pinned, built: Built, found: verdicts.Counts) -> None:
        """Writes a snapshot where there is a place for it, all is within the bounds, and it is due."""
        snapshots = self._snapshots(pin)
        if snapshots is None or self.request.every is None or self.request.bounds.told():
            return
        if self.request.forgotten:
            snapshots.drop_others()
        last = snapshots.named(built.base) if built.base else snapshots.newest(pin.log_version)
        events = found.events + (last.events if built.base and last else 0)
        if events - (last.events if last else 0) >= self.request.every:
            snapshots.write(self.partials(pin), pin.log_version, events)

    def drop(self) -> None:
        self._records.forget()

    def partials(self, pin: Pinned) -> DataFrame:
        """What was built."""
        return self._spark.read.format("delta").load(self._build(pin))

    @contextmanager
    def _dropped_when_it_fails(self) -> Iterator[None]:
        try:
            yield
        except (EventFailed, ReplayRefused):
            self.drop()
            raise

    def _live(self) -> DataFrame | None:
        """Of the live table, what a run would replace."""
        if delta_log.version(self._spark, self.request.into) < 0:
            return None
        bounds = Bounds(streams=self.request.bounds.streams)
        return selected(self._spark.read.format("delta").load(self.request.into), bounds)

    def _said(self) -> Mapping[str, Any]:
        """What the live table was last made of, as far as a replay or follower has said so."""
        return next((said for _, said in swapping.said(self._spark, self.request.into) if said), {})

    def _is_overtaken(self, pin: Pinned) -> bool:
        """Whether somebody else has brought the live table further since, as a follower does."""
        last = self._said()
        is_later = last.get("log_id") == pin.log_id and last["log_version"] > pin.log_version
        return is_later and not self._is_swapped(pin)

    def _is_swapped(self, pin: Pinned) -> bool:
        return swapping.is_swapped(self._spark, self.request.into, pin.live_version, pin.run)

    def _taking(self, pin: Pinned) -> Taking:
        return Taking(self._log(pin), self.request.bounds, self._snapshots(pin))

    def _snapshots(self, pin: Pinned) -> Snapshots | None:
        place = self.request.snapshots
        return Snapshots(self._spark, place, pin.log_id, self.request.fold) if place else None

    def _log(self, pin: Pinned) -> PinnedLog:
        return PinnedLog(self._spark, self.request.log, pin.log_version, self.request.opener)

    def _build(self, pin: Pinned) -> str:
        return f"{self.request.work}/{pin.build}"


def _overwrite(rows: DataFrame, path: str) -> None:
    rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(path)
