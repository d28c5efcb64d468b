"""Reference tables: loaded whole, checked, swapped between batches, never older than they may be.

A version that is empty, has a key twice, lost a column or changed a type is rejected and the old one kept. While the
database is away the last good version serves until `max_staleness`, then `on_stale` decides; where it fails too often, a
breaker leaves it alone for a while. Every row of a batch sees one version, and `_reference_version` names it: `v<version>` of
a Delta table, the time of loading (UTC) by JDBC.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import and_
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from jobs.core import joining
from jobs.core.breaker import CircuitBreaker, State
from jobs.core.config import Postgres, Reference
from jobs.core.connections import Breaker
from jobs.core.errors import BreakerOpen, DependencyMissing, ReferenceStale
from jobs.core.failures import words
from jobs.core.reference_sources import DeltaReferenceSource, JdbcSource, ReferenceSource

VERSION = "_reference_version"
USUAL = Breaker()
REFERENCE = "reference"  # the breaker's name
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Version:
    """One loaded version; `rows` is cached, with VERSION as its last column."""

    name: str
    mark: Any  # what the cheap query said when it was loaded
    rows: DataFrame
    count: int
    keys: int  # distinct ones, nulls aside
    repeated: int  # keys that stand in more than one row
    torn: str | None  # what changed in the table's columns while it was read; such rows may be anything


@dataclass(frozen=True)
class Status:
    """What can be told of a reference table at one moment."""

    version: str
    age_s: float  # since it was last known to be current
    limit_s: float | None  # how old it may be
    rejected: int  # versions that were not taken, since the start
    breaker: State = "closed"  # whether it is asked for newer versions

    @property
    def stale(self) -> bool:
        return self.limit_s is not None and self.age_s > self.limit_s


class ReferenceTable:
    """The current version of one reference table, and its refresh."""

    def __init__(
        self,
        spark: SparkSession,
        reference: Reference,
        postgres: Postgres | None,
        clock: Callable[[], datetime],
        breaker: Breaker = USUAL,
    ) -> None:
        """Loads the first version. Raises DependencyMissing where there is none to be had."""
        self._settings, self._clock = reference, clock
        self._breaker = CircuitBreaker(REFERENCE, breaker, clock=lambda: clock().timestamp())
        self._source = source(spark, reference, postgres)
        self.rejected = 0
        try:
            self._current = self._load(self._source.mark())
        except (Py4JJavaError, PySparkException) as failure:
            raise DependencyMissing(
                f"reference table {self._source.name} at", self._source.address, words(failure)
            ) from None
        problem = defect(self._current, self._source.keys, None)
        if problem:
            raise DependencyMissing(f"reference table {self._source.name} at", self._source.address, problem)
        self._good_at = self._tried_at = clock()

    @property
    def keys(self) -> list[str]:
        return self._source.keys

    @property
    def version(self) -> str:
        return self._current.name

    def status(self) -> Status:
        limit = self._settings.max_staleness
        age_s = (self._clock() - self._good_at).total_seconds()
        return Status(self.version, age_s, limit.seconds_total if limit else None, self.rejected, self._breaker.state)

    def current(self) -> DataFrame:
        """REFERENCE of the current version; hinted for a broadcast unless it is too large for one."""
        return joining.hinted(self._current.rows, self._current.count, self._settings.broadcast_max_rows)

    def tick(self) -> None:
        """Refreshes when due. Raises ReferenceStale past `max_staleness` where `on_stale` is fail."""
        now = self._clock()
        if (now - self._tried_at).total_seconds() < self._settings.refresh.every.seconds_total:
            return
        self._tried_at = now
        try:
            problem = self._refresh()
        except (Py4JJavaError, PySparkException, BreakerOpen) as failure:
            problem = words(failure)
        if problem is None:
            self._good_at = now
        else:
            self._complain(now, problem)

    def _refresh(self) -> str | None:
        """Swaps in a newer version where there is one; why not, where it was rejected."""
        mark = self._breaker.call(self._source.mark)
        if mark is not None and mark == self._current.mark:
            return None
        found = self._breaker.call(lambda: self._load(mark), timed=False)
        problem = defect(found, self._source.keys, self._current.rows.schema)
        if problem:
            self.rejected += 1
            found.rows.unpersist()
            return f"version {found.name} rejected: {problem}"
        old, self._current = self._current, found
        old.rows.unpersist()
        return None

    def _load(self, mark: Any) -> Version:
        name = self._source.version(mark, self._clock())
        rows = self._source.rows(mark).withColumn(VERSION, F.lit(name)).persist()
        try:
            counts = profile(rows, self._source.keys)
            torn = _changed(rows.drop(VERSION).schema, self._source.rows(mark).schema)
            return Version(name, mark, rows, *counts, torn)
        except (Py4JJavaError, PySparkException):
            rows.unpersist()
            raise

    def _complain(self, now: datetime, problem: str) -> None:
        age = (now - self._good_at).total_seconds()
        limit = self._settings.max_staleness
        log.warning("reference %s: version %s kept, %.0f s old: %s", self._source.name, self.version, age, problem)
        if limit is not None and age > limit.seconds_total and self._settings.on_stale == "fail":
            raise ReferenceStale(self._source.name, age, limit.seconds_total, problem)


def source(spark: SparkSession, reference: Reference, postgres: Postgres | None) -> ReferenceSource:
    if reference.jdbc:
        assert postgres, "a jdbc reference comes with a database"
        return JdbcSource(spark, reference.jdbc, postgres, reference.refresh.watermark)
    assert reference.delta, "the config has exactly one reference table"
    return DeltaReferenceSource(spark, reference.delta)


def defect(version: Version, keys: list[str], known: StructType | None) -> str | None:
    """Why a version may not be used; None for a good one. `known` is the schema of the version before."""
    if version.count == 0 and not version.torn:
        return "it has no rows"
    changed = known and _changed(known, version.rows.schema)
    return version.torn or changed or _bad_keys(version, keys)


def _changed(known: StructType, found: StructType) -> str | None:
    types = {field.name: field.dataType.simpleString() for field in found}
    for field in known:
        if field.name not in types:
            return f"column {field.name} is gone"
        if types[field.name] != field.dataType.simpleString():
            return f"column {field.name} became {types[field.name]}, it was {field.dataType.simpleString()}"
    return None


def _bad_keys(version: Version, keys: list[str]) -> str | None:
    named = ", ".join(keys)
    if not version.keys:
        return f"no row has a key ({named})"
    return f"{version.repeated} keys ({named}) stand in more than one row" if version.repeated else None


def profile(rows: DataFrame, keys: list[str]) -> tuple[int, int, int]:
    """Rows, distinct keys without nulls, keys in more than one row; one pass, which also fills the cache."""
    known = reduce(and_, (F.col(key).isNotNull() for key in keys))
    asked = {
        "rows": F.coalesce(F.sum("count"), F.lit(0)),
        "keys": F.count_if(known),
        "repeated": F.count_if(known & (F.col("count") > 1)),
    }
    found = rows.groupBy(*keys).count().agg(*(column.alias(name) for name, column in asked.items())).first()
    assert found is not None, "an aggregation without groups has one row"
    return found["rows"], found["keys"], found["repeated"]
