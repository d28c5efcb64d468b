"""Which version an event gets in its stream, or why it gets none.

The events of a stream are judged one after the other; `n` is the stream's version before each:

    its event id is in the stream already    dropped as a duplicate, whatever else it says
    expected_version given, and not n        VERSION_CONFLICT
    stream_version given, n or less          VERSION_CONFLICT
    stream_version given, more than n + 1    GAP; or, with `gaps: keep`, the version that it says
    else                                     version n + 1

An event that is rejected leaves no trace in its stream: sent again under its id, it is judged anew. Only streams in which an
event insists on a version are gone through row by row; there is no per-row Python for the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.core.events import keyset
from jobs.core.events.head_files import Known, digests
from jobs.core.events.keyset import Keys, Numbers, Words
from jobs.core.reasons import Reason

JUDGED_BY = ("_bucket", "_stream", "_event", "expected_version")
Gaps = Literal["reject", "keep"]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
Verdict = tuple[Reason, str]


class Sorted:
    """A batch of rows, column by column, of which each stream is in one piece: `first` are their first rows."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.buckets = batch.column("_bucket").to_numpy()
        self.streams, self.events = digests(batch.column("_stream")), digests(batch.column("_event"))
        self.expected, self.given = batch.column("expected_version"), batch.column("stream_version")
        begins = ~_repeated(self.streams)
        self.first: Rows = np.flatnonzero(begins)
        self.group: Rows = np.cumsum(begins) - 1

    def __len__(self) -> int:
        return len(self.group)

    def rows(self, group: int) -> range:
        after = self.first[group + 1] if group + 1 < len(self.first) else len(self)
        return range(int(self.first[group]), int(after))

    def insisting(self) -> Rows:
        """Groups in which an event says a version."""
        says = pc.or_(self.expected.is_valid(), self.given.is_valid()).to_numpy(zero_copy_only=False)
        return np.flatnonzero(np.logical_or.reduceat(says, self.first))

    def find(self, known: Known, keys: tuple[Words, Words], rows: Rows) -> Numbers:
        """What is known of the keys of some rows."""
        found, buckets = np.zeros(len(rows), np.int64), self.buckets[rows]
        for bucket in np.unique(buckets):
            here = buckets == bucket
            found[here] = keyset.find(known.of(int(bucket)), *(half[rows[here]] for half in keys))
        return found

    def stream(self, row: int) -> tuple[int, int]:
        high, low = self.streams
        return int(high[row]), int(low[row])


@dataclass
class Judge:
    """Goes through sorted batches; a stream may reach over any number of them.

    JUDGED_BY and `stream_version` are what it reads of a row; for JUDGED_BY it gives back `_reason` and `_detail`.
    """

    known: Known
    gaps: Gaps
    stream: tuple[int, int] | None = None  # the last one of the batch before,
    version: int = 0  # its version,
    taken: list[Keys] = field(default_factory=list)  # and its events, of those that are not in the log yet

    def judged(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows with version or reason; duplicates are left out."""
        if not len(batch):
            return _result(batch, np.zeros(0, np.int64), {})
        rows = Sorted(batch)
        heads = self._heads(rows)
        known = rows.find(self.known, rows.events, np.arange(len(rows))) > 0
        known |= keyset.find(self.taken, *rows.events) > 0
        repeated = _later(rows.events)
        versions = _in_turn(rows, heads, ~(known | repeated))
        verdicts: dict[int, Verdict] = {}
        for group in rows.insisting():
            self._one_by_one(rows, rows.rows(int(group)), int(heads[group]), known, versions, verdicts)
        self._remember(rows, versions, int(heads[-1]))
        return _result(batch, versions, verdicts)

    def _heads(self, rows: Sorted) -> Numbers:
        """The version of each stream before its first row."""
        heads = rows.find(self.known, rows.streams, rows.first)
        if rows.stream(0) == self.stream:
            heads[0] = self.version
        return heads

    def _one_by_one(
        self, rows: Sorted, group: range, version: int, known: Flags, versions: Numbers, verdicts: dict[int, Verdict]
    ) -> None:
        """Sets the versions of one stream's rows, 0 for those that are not taken, and why where they are rejected."""
        taken: set[tuple[int, int]] = set()
        high, low = rows.events
        for row in group:
            key, versions[row] = (int(high[row]), int(low[row])), 0
            if known[row] or key in taken:
                continue
            given = rows.given[row].as_py()
            verdict = verdict_on(rows.expected[row].as_py(), given, version, self.gaps)
            if verdict:
                verdicts[row] = verdict
                continue
            version = version + 1 if given is None else given
            versions[row] = version
            taken.add(key)

    def _remember(self, rows: Sorted, versions: Numbers, head: int) -> None:
        """The last stream, as it may go on in the next batch."""
        last = rows.rows(len(rows.first) - 1)
        here = slice(last.start, last.stop)
        self.version = max(head, int(versions[here].max()))
        if rows.stream(last.start) != self.stream:
            self.stream, self.taken = rows.stream(last.start), []
        took = versions[here] > 0
        high, low = (half[here][took] for half in rows.events)
        self.taken.append(Keys.of(high, low, versions[here][took]))


def verdict_on(expected: int | None, given: int | None, version: int, gaps: Gaps) -> Verdict | None:
    """Why an event cannot follow in a stream of this version; None where it can."""
    if expected is not None and expected != version:
        return Reason.VERSION_CONFLICT, f"$.expected_version: {expected}, and the stream is at {version}"
    if given is not None and given <= version:
        return Reason.VERSION_CONFLICT, f"$.stream_version: {given}, and the stream is at {version}"
    if given is not None and given > version + 1 and gaps == "reject":
        return Reason.GAP, f"$.stream_version: {given}, and the stream is at {version}"
    return None


def _in_turn(rows: Sorted, heads: Numbers, taken: Flags) -> Numbers:
    """Versions of the rows that are taken, each stream counting from its head; 0 for the others."""
    count = np.cumsum(taken)
    before: Numbers = (count - taken)[rows.first]
    return np.where(taken, (heads - before)[rows.group] + count, 0)


def _repeated(keys: tuple[Words, Words]) -> Flags:
    """Whether a row has the key of the one before it."""
    high, low = keys
    found = np.zeros(len(high), bool)
    found[1:] = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
    return found


def _later(keys: tuple[Words, Words]) -> Flags:
    """Whether any row before has the same key."""
    high, low = keys
    order = np.lexsort((low, high))  # stable: equal keys keep their order
    found = np.zeros(len(high), bool)
    found[order] = _repeated((high[order], low[order]))
    return found


def _result(batch: pa.RecordBatch, versions: Numbers, verdicts: dict[int, Verdict]) -> pa.RecordBatch:
    """Of the rows, those that have a version or a verdict."""
    columns = {name: column for name, column in zip(batch.schema.names, batch.columns) if name not in JUDGED_BY}
    columns["stream_version"] = pa.array(versions, pa.int64(), mask=versions == 0)
    columns["_reason"] = _texts(len(versions), {row: reason.value for row, (reason, _) in verdicts.items()})
    columns["_detail"] = _texts(len(versions), {row: detail for row, (_, detail) in verdicts.items()})
    kept = versions > 0
    kept[list(verdicts)] = True
    made = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return made if kept.all() else made.filter(pa.array(kept))


def _texts(count: int, given: dict[int, str]) -> pa.Array:
    if not given:
        return pa.nulls(count, pa.string())
    return pa.array((given.get(row) for row in range(count)), pa.string())
