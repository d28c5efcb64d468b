"""An event log at one version: all of its events, or those that were appended since another one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from py4j.java_collections import ListConverter
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from jobs.core.errors import ConfigError, DependencyMissing, Problem
from jobs.core.events import skips, swapping
from jobs.core.events.envelope import EVENT
from jobs.core.events.skips import Skip
from jobs.core.failures import words

log = logging.getLogger(__name__)


def newest(spark: SparkSession, path: str) -> int:
    """The version that a log has now. Raises DependencyMissing."""
    version = swapping.version(spark, path)
    if version < 0:
        raise DependencyMissing("event log", path, "there is no Delta table")
    return version


class PinnedLog:
    """What a replay reads, however often it is started and whatever is appended meanwhile."""

    def __init__(self, spark: SparkSession, path: str, version: int) -> None:
        self._spark, self.path, self.version = spark, path, version

    def events(self) -> DataFrame:
        return self._spark.read.format("delta").option("versionAsOf", self.version).load(self.path)

    def is_there(self) -> bool:
        """Whether the log can still be read as it was."""
        try:
            return bool(self.events().columns)
        except PySparkException:
            return False

    def check(self, left_out: Sequence[Skip]) -> None:
        """It has all columns of an event, and an event for each that is to be left out. Raises ConfigError."""
        events = self.events()
        lacking = [name for name in _names(EVENT) if name not in events.columns]
        if lacking:
            raise ConfigError(Problem("log.path", self.path, f"an event log: {', '.join(lacking)} lack", "conf"))
        unknown = skips.missing(events, left_out) if left_out else []
        if unknown:
            have = f"{skips.named(unknown)} {'have' if unknown[1:] else 'has'} none"
            allowed = f"entries for which the log has an event: {have}"
            raise ConfigError(Problem("--skip-events", "", allowed, "command line"))

    def since(self, version: int) -> DataFrame | None:
        """Events of the files that were added after a version.

        None where that cannot be said: commits are no longer there, or one of them has taken rows away. A file that only
        holds in another order what others held before (OPTIMIZE) adds nothing.
        """
        jvm: Any = self._spark._jvm
        delta_log = _module(jvm.org.apache.spark.sql.delta, "DeltaLog").forTable(self._spark._jsparkSession, self.path)
        none = _module(jvm.scala, "None")
        try:
            added = list(self._added(delta_log, none, version)) if version < self.version else []
        except (Py4JJavaError, _Rewritten) as failure:
            log.warning("what %s has since version %d cannot be told: %s", self.path, version, words(failure))
            return None
        client = self._spark.sparkContext._gateway._gateway_client  # type: ignore[union-attr]
        listed = jvm.scala.jdk.javaapi.CollectionConverters.asScala(ListConverter().convert(added, client)).toSeq()
        snapshot = delta_log.getSnapshotAt(self.version, none, none, False)
        return DataFrame(delta_log.createDataFrame(snapshot, listed, False, none), self._spark)

    def _added(self, delta_log: Any, none: Any, after: int) -> Iterator[Any]:
        """Files, as Delta's own actions have them. Raises Py4JJavaError where a commit is missing."""
        commits = delta_log.getChanges(after + 1, self.version, none, True)
        expected = after + 1
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
    each = actions.iterator()
    while each.hasNext():
        action = each.next()
        kind = str(action.getClass().getSimpleName())
        if kind == "RemoveFile" and action.dataChange():
            raise _Rewritten(f"commit {version} has taken rows away")
        if kind == "AddFile" and action.dataChange():
            yield action


def _names(ddl: str) -> list[str]:
    known = T.StructType.fromDDL(ddl)
    assert isinstance(known, T.StructType), "columns, not a single type"
    return known.fieldNames()


def _module(package: Any, name: str) -> Any:
    """A Scala object."""
    return getattr(getattr(package, f"{name}$"), "MODULE$")
