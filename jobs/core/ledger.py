"""The ledger: one small record a batch beside the sink, written last, so that a sink knows what it holds.

LEDGER  seq, kind (batch, release, recovery, takeover or correction), job, query_id, batch_id, start, end (offsets as JSON),
        counts, reasons, note, written_at. The counts of a batch sum to the records it read.
A record is one JSON file, written under its final name in one step; a hundred of them are folded into one segment, so
that listing and reading stay cheap. `read` gives a DataFrame. A sink in PostgreSQL has its ledger there (`ledger_postgres`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Protocol

from pyspark.sql import DataFrame, SparkSession

from jobs.core.errors import LedgerMismatch
from jobs.core.files import Folder
from jobs.core.sinks import Mark

LEDGER = """
    seq BIGINT, kind STRING, job STRING, query_id STRING, batch_id BIGINT, start STRING, end STRING,
    counts STRUCT<read: BIGINT, written: BIGINT, filtered: BIGINT, dead_letters: BIGINT, parked: BIGINT,
                  superseded: BIGINT, duplicate: BIGINT, redriven: BIGINT, rejected_again: BIGINT, late: BIGINT,
                  joining: BIGINT, beside: BIGINT>,
    reasons MAP<STRING, BIGINT>, note MAP<STRING, STRING>, written_at STRING
