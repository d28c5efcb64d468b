"""The preflight of a checkpoint: what Spark would trip over, or pass over, is refused before the query starts.

Every file that Spark keeps is read once (it keeps the newest hundred batches), and the whole is compared with the ledger. A
commit that is missing is no defect: its batch runs again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jobs.core.checkpoint import RESTORE, SEEDED, Checkpoint
from jobs.core.errors import CheckpointDamaged, LedgerMismatch
from jobs.core.ledger import Entry

STRAY = "Delete it and its .crc: no batch before it was planned"
BELONGS = "Restore the checkpoint that belongs to this sink, or start once with --recover from-ledger"


def check(checkpoint: Checkpoint, last: Entry | None, ledger: str) -> None:
    """Raises CheckpointDamaged or LedgerMismatch unless the checkpoint is whole and continues what the ledger records."""
    for defect in defects(checkpoint):
        raise defect
    cause = mismatch(last, checkpoint)
    if cause:
        raise LedgerMismatch(checkpoint.path, ledger, cause, BELONGS)


def defects(checkpoint: Checkpoint) -> list[CheckpointDamaged]:
    """All that is wrong with the files, each with its remedy; none where there is no checkpoint yet."""
    planned, committed, logs = checkpoint.planned(), checkpoint.committed(), checkpoint.source_files()
    readable = [*_unreadable(checkpoint, planned, committed, logs)]
    kept = (planned[-1] if planned else 0) - checkpoint.retained  # of older ones, a purge cut short leaves some
    found = [*_metadata(bool(planned or committed or logs), checkpoint), *_continuity(planned, committed, kept)]
    return [*(CheckpointDamaged(checkpoint.path, *told) for told in found), *readable]


def mismatch(last: Entry | None, checkpoint: Checkpoint) -> str | None:
    """Why the checkpoint does not continue the ledger's last batch or recovery; None where it does."""
    query_id, planned = checkpoint.query_id(), checkpoint.planned()
    newest = planned[-1] if planned else -1
    if last is None:
        first = SEEDED + 1 if checkpoint.seeded() else 0
        return f"batch {newest} is planned but the ledger is empty" if newest > first else None
    if query_id is None:
        return f"the checkpoint is missing or empty, the sink holds {_named(last)} of query {last.query_id}"
    if query_id != last.query_id:
        return f"the checkpoint belongs to query {query_id}, the sink to query {last.query_id}"
    if newest not in (last.batch_id, last.batch_id + 1):
        return f"the checkpoint's newest batch is {newest if planned else 'none'}, the sink's is {last.batch_id}"
    return _offsets_differ(last, checkpoint)


def _named(last: Entry) -> str:
    return f"{last.kind} {last.batch_id}" if last.batch_id >= 0 else last.kind


def _offsets_differ(last: Entry, checkpoint: Checkpoint) -> str | None:
    if last.batch_id < 0:  # a recovery that reads all again has no batch yet
        return None
    if last.batch_id not in checkpoint.planned():
        return f"offsets/{last.batch_id} is missing"
    end = json.dumps(checkpoint.end(last.batch_id), sort_keys=True)
    return (
        None if end == last.end else f"batch {last.batch_id} ends at {end} in the checkpoint, at {last.end} in the sink"
    )


def _metadata(used: bool, checkpoint: Checkpoint) -> Iterator[tuple[str, str, str]]:
    try:
        if checkpoint.query_id() is None and used:
            yield "metadata", "is missing", RESTORE
    except CheckpointDamaged as defect:
        yield defect.file, defect.cause, defect.remedy


def _continuity(planned: list[int], committed: list[int], kept: int) -> Iterator[tuple[str, str, str]]:
    if committed and not planned:
        yield "offsets/", f"is empty, and commits/{committed[-1]} is there", RESTORE
        return
    for batch_id in sorted(set(committed) - set(planned)):
        if batch_id > kept:
            yield f"offsets/{batch_id}", f"is missing, and commits/{batch_id} is there", RESTORE
    for before, after in zip(planned, planned[1:]):
        if before + 1 < after and after > kept and not set(range(before + 1, after)) & set(committed):
            yield _gap(before, after, committed)


def _gap(before: int, after: int, committed: list[int]) -> tuple[str, str, str]:
    """Either the file after the gap is one too many, or those in it are missing."""
    if committed and committed[-1] < after:
        return f"offsets/{after}", f"is a stray: it does not follow on offsets/{before}", STRAY
    return f"offsets/{before + 1}", f"is missing, between offsets/{before} and offsets/{after}", RESTORE


def _unreadable(
    checkpoint: Checkpoint, planned: list[int], committed: list[int], logs: list[str]
) -> Iterator[CheckpointDamaged]:
    """Newest first, as it is the one that matters most."""
    yield from _tried(checkpoint.end, reversed(planned))
    yield from _tried(checkpoint.commit, reversed(committed))
    yield from _tried(checkpoint.source_log, reversed(logs))
    if planned == [0] and not committed and not logs and not checkpoint.seeded():
        yield from _tried(_first_offsets(checkpoint), [0])


def _tried(read: Callable[[Any], object], names: Iterable[Any]) -> Iterator[CheckpointDamaged]:
    for name in names:
        try:
            read(name)
        except CheckpointDamaged as defect:
            yield defect


def _first_offsets(checkpoint: Checkpoint) -> Callable[[int], object]:
    """Where a Kafka query's first batch started is nowhere else as long as that batch may have to run again."""

    def read(batch_id: int) -> object:
        is_kafka = all(isinstance(end, dict) and all(map(_is_map, end.values())) for end in checkpoint.end(batch_id))
        return checkpoint.source_log("sources/0/0") if is_kafka else None

    return read


def _is_map(value: object) -> bool:
    return isinstance(value, dict)
