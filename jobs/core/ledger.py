"""The ledger: one small record a batch beside the sink, written last, so that a sink knows what it holds.

LEDGER  seq, kind (batch or release), job, query_id, batch_id, start, end (offsets as JSON), counts, reasons, note,
        written_at. The counts of a batch sum to the records it read.
A record is one JSON file, written under its final name in one step; a hundred of them are folded into one segment, so
that listing and reading stay cheap. `read` gives a DataFrame.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from jobs.core.checkpoint import Checkpoint
from jobs.core.errors import LedgerMismatch
from jobs.core.files import Folder

LEDGER = """
    seq BIGINT, kind STRING, job STRING, query_id STRING, batch_id BIGINT, start STRING, end STRING,
    counts STRUCT<read: BIGINT, written: BIGINT, filtered: BIGINT, dead_letters: BIGINT, parked: BIGINT>,
    reasons MAP<STRING, BIGINT>, note MAP<STRING, STRING>, written_at STRING
"""
SEGMENT = 100


@dataclass(frozen=True)
class Counts:
    """Outcomes of the records of one batch."""

    read: int = 0
    written: int = 0
    filtered: int = 0
    dead_letters: int = 0
    parked: int = 0

    def balanced(self) -> bool:
        return self.read == self.written + self.filtered + self.dead_letters + self.parked


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


class Ledger:
    """The ledger in one folder; the last batch is held in memory, so a look-up costs nothing.

    `told` hears of each record once it is written: what it counts is what the ledger holds.
    """

    def __init__(self, spark: SparkSession, path: str, told: Callable[[Entry], None] = lambda entry: None) -> None:
        self.path, self._told = path, told
        self._folder = Folder(spark, path)
        names = [info.name for info in self._folder.list()]
        self._open = [name for name in names if name.endswith(".json") and "-" not in name]
        self._next = 1 + max((_last_seq(name) for name in names), default=-1)
        self.last_batch = self._newest_batch(names)

    def append(self, entry: Entry) -> None:
        """Writes one record. Raises LedgerMismatch where another writer took its place."""
        name = f"{self._next:020d}.json"
        try:
            self._folder.write(name, json.dumps({"seq": self._next, **asdict(entry)}))
        except FileExistsError as taken:
            raise LedgerMismatch(
                "-", self.path, f"{name} was written by another instance", "Stop one of them."
            ) from taken
        self._next += 1
        self._open.append(name)
        if entry.kind == "batch":
            self.last_batch = entry
        self._told(entry)
        if len(self._open) >= SEGMENT:
            self._fold()

    def holds(self, query_id: str, batch_id: int) -> bool:
        last = self.last_batch
        return last is not None and last.query_id == query_id and batch_id <= last.batch_id

    def check(self, checkpoint: Checkpoint) -> None:
        """Raises LedgerMismatch unless the checkpoint continues exactly what the ledger records."""
        cause = _mismatch(self.last_batch, checkpoint)
        if cause:
            remedy = "Restore the checkpoint that belongs to this sink, or give the job a new checkpoint and a new sink"
            raise LedgerMismatch(checkpoint.path, self.path, cause, remedy)

    def _newest_batch(self, names: list[str]) -> Entry | None:
        for name in sorted(names, key=_last_seq, reverse=True):
            for line in reversed(self._folder.read(name).splitlines()):
                entry = _entry(json.loads(line))
                if entry.kind == "batch":
                    return entry
        return None

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


def _mismatch(last: Entry | None, checkpoint: Checkpoint) -> str | None:
    query_id, planned = checkpoint.query_id(), checkpoint.planned()
    if last is None:
        return f"batch {planned[-1]} is planned but the ledger is empty" if len(planned) > 1 else None
    if query_id is None:
        return f"the checkpoint is missing or empty, the sink holds batch {last.batch_id} of query {last.query_id}"
    if query_id != last.query_id:
        return f"the checkpoint belongs to query {query_id}, the sink to query {last.query_id}"
    if not planned or planned[-1] not in (last.batch_id, last.batch_id + 1):
        newest = planned[-1] if planned else "none"
        return f"the checkpoint's newest batch is {newest}, the sink's is {last.batch_id}"
    return _offsets_differ(last, checkpoint)


def _offsets_differ(last: Entry, checkpoint: Checkpoint) -> str | None:
    if last.batch_id not in checkpoint.planned():
        return f"offsets/{last.batch_id} is missing"
    end = json.dumps(checkpoint.end(last.batch_id), sort_keys=True)
    return (
        None if end == last.end else f"batch {last.batch_id} ends at {end} in the checkpoint, at {last.end} in the sink"
    )


def _entry(record: dict[str, Any]) -> Entry:
    fields = {key: value for key, value in record.items() if key != "seq"}
    return Entry(**{**fields, "counts": Counts(**fields["counts"])})


def _last_seq(name: str) -> int:
    return int(name.removesuffix(".json")[-20:])
