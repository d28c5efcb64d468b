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
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from jobs.core import joining
from jobs.core.breaker import CircuitBreaker, State
from jobs.core.config import Loaded, Postgres
from jobs.core.connections import Breaker
from jobs.core.errors import BreakerOpen, DependencyMissing, ReferenceStale
from jobs.core.failures import words
from jobs.core.reference_rows import OneRowAKey, Shape
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
    wrong: str | None  # why its rows may not be used
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
        reference: Loaded,
        postgres: Postgres | None,
        clock: Callable[[], datetime],
        breaker: Breaker = USUAL,
        shape: Shape | None = None,
    ) -> None:
        """Loads the first version; a row a key, unless `shape` says otherwise. Raises DependencyMissing where there is none."""
        self._settings, self._clock = reference, clock
        self._breaker = CircuitBreaker(REFERENCE, breaker, clock=lambda: clock().timestamp())
        self._source = source(spark, reference, postgres)
        self._shape = shape or OneRowAKey(self._source.keys, reference.columns)
        self.rejected = 0
        self._refused: tuple[Any, str] = (None, "")  # what was not taken last: its mark, and why
        try:
            self._current = self._load(self._source.mark())
        except (Py4JJavaError, PySparkException) as failure:
            raise DependencyMissing(
                f"reference table {self._source.name} at", self._source.address, words(failure)
            ) from None
        problem = defect(self._current, None)
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

    @property
    def count(self) -> int:
        """Rows of the current version."""
        return self._current.count

    def current(self, broadcast_max_rows: int | None = None) -> DataFrame:
        """REFERENCE of the current version; hinted for a broadcast up to so many rows, and for a shuffle above."""
        rows = self._current.rows
        return rows if broadcast_max_rows is None else joining.hinted(rows, self.count, broadcast_max_rows)

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
        try:
            found = self._breaker.call(lambda: self._load(mark), timed=False)
        except AnalysisException as failure:
            if not _lacks_a_column(failure):
                raise
            return self._not_taken(mark, self._source.version(mark, self._clock()), words(failure))
        problem = defect(found, self._current.rows.schema)
        if problem:
            found.rows.unpersist()
            return self._not_taken(mark, found.name, problem)
        old, self._current, self._refused = self._current, found, (None, "")
        old.rows.unpersist()
        return None

    def _not_taken(self, mark: Any, name: str, problem: str) -> str:
        """It is read again when it is due, as it may be mended without a new mark, but counts once."""
        self.rejected += (mark, problem) != self._refused
        self._refused = (mark, problem)
        return f"version {name} rejected: {problem}"

    def _load(self, mark: Any) -> Version:
        name = self._source.version(mark, self._clock())
        rows = self._rows(mark).withColumn(VERSION, F.lit(name)).persist()
        try:
            profile = self._shape.profile(rows)
            torn = _changed(rows.drop(VERSION).schema, self._rows(mark).schema)
            return Version(name, mark, rows, *profile, torn)
        except (Py4JJavaError, PySparkException):
            rows.unpersist()
            raise

    def _rows(self, mark: Any) -> DataFrame:
        return self._shape.made(self._source.rows(mark))

    def _complain(self, now: datetime, problem: str) -> None:
        age = (now - self._good_at).total_seconds()
        limit = self._settings.max_staleness
        log.warning("reference %s: version %s kept, %.0f s old: %s", self._source.name, self.version, age, problem)
        if limit is not None and age > limit.seconds_total and self._settings.on_stale == "fail":
            raise ReferenceStale(self._source.name, age, limit.seconds_total, problem)


def source(spark: SparkSession, reference: Loaded, postgres: Postgres | None) -> ReferenceSource:
    if reference.jdbc:
        assert postgres, "a jdbc reference comes with a database"
        return JdbcSource(spark, reference.jdbc, postgres, reference.refresh.watermark)
    assert reference.delta, "the config has exactly one reference table"
    return DeltaReferenceSource(spark, reference.delta)


def defect(version: Version, known: StructType | None) -> str | None:
    """Why a version may not be used; None for a good one. `known` is the schema of the version before."""
    if version.count == 0 and not version.torn:
        return "it has no rows"
    return version.torn or (known and _changed(known, version.rows.schema)) or version.wrong


def _lacks_a_column(failure: AnalysisException) -> bool:
    """Whether one that the config names is not there."""
    return str(failure.getCondition()).startswith("UNRESOLVED_COLUMN")


def _changed(known: StructType, found: StructType) -> str | None:
    types = {field.name: field.dataType.simpleString() for field in found}
    for field in known:
        if field.name not in types:
            return f"column {field.name} is gone"
        if types[field.name] != field.dataType.simpleString():
            return f"column {field.name} became {types[field.name]}, it was {field.dataType.simpleString()}"
    return None
