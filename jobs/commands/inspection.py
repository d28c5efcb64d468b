"""What `patterns checkpoint inspect` finds, for people and for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from pyspark.sql import SparkSession

from jobs.core import preflight
from jobs.core.checkpoint import Checkpoint, Offsets
from jobs.core.config import JobConfig
from jobs.core.continuity import Source
from jobs.core.errors import CheckpointDamaged, DependencyMissing, SourceLost
from jobs.core.ledger import Entry
from jobs.core.sinks.places import place

NOT_COMPARED = "not compared, as the checkpoint is damaged"


@dataclass(frozen=True)
class Defect:
    """One file that is not what it should be."""

    file: str
    cause: str
    remedy: str


@dataclass(frozen=True)
class Recorded:
    """The ledger's last record of a batch or a recovery."""

    kind: str
    query_id: str
    batch_id: int
    end: str


@dataclass(frozen=True)
class Inspection:
    """A checkpoint beside its ledger."""

    job: str
    checkpoint: str
    query_id: str | None
    planned: list[int]
    committed: list[int]
    offsets: list[Offsets] | None  # where the newest batch ends
    defects: list[Defect]
    ledger: Recorded | None
    mismatch: str | None
    lost: str | None  # of what the source had still to give
    source: str  # as a sentence

    @property
    def accepted(self) -> bool:
        """Whether a start would take it."""
        return not self.defects and self.mismatch is None and self.lost is None


def inspect(spark: SparkSession, config: JobConfig, checkpoint: Checkpoint) -> Inspection:
    """Reads every file of the checkpoint, and the ledger's last record, and asks the broker if it is there."""
    planned, defects = checkpoint.planned(), preflight.defects(checkpoint)
    ledger = place(spark, config)[1]
    last = ledger.last_batch
    mismatch = NOT_COMPARED if defects else preflight.mismatch(last, checkpoint)
    lost, source = (None, NOT_COMPARED) if defects else _source(config, Source(spark, config, checkpoint, ledger))
    return Inspection(
        config.job,
        checkpoint.path,
        _query_id(checkpoint),
        planned,
        checkpoint.committed(),
        _end(checkpoint, planned),
        [Defect(defect.file, defect.cause, defect.remedy) for defect in defects],
        _recorded(last),
        mismatch,
        lost,
        source,
    )


def as_json(found: Inspection) -> str:
    return json.dumps({**asdict(found), "accepted": found.accepted}, indent=2)


def as_text(found: Inspection) -> str:
    last = found.ledger
    lines = {
        "checkpoint": found.checkpoint,
        "query id": found.query_id or "-",
        "planned": _span(found.planned),
        "committed": _span(found.committed),
        "offsets": json.dumps(found.offsets),
        "ledger": f"{last.kind} {last.batch_id} of query {last.query_id}, up to {last.end}" if last else "empty",
        **{f"defect {at}": f"{it.file} {it.cause}. {it.remedy}" for at, it in enumerate(found.defects, 1)},
        "comparison": found.mismatch or "the checkpoint continues the ledger",
        "source": found.source,
    }
    return "\n".join(f"{name:<11} {text}" for name, text in lines.items())


def _source(config: JobConfig, source: Source) -> tuple[str | None, str]:
    """What is lost, if anything, and the same as a sentence."""
    if not config.source.kafka:
        return None, "not asked, as it is not Kafka"
    try:
        source.check()
    except SourceLost as lost:
        return str(lost), str(lost)
    except DependencyMissing as away:
        return None, f"not asked: {away}"
    return None, "it has what is still to be read"


def _query_id(checkpoint: Checkpoint) -> str | None:
    try:
        return checkpoint.query_id()
    except CheckpointDamaged:  # told among the defects
        return None


def _end(checkpoint: Checkpoint, planned: list[int]) -> list[Offsets] | None:
    try:
        return checkpoint.end(planned[-1]) if planned else None
    except CheckpointDamaged:  # told among the defects
        return None


def _recorded(last: Entry | None) -> Recorded | None:
    return Recorded(last.kind, last.query_id, last.batch_id, last.end) if last else None


def _span(batches: list[int]) -> str:
    return f"{batches[0]} to {batches[-1]}, {len(batches)} in all" if batches else "none"
