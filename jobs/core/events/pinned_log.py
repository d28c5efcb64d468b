"""An event log at one version: all of its events, or those that were appended since another one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from jobs.core import delta_log
from jobs.core.errors import ConfigError, DependencyMissing, Problem
from jobs.core.events import skips
from jobs.core.events.envelope import EVENT
from jobs.core.events.sealing import Opener
from jobs.core.events.skips import Skip
from jobs.core.failures import words
from jobs.core.files import Folder

Open = Callable[[DataFrame], DataFrame]  # what is sealed in events, `core.events.sealing`
log = logging.getLogger(__name__)


def newest(spark: SparkSession, path: str) -> int:
    """The version that a log has now. Raises DependencyMissing."""
    version = delta_log.version(spark, path)
    if version < 0:
        raise DependencyMissing("event log", path, "there is no Delta table")
    return version


def as_they_are(events: DataFrame) -> DataFrame:
    """For a reader that does not look at `data`."""
    return events


class Added(NamedTuple):
    """What a log got between two versions."""

    events: DataFrame
    rows: int | None  # by the statistics of its files; None where the table keeps none


class PinnedLog:
    """What a replay reads, however often it is started and whatever is appended meanwhile."""

    def __init__(self, spark: SparkSession, path: str, version: int, open_: Open | None = None) -> None:
        self._spark, self.path, self.version, self._open = spark, path, version, open_ or Opener()

    def events(self) -> DataFrame:
        """Raises ConfigError for sealed ones that cannot be opened."""
        return self._open(self._kept())

    def at(self, version: int) -> PinnedLog:
        """The same log, at another version."""
        return PinnedLog(self._spark, self.path, version, self._open)

    def is_there(self) -> bool:
        """Whether the log can still be read as it was."""
        try:
            return bool(self._kept().columns)
        except PySparkException:
            return False

    def check(self, left_out: Sequence[Skip]) -> None:
        """It has all columns of an event, and one event for each that is to be left out. Raises ConfigError."""
        events = self.events()
        lacking = [name for name in _names(EVENT) if name not in events.columns]
        if lacking:
            raise ConfigError(Problem("log.path", self.path, f"an event log: {', '.join(lacking)} lack", "conf"))
        unknown, several = skips.unfit(self._kept(), left_out) if left_out else ([], [])
        if unknown:
            have = f"{skips.named(unknown)} {'have' if unknown[1:] else 'has'} none"
            allowed = f"entries for which the log has an event: {have}"
            raise ConfigError(Problem("--skip-events", "", allowed, "command line"))
        if several:
            allowed = f"stream_id and stream_version, as more than one event has that event_id: {skips.named(several)}"
            raise ConfigError(Problem("--skip-events", "", allowed, "command line"))

    def _kept(self) -> DataFrame:
        return self._spark.read.format("delta").option("versionAsOf", self.version).load(self.path)

    def since(self, version: int) -> Added | None:
        """Events of the files that were added after a version.

        None where that cannot be said: commits are no longer there, or one of them has taken rows away. A file that only
        holds in another order what others held before (OPTIMIZE) adds nothing.
        """
        scala, table = delta_log.Scala(self._spark), delta_log.log(self._spark, self.path)
        try:
            added = self._added(table, scala.none, version) if version < self.version else []
        except (Py4JJavaError, _Rewritten) as failure:
            cause = str(failure) if isinstance(failure, _Rewritten) else words(failure)
            log.warning("what %s has since version %d cannot be told: %s", self.path, version, cause)
            return None
        snapshot = table.getSnapshotAt(self.version, scala.none, scala.none, False)
        events = DataFrame(table.createDataFrame(snapshot, scala.seq(added), False, scala.none), self._spark)
        counts = [action.numLogicalRecords() for action in added]
        is_told = all(count.isDefined() for count in counts)
        return Added(self._open(events), sum(int(count.get()) for count in counts) if is_told else None)

    def _added(self, table: Any, none: Any, after: int) -> list[Any]:
        """Files, as Delta's own actions have them. Raises Py4JJavaError where a commit is missing, and _Rewritten."""
        added: dict[str, Any] = {}
        folder = Folder(self._spark, self.path)
        for action in self._actions(table.getChanges(after + 1, self.version, none, True), after + 1):
            name = str(action.path())
            if not _is_removed(action):
                added[name] = action
            elif name in added and not folder.exists(unquote(name)):
                raise _Rewritten(f"{name} is no longer there")
        return list(added.values())

    def _actions(self, commits: Any, first: int) -> Iterator[Any]:
        """What was done to files. Raises _Rewritten."""
        expected = first
        while commits.hasNext():
            commit = commits.next()
            if int(commit._1()) != expected:
                raise _Rewritten(f"commit {expected} is no longer there")
            expected += 1
            yield from _files(commit._2(), expected - 1)
        if expected <= self.version:
            raise _Rewritten(f"commit {expected} is no longer there")


class _Rewritten(Exception):
    """The log was not only appended to."""


def _files(actions: Any, version: int) -> Iterator[Any]:
    """Files that were added with new rows, and those that another one holds now."""
    each = actions.iterator()
    while each.hasNext():
        action = each.next()
        kind = str(action.getClass().getSimpleName())
        if kind == "RemoveFile" and action.dataChange():
            raise _Rewritten(f"commit {version} has taken rows away")
        if kind == "RemoveFile" or (kind == "AddFile" and action.dataChange()):
            yield action


def _is_removed(action: Any) -> bool:
    return str(action.getClass().getSimpleName()) == "RemoveFile"


def _names(ddl: str) -> list[str]:
    known = T.StructType.fromDDL(ddl)
    assert isinstance(known, T.StructType), "columns, not a single type"
    return known.fieldNames()
