"""What is known of each stream, so that a batch need not ask the log: its version, and which events it has, for good.

HEADS  keys (`core.events.keyset`): a stream's is that of its id, with its version; an event's is that of its stream and its
       event id, with the version that it has. Keys are SHA-256, cut to 128 bits.

They are kept in files beside the log, in as many buckets as the config says; a stream is in one of them, by CRC-32. Each
time the log has grown, the new keys make a file a bucket, together with earlier files that are not much larger: sizes grow
fourfold from file to file, so there are as many as the logarithm of the log, and each key is written about as often. To look a
key up is a binary search in each: what a batch costs depends on its own events, and hardly on the log's size.

The log is what is true: heads are made from it, after its commit and never before, and name the version that they cover. A
crash between the two leaves them behind; they catch up before the next batch is judged. Where they are lost, damaged, cut
in other buckets, or of another table, they are made anew from the whole log.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from functools import partial

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.errors import LedgerMismatch
from jobs.core.events import head_files
from jobs.core.events.eventlog import EventLog
from jobs.core.events.head_files import Known
from jobs.core.events.pinned_log import Added
from jobs.core.files import Folder

FOLDER = "_heads"  # in the log's folder, which readers and VACUUM pass over
TIMES = 4  # by how much a file is larger than the next one, at least
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Level:
    """Files that were written together: one a bucket that has keys in them."""

    keys: int
    files: dict[str, str]


@dataclass(frozen=True)
class Manifest:
    """Which files are the heads of which version of the log."""

    job: str
    table_id: str
    version: int
    buckets: int
    levels: list[Level] = field(default_factory=list)

    @classmethod
    def parse(cls, text: str) -> Manifest:
        given = json.loads(text)
        return cls(**{**given, "levels": [Level(**level) for level in given["levels"]]})

    def names(self) -> set[str]:
        return {name for level in self.levels for name in level.files.values()}


class Heads:
    """The heads of one log, kept by the one job that writes it."""

    def __init__(self, spark: SparkSession, log: EventLog, job: str, buckets: int) -> None:
        self._spark, self._log, self._job, self._buckets = spark, log, job, buckets
        self._folder = Folder(spark, f"{log.path}/{FOLDER}")
        self._root = head_files.local(self._folder.qualified())
        self._number = -1
        self._manifest: Manifest | None = None
        self._owned()

    def known(self) -> Known:
        """Heads of the log as it is now. Raises LedgerMismatch where another job writes the log."""
        version = self._log.version()
        if self._number < 0:
            self._number, self._manifest = self._newest()
        known = self._manifest
        if known is None or known.version < version:
            self._manifest = self._caught_up(version)
        assert self._manifest is not None, "they have just been made"
        return self._told(self._manifest.levels)

    def _caught_up(self, version: int) -> Manifest:
        known = self._manifest
        log_now = self._log.at(version)
        new = log_now.since(known.version) if known else None
        if known is None or new is None:
            known = Manifest(self._job, self._log.table_id(), -1, self._buckets)
            new = Added(log_now.events(), None)
            log.info("heads of %s are made from all of it, version %d", self._log.path, version)
        rows = new.events.count() if new.rows is None else new.rows
        kept, merged = split(known.levels, 2 * rows)
        made = Manifest(known.job, known.table_id, version, known.buckets, [*kept, self._written(new.events, merged)])
        self._keep(made)
        return made

    def _written(self, new: DataFrame, merged: list[Level]) -> Level:
        """New keys, and those of earlier levels."""
        rows = keyed(new, self._buckets).select("_bucket", "_stream", "_event", "stream_version")
        each = self._spark.range(self._buckets).select(F.col("id").cast("int").alias("_bucket"))
        placed = rows.unionByName(each, allowMissingColumns=True).repartitionById(self._buckets, "_bucket")
        found = placed.mapInArrow(partial(head_files.write, older=self._told(merged)), head_files.FILES).collect()
        return Level(sum(row["keys"] for row in found), {str(row["bucket"]): row["name"] for row in found})

    def _told(self, levels: list[Level]) -> Known:
        files: dict[int, tuple[str, ...]] = {}
        for level in levels:
            for bucket, name in level.files.items():
                files[int(bucket)] = (*files.get(int(bucket), ()), name)
        return Known(self._root, self._buckets, files)

    def _keep(self, made: Manifest) -> None:
        """Names the new files, then drops what no reader has any more."""
        before = self._manifest
        self._number += 1
        try:
            self._folder.write(f"{self._number:020d}.json", json.dumps(asdict(made)))
        except FileExistsError as taken:
            cause = f"heads {self._number} were written by another instance"
            raise LedgerMismatch("-", self._folder.path, cause, "Stop one of them.") from taken
        in_use = made.names() | (before.names() if before else set())
        numbers = {f"{number:020d}.json" for number in (self._number, self._number - 1)}
        for info in self._folder.list():
            if info.name not in in_use | numbers:
                self._folder.delete(info.name)

    def _newest(self) -> tuple[int, Manifest | None]:
        """As it was left, if it can be used."""
        number, found = self._owned()
        if found is None:
            return number, None
        wrong = self._wrong(found)
        if wrong:
            log.warning("heads of %s are made anew: %s", self._log.path, wrong)
        return number, None if wrong else found

    def _owned(self) -> tuple[int, Manifest | None]:
        """The newest manifest. Raises LedgerMismatch for another job's."""
        names = [info.name for info in self._folder.list() if info.name.endswith(".json")]
        if not names:
            return -1, None
        found = Manifest.parse(self._folder.read(names[-1]))
        if found.job != self._job:
            cause = f"the log is written by job {found.job}; events of another job would get the same versions"
            raise LedgerMismatch("-", self._folder.path, cause, "Give this job a log of its own.")
        return int(names[-1].removesuffix(".json")), found

    def _wrong(self, found: Manifest) -> str | None:
        """Why it cannot be gone on with."""
        if found.table_id != self._log.table_id() or found.version > self._log.version():
            return "they are those of another table"
        if found.buckets != self._buckets:
            return f"they are in {found.buckets} buckets, and not in {self._buckets}"
        names = sorted(found.names())
        files = self._spark.createDataFrame([(name,) for name in names], "name STRING") if names else None
        faults = files.mapInArrow(partial(head_files.verify, root=self._root), "fault STRING").take(1) if files else []
        return str(faults[0]["fault"]) if faults else None


def keyed(events: DataFrame, buckets: int) -> DataFrame:
    """Rows with stream_id and event_id -> with `_bucket INT`, `_stream BINARY`, `_event BINARY`."""
    bucket = F.pmod(F.crc32(F.col("stream_id").cast("binary")), F.lit(buckets)).cast("int")
    stream = F.sha2(F.col("stream_id").cast("binary"), 256)
    return events.withColumns({"_bucket": bucket, "_stream": F.unhex(stream), "_event": F.unhex(_of_event(stream))})


def _of_event(stream: Column) -> Column:
    return F.sha2(F.concat(stream, F.col("event_id")).cast("binary"), 256)


def split(levels: list[Level], keys: int) -> tuple[list[Level], list[Level]]:
    """Those that stay, and the newest ones that are written anew together with so many more keys."""
    stay = len(levels)
    while stay and levels[stay - 1].keys < TIMES * keys:
        stay -= 1
        keys += levels[stay].keys
    return levels[:stay], levels[stay:]
