"""A replay: the states of a log's events, built beside the live table and put in its place by one commit.

    pin    one version of the log, for as long as this replay takes, over any number of starts
    build  PARTIAL of the events within the bounds, in a table of its own
    check  against the log, counted without the fold (`core.events.verdicts`)
    swap   STATE over the live table; or, with streams as bounds, over the rows of these streams alone
    drop   the build, and what was remembered

A start after a kill finds which of these are done: what is not built is built again, what is built is checked and swapped, and
what is swapped is known by the commit's `userMetadata`, so it is not swapped twice. A reader sees the old or the new states.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, field
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.observation import Observation

from jobs.core.errors import ConfigError, DependencyMissing, Problem, ReplayRefused
from jobs.core.events import failing, skips, verdicts
from jobs.core.events.bounds import Bounds, selected
from jobs.core.events.comparing import Difference, difference
from jobs.core.events.envelope import EVENT
from jobs.core.events.folding import states
from jobs.core.events.projection import Projection
from jobs.core.events.records import Built, Pinned, Records, pinned
from jobs.core.files import Folder
from jobs.core.lease import Lease
from jobs.core.session import overridden

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

    def told(self) -> dict[str, Any]:
        bounds, fold = self.bounds.told(), self.projection.fingerprint
        return {"job": self.job, "log": self.log, "into": self.into, "bounds": bounds, "fold": fold}

    def name(self, *more: int) -> str:
        """Of the request, or of its replay of one version of the log."""
        text = json.dumps([self.told(), self.dry_run, *more], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Rebuild:
    """One request, at whatever point it stands."""

    def __init__(self, spark: SparkSession, request: Request, lease: Lease | None = None) -> None:
        self._spark, self.request, self._lease = spark, request, lease
        self._records = Records(spark, request.work, request.name())

    def run(self) -> None:
        """To its end. Raises EventFailed and ReplayRefused; then nothing is swapped."""
        pin = self.pin()
        if not self._is_swapped(pin):
            built = self.built(pin)
            self.swap(pin, self.check(pin, built))
        self.drop(pin)

    def compare(self) -> Difference:
        """What a run would change. Raises EventFailed and ReplayRefused."""
        pin = self.pin()
        self.check(pin, self.built(pin))
        found = difference(states(self.partials(pin)), self._live())
        self.drop(pin)
        return found

    def pin(self) -> Pinned:
        """The unfinished replay of the same request, or a new one. Raises DependencyMissing, ConfigError."""
        found = self._records.pinned()
        if found is None:
            version = _version(self._spark, self.request.log)
            if version < 0:
                raise DependencyMissing("event log", self.request.log, "there is no Delta table")
            found = pinned(self.request.name(version), version, _version(self._spark, self.request.into))
            self._check_log(found)
            self._records.add(found)
        log.info("replay %s of version %d of %s", found.replay_id, found.log_version, self.request.log)
        return found

    def built(self, pin: Pinned) -> Built:
        """What an earlier start has built, or a new build."""
        found = self._records.built()
        if found is None:
            found = self.build(pin)
            self._records.add(found)
        return found

    def build(self, pin: Pinned) -> Built:
        """Raises EventFailed."""
        events, seen = self.events(pin), Observation()
        counted = events.observe(seen, F.count(F.lit(1)).alias("events"))
        with overridden(self._spark, *NOT_ADAPTIVE), failing.named(events):
            _overwrite(self.request.projection.partials(counted, None), self._build(pin))
        return Built(seen.get["events"])

    def check(self, pin: Pinned, built: Built) -> verdicts.Counts:
        """Raises ReplayRefused."""
        found = verdicts.counts(self.partials(pin), self.events(pin))
        wrong = verdicts.wrong(found, built.folded)
        if wrong:
            raise ReplayRefused(self.request.into, wrong)
        if not found.events and pin.live_version >= 0:
            raise ReplayRefused(
                self.request.into, f"no event of version {pin.log_version} of the log is within the bounds"
            )
        return found

    def swap(self, pin: Pinned, found: verdicts.Counts) -> None:
        """One commit, or none where it is there already. Raises LeaseLost, ReplayRefused."""
        new, into = states(self.partials(pin)), self.request.into
        told = {**self.request.told(), "log_version": pin.log_version, "replay_id": pin.replay_id, "run": pin.run}
        said = json.dumps({**told, "events": found.events, "streams": found.streams}, sort_keys=True)
        options = {"userMetadata": said, "txnAppId": pin.run, "txnVersion": "1", **self._how(new)}
        if self._lease:
            self._lease.confirm()
        new.write.format("delta").mode("overwrite").options(**options).save(into)
        log.info("%s holds the states of %d events of %d streams", into, found.events, found.streams)

    def drop(self, pin: Pinned) -> None:
        Folder(self._spark, self._build(pin)).remove()
        self._records.forget()

    def events(self, pin: Pinned) -> DataFrame:
        """Those within the bounds."""
        return selected(self._log(pin), self.request.bounds)

    def partials(self, pin: Pinned) -> DataFrame:
        """What was built."""
        return self._spark.read.format("delta").load(self._build(pin))

    def _live(self) -> DataFrame | None:
        """Of the live table, what a run would replace."""
        if _version(self._spark, self.request.into) < 0:
            return None
        bounds = Bounds(streams=self.request.bounds.streams)
        return selected(self._spark.read.format("delta").load(self.request.into), bounds)

    def _check_log(self, pin: Pinned) -> None:
        """The log has all columns of an event, and an event for each entry of the skip list. Raises ConfigError."""
        events = self._log(pin)
        lacking = [name for name in _names(EVENT) if name not in events.columns]
        if lacking:
            raise ConfigError(Problem("log.path", self.request.log, f"an event log: {', '.join(lacking)} lack", "conf"))
        left = skips.missing(events, self.request.bounds.skips) if self.request.bounds.skips else []
        if left:
            allowed = (
                f"entries for which the log has an event: {skips.named(left)} {'have' if left[1:] else 'has'} none"
            )
            raise ConfigError(Problem("--skip-events", "", allowed, "command line"))

    def _how(self, new: DataFrame) -> dict[str, str]:
        """Options of the overwrite. Raises ReplayRefused where the table is not one of states."""
        into, streams = self.request.into, self.request.bounds.streams
        if _version(self._spark, into) < 0:
            return {}
        there = self._spark.read.format("delta").load(into)
        if there.columns[:2] != new.columns[:2]:
            raise ReplayRefused(into, f"it has the columns {', '.join(there.columns)}, which no replay writes")
        is_like_it = _shape(there) == _shape(new)
        if streams and not is_like_it:
            raise ReplayRefused(
                into, "its columns are others than the fold's now, and some streams alone cannot change that"
            )
        return _only(streams) if streams else {} if is_like_it else {"overwriteSchema": "true"}

    def _is_swapped(self, pin: Pinned) -> bool:
        """Whether a commit since the pin is this replay's."""
        if _version(self._spark, self.request.into) <= pin.live_version:
            return False
        commits = (
            DeltaTable.forPath(self._spark, self.request.into).history().filter(F.col("version") > pin.live_version)
        )
        return any(_run(row.userMetadata) == pin.run for row in commits.select("userMetadata").collect())

    def _log(self, pin: Pinned) -> DataFrame:
        return self._spark.read.format("delta").option("versionAsOf", pin.log_version).load(self.request.log)

    def _build(self, pin: Pinned) -> str:
        return f"{self.request.work}/{pin.build}"


def _overwrite(rows: DataFrame, path: str) -> None:
    rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(path)


def _version(spark: SparkSession, path: str) -> int:
    """The newest of a Delta table; -1 where there is none."""
    if not DeltaTable.isDeltaTable(spark, path):
        return -1
    return int(DeltaTable.forPath(spark, path).history(1).collect()[0].version)


def _names(ddl: str) -> list[str]:
    return [part.split()[0] for part in ddl.replace("MAP<STRING, STRING>", "MAP").split(",")]


def _shape(table: DataFrame) -> list[tuple[str, str]]:
    return [(field.name, field.dataType.simpleString()) for field in table.schema]


def _only(streams: tuple[str, ...]) -> dict[str, str]:
    """SQL text: a quote and a backslash are escaped."""
    texts = ("'" + stream.replace("\\", "\\\\").replace("'", "\\'") + "'" for stream in streams)
    return {"replaceWhere": f"stream_id IN ({', '.join(texts)})"}


def _run(metadata: str | None) -> str | None:
    """Of the replay that made a commit."""
    try:
        told = json.loads(metadata or "null")
    except ValueError:
        return None
    return told.get("run") if isinstance(told, dict) else None
