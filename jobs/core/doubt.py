"""Until where the sink may hold records that no batch of the ledger tells of, after a recovery.

A recovery notes where the source ended at that time: what was written without a record is below. Each record of the ledger
carries the note on, and a batch that starts below is in doubt, however batches are cut; so it outlives every restart, and the
ledger's last record is all that has to be known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from jobs.core.ledger import Entry

UNTIL = "in_doubt_until"  # offsets as the ledger has them
FOR_GOOD = "[null]"  # where the source has no offsets to compare


def lasting(note: Mapping[str, str], end: str) -> dict[str, str]:
    """The part of a note that still holds where a batch, or a recovery, ends: nothing once all of that is passed."""
    until = note.get(UNTIL)
    return {UNTIL: until} if until is not None and _before(end, until) else {}


def _before(end: str, until: str) -> bool:
    reached, wanted = positions(end) or {}, positions(until)
    return wanted is None or any(reached.get(place, 0) < offset for place, offset in wanted.items())


def since(last: Entry | None) -> datetime | None:
    """Before this time nothing was written without a record; None where that can't be said: at first, and after a recovery."""
    settled = last is not None and last.kind == "batch" and UNTIL not in last.note
    return datetime.fromisoformat(last.written_at) if last is not None and settled else None


def latest(*untils: str) -> str:
    """The furthest of several, a partition at a time; for good where one of them is."""
    furthest: dict[str, dict[str, int]] = {}
    for until in untils:
        known = positions(until)
        if known is None:
            return FOR_GOOD
        for (topic, partition), offset in known.items():
            partitions = furthest.setdefault(topic, {})
            partitions[partition] = max(offset, partitions.get(partition, 0))
    return json.dumps([furthest], sort_keys=True)


def positions(offsets: str) -> dict[tuple[str, str], int] | None:
    """One Kafka offset a topic and partition; None for another source."""
    (found,) = json.loads(offsets)[:1] or [None]
    if not isinstance(found, dict) or not all(isinstance(partitions, dict) for partitions in found.values()):
        return None
    return {(topic, partition): int(offset) for topic, ps in found.items() for partition, offset in ps.items()}
