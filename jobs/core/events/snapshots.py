"""Snapshots: PARTIAL of all events of a log up to one of its versions, so that a replay folds only what came after.

<name>       a Delta table
<name>.json  of which log, version and fold it is, and how many rows it has with which checksum; without it, it is none

A name begins with the log's version. The newest one of the fold is used; one of another fold is not, and goes away as all
others do when the next one is written. A snapshot that cannot be read, or is not what its record says, is told of, and the
replay reads the whole log.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from decimal import Decimal

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.events.records import new_run
from jobs.core.failures import words
from jobs.core.files import Folder

NAME = re.compile(r"\d{20}-[0-9a-f]{32}")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """What its record says."""

    name: str
    log: str  # the id of its table
    log_version: int
    fold: str
    events: int  # that it covers
    rows: int
    checksum: str


class Snapshots:
    """Those of one log, by the id of its table, and of one fold, in a folder of their own."""

    def __init__(self, spark: SparkSession, path: str, log: str, fold: str) -> None:
        self._spark, self._path, self._log, self._fold = spark, path, log, fold
        self._folder = Folder(spark, path)

    def newest(self, log_version: int) -> Snapshot | None:
        """The newest good one that covers no more than a version of the log."""
        for name in reversed(self._names()):
            found = self._read(name)
            if found and not self._is_own(found):
                log.info("snapshot %s is of another log or fold, and is not used", name)
            elif found and found.log_version <= log_version:
                damage = self._damage(found)
                if not damage:
                    return found
                log.warning("snapshot %s is damaged, and is not used: %s", name, damage)
        return None

    def named(self, name: str) -> Snapshot | None:
        return self._read(name) if name in self._names() else None

    def partials(self, snapshot: Snapshot) -> DataFrame:
        return self._spark.read.format("delta").load(f"{self._path}/{snapshot.name}")

    def write(self, partials: DataFrame, log_version: int, events: int) -> Snapshot:
        """A new one; all others go."""
        name = f"{log_version:020d}-{new_run()}"
        rows, checksum = summed(partials)
        partials.write.format("delta").save(f"{self._path}/{name}")
        made = Snapshot(name, self._log, log_version, self._fold, events, rows, checksum)
        self._folder.write(f"{name}.json", json.dumps(asdict(made)))
        self._keep_only({name})
        log.info("snapshot %s: %d events, %d streams", name, events, rows)
        return made

    def drop_others(self) -> None:
        """Those of another log or fold, which are not used any more, and may hold what has to go."""
        own = {name for name in self._names() if (found := self._read(name)) and self._is_own(found)}
        self._keep_only(own)

    def _is_own(self, snapshot: Snapshot) -> bool:
        return (snapshot.log, snapshot.fold) == (self._log, self._fold)

    def _read(self, name: str) -> Snapshot | None:
        try:
            return Snapshot(**json.loads(self._folder.read(f"{name}.json")))
        except (Py4JJavaError, ValueError, TypeError) as failure:
            log.warning("snapshot %s is damaged, and is not used: its record cannot be read: %s", name, words(failure))
            return None

    def _damage(self, snapshot: Snapshot) -> str | None:
        try:
            rows, checksum = summed(self.partials(snapshot))
        except (PySparkException, Py4JJavaError) as failure:
            return words(failure)
        if rows != snapshot.rows:
            return f"{rows:,} rows, {snapshot.rows:,} were written"
        return None if checksum == snapshot.checksum else f"checksum {checksum}, {snapshot.checksum} was written"

    def _names(self) -> list[str]:
        """Of those with a record, the oldest first."""
        files = (info.name.removesuffix(".json") for info in self._folder.list() if info.name.endswith(".json"))
        return [name for name in files if NAME.fullmatch(name)]

    def _keep_only(self, kept: Collection[str]) -> None:
        """Records first: what has none is no snapshot, whatever is left of it."""
        names = {info.name.removesuffix(".json") for info in self._folder.list()}
        for name in sorted(name for name in names if NAME.fullmatch(name) and name not in kept):
            self._folder.delete(f"{name}.json")
            Folder(self._spark, f"{self._path}/{name}").remove()


def summed(rows: DataFrame) -> tuple[int, str]:
    """How many rows, and a checksum that their order does not change."""
    each = F.xxhash64(F.to_json(F.struct(*rows.columns), {"ignoreNullFields": "false"})).cast("decimal(38,0)")
    count, total = rows.agg(F.count(F.lit(1)), F.sum(each)).collect()[0]
    return int(count), str(total or Decimal(0))