"""
SEGMENT = 100
BATCH, RELEASE, RECOVERY, TAKEOVER, CORRECTION = "batch", "release", "recovery", "takeover", "correction"
CONTINUED = (BATCH, RECOVERY)  # kinds of records that a checkpoint has to continue
WRITTEN = (BATCH, RELEASE)  # kinds of records that come with rows


@dataclass(frozen=True)
class Counts:
    """Outcomes of the records of one batch, one a record.

    A record of the redrive topic stands for an earlier one: it is `redriven` where that one is no longer a dead letter,
    which takes it off `dead_letters`, else `rejected_again`. So sums over a ledger are what is so now.
    """

    read: int = 0
    written: int = 0
    filtered: int = 0
    dead_letters: int = 0  # less those that were redriven
    parked: int = 0
    superseded: int = 0  # by a newer version of the same key, in the batch or in the sink
    duplicate: int = 0  # redriven although the sink has it already, or twice in the batch
    redriven: int = 0
    rejected_again: int = 0
    late: int = 0  # beyond max_lateness, put aside
    joining: int = 0  # in the state of a join with another stream, until their time is over; less those that came out
    beside: int = 0  # of those that were read: rejected records of another stream

    @property
    def outcomes(self) -> int:
        again = self.duplicate + self.redriven + self.rejected_again
        aside = self.dead_letters + self.parked + self.late + self.joining
        return self.written + self.filtered + self.superseded + aside + again

    @property
    def letters(self) -> int:
        """Dead letters that the batch has sent."""
        return self.dead_letters + self.redriven + self.rejected_again

    def balanced(self) -> bool:
        return self.read == self.outcomes


@dataclass(frozen=True)
class Entry:
    """One record of the ledger."""

    kind: str
    job: str
    query_id: str
    batch_id: int
    start: str
    end: str
    counts: Counts
    written_at: str
    reasons: dict[str, int] = field(default_factory=dict)
    note: dict[str, str] = field(default_factory=dict)

    @property
    def mark(self) -> Mark:
        """Of the write that it records."""
        return Mark(self.job, self.query_id, self.batch_id, self.start, self.end)


NOWHERE = "[null]"  # no offsets yet
REFERENCE_VERSION = "reference_version"  # in the note of a record; of one step among several, with a dot and its name


def takeover(job: str, epoch: int, before: str, now: datetime) -> Entry:
    """Uses up the number that the instance before may still be about to write under."""
    note = {"epoch": str(epoch), "from": before}
    return Entry(TAKEOVER, job, "", -1, NOWHERE, NOWHERE, Counts(), now.isoformat(), {}, note)


Told = Callable[[Entry], None]  # hears of each record once it is written: what it counts is what the ledger holds


def untold(entry: Entry) -> None:
    """For a ledger that nobody listens to."""


def telling(*listeners: Told) -> Told:
    """One that tells several, in this order."""

    def tell(entry: Entry) -> None:
        for told in listeners:
            told(entry)

    return tell


class Books(Protocol):
    """A ledger, wherever it is kept."""

    @property
    def atomic(self) -> bool:
        """Whether a record and its rows come together, so that a sink never holds rows without one."""

    @property
    def path(self) -> str:
        """Where it is, in words."""

    @property
    def last_batch(self) -> Entry | None:
        """The newest record that a checkpoint has to continue."""

    @property
    def next(self) -> int:
        """The number of the next record."""

    def written(self) -> int:
        """The number of the newest record that came with rows, -1 where there is none; also if its writer never heard of it."""

    def append(self, entry: Entry) -> None:
        """Writes one record. Raises LedgerMismatch where another writer took its place."""

    def holds(self, query_id: str, batch_id: int) -> bool:
        """Whether a batch is written, whole."""

    def entries(self) -> list[Entry]:
        """Every record, oldest first."""


class Ledger:
    """The ledger in one folder; the last batch is held in memory, so a look-up costs nothing."""

    atomic = False

    def __init__(self, spark: SparkSession, path: str, told: Told = untold) -> None:
        self.path, self._told = path, told
        self._folder = Folder(spark, path)
        names = [info.name for info in self._folder.list()]
        self._open = [name for name in names if name.endswith(".json") and "-" not in name]
        self.next = 1 + max((_last_seq(name) for name in names), default=-1)
        self.last_batch: Entry | None = self._newest(names, CONTINUED)[1]
        self._written = self._newest(names, WRITTEN)[0]

    def written(self) -> int:
        return self._written

    def append(self, entry: Entry) -> None:
        """Writes one record. Raises LedgerMismatch where another writer took its place."""
        name = f"{self.next:020d}.json"
        try:
            self._folder.write(name, json.dumps({"seq": self.next, **asdict(entry)}))
        except FileExistsError as taken:
            raise LedgerMismatch(
                "-", self.path, f"{name} was written by another instance", "Stop one of them."
            ) from taken
        if entry.kind in WRITTEN:
            self._written = self.next
        if entry.kind in CONTINUED:
            self.last_batch = entry
        self.next += 1
        self._open.append(name)
        self._told(entry)
        if len(self._open) >= SEGMENT:
            self._fold()

    def holds(self, query_id: str, batch_id: int) -> bool:
        last = self.last_batch
        return last is not None and last.query_id == query_id and batch_id <= last.batch_id

    def entries(self) -> list[Entry]:
        names = [info.name for info in self._folder.list()]
        lines = (json.loads(line) for name in names for line in self._folder.read(name).splitlines())
        found = {record["seq"]: _entry(record) for record in lines}
        return [found[seq] for seq in sorted(found)]

    def _newest(self, names: list[str], kinds: Sequence[str]) -> tuple[int, Entry | None]:
        """The newest record of these kinds, and its number; -1 where there is none."""
        for name in sorted(names, key=_last_seq, reverse=True):
            for line in reversed(self._folder.read(name).splitlines()):
                record = json.loads(line)
                if record["kind"] in kinds:
                    return record["seq"], _entry(record)
        return -1, None

    def _fold(self) -> None:
        first, last = (int(name[:20]) for name in (self._open[0], self._open[-1]))
        lines = [self._folder.read(name) for name in self._open]
        self._folder.write(f"{first:020d}-{last:020d}.json", "\n".join(lines) + "\n")
        for name in self._open:
            self._folder.delete(name)
        self._open = []


def read(spark: SparkSession, path: str) -> DataFrame:
    """LEDGER of one sink, a row a batch, oldest first."""
    return spark.read.schema(LEDGER).json(path).dropDuplicates(["seq"]).orderBy("seq")


def _entry(record: dict[str, Any]) -> Entry:
    fields = {key: value for key, value in record.items() if key != "seq"}
    return Entry(**{**fields, "counts": Counts(**fields["counts"])})


def _last_seq(name: str) -> int:
    return int(name.removesuffix(".json")[-20:])
