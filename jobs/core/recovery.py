"""A start with `--recover`: a new checkpoint, begun where the ledger stands or where the config says.

from-ledger  nothing to do where the checkpoint is whole; else the new one's first batch starts where the ledger's last ended
reprocess    all from `source.starting_offsets` again, on purpose

The old checkpoint is moved aside, never deleted. The ledger gets a record of kind `recovery` first, with the new query id, so
that a start cut short in between is refused and can be repeated. What the sink may hold without a record is in doubt until
offsets have passed where the source ends now (`core.doubt`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime
from uuid import uuid4

from pyspark.sql import SparkSession

from jobs.core import checkpoint as checkpoints
from jobs.core import continuity, doubt, kafka, lateness, preflight, sources
from jobs.core.checkpoint import SEEDED, Checkpoint
from jobs.core.config import JobConfig
from jobs.core.errors import CheckpointDamaged, LedgerMismatch
from jobs.core.ledger import NOWHERE, Books, Counts, Entry

HOW, FROM_QUERY = "how", "from_query"
log = logging.getLogger(__name__)


def ready(
    spark: SparkSession, config: JobConfig, checkpoint: Checkpoint, ledger: Books, clock: Callable[[], datetime]
) -> None:
    """Checks the checkpoint, or makes the new one that was asked for. Raises CheckpointDamaged, LedgerMismatch."""
    if config.recover == "reprocess" or (config.recover and not _whole(checkpoint, ledger)):
        recover(spark, config, checkpoint, ledger, clock())
    preflight.check(checkpoint, ledger.last_batch, ledger.path)
    checkpoint.tidy()


def recover(spark: SparkSession, config: JobConfig, checkpoint: Checkpoint, ledger: Books, now: datetime) -> None:
    """Makes the new checkpoint. Raises LedgerMismatch where the ledger has no offsets to go on from."""
    at = _ledger_stands(checkpoint, ledger) if config.recover == "from-ledger" else None
    entry = record(config, ledger.last_batch, at, source_end(spark, config), now)
    ledger.append(entry)
    if checkpoint.exists():
        log.warning("the old checkpoint is kept as %s", checkpoint.set_aside(now))
    checkpoints.begin(spark, checkpoint.path, entry.query_id, json.loads(at) if at else None, now)
    log.warning("recovered by %s: query %s starts at %s", config.recover, entry.query_id, at or "starting_offsets")


def record(config: JobConfig, last: Entry | None, at: str | None, source_ends: str, now: datetime) -> Entry:
    """The ledger's record of a recovery; it has no counts, as no record was read."""
    batch_id, place = (SEEDED, at) if at else (-1, NOWHERE)
    before = last.note.get(doubt.UNTIL) if last else None
    until = doubt.latest(*(text for text in (source_ends, before) if text))
    going_on = {**continuity.carried(last), **(lateness.lasting(last.note) if last and at else {})}
    note = {HOW: str(config.recover), FROM_QUERY: last.query_id if last else "", doubt.UNTIL: until, **going_on}
    return Entry("recovery", config.job, str(uuid4()), batch_id, place, place, Counts(), now.isoformat(), {}, note)


def source_end(spark: SparkSession, config: JobConfig) -> str:
    """Where the source ends now, as the ledger writes offsets."""
    if not config.source.kafka or not config.kafka:
        return doubt.FOR_GOOD
    spans = kafka.spans(spark, config.kafka, sources.subscribed(spark, config))
    ends = {topic: {str(p): after for p, (_, after) in partitions.items()} for topic, partitions in spans.items()}
    return json.dumps([ends], sort_keys=True)


def _whole(checkpoint: Checkpoint, ledger: Books) -> bool:
    try:
        preflight.check(checkpoint, ledger.last_batch, ledger.path)
    except (CheckpointDamaged, LedgerMismatch) as refused:
        log.warning("recovering, as %s", refused)
        return False
    log.warning("nothing to recover: the checkpoint is whole and continues the ledger")
    return True


def _ledger_stands(checkpoint: Checkpoint, ledger: Books) -> str:
    last = ledger.last_batch
    if last is None or last.end == NOWHERE:
        cause = "the ledger has no batch yet to go on from"
        raise LedgerMismatch(checkpoint.path, ledger.path, cause, "Start once with --recover reprocess")
    return last.end
