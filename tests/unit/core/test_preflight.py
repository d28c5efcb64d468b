"""Each kind of damage to a checkpoint that Spark wrote, and what is said of it; then checkpoint against ledger."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.core.checkpoint import Checkpoint
from jobs.core.errors import CheckpointDamaged, LedgerMismatch
from jobs.core.ledger import Counts, Entry
from jobs.core.preflight import check, defects, mismatch

GOLDEN = Path(__file__).parent / "golden" / "checkpoint"
RESTORE = "Restore it from a copy, or start once with --recover from-ledger"
RUN_AGAIN = "Delete it and its .crc: the batch runs again, and what it wrote is recognised"
BATCH = Entry("batch", "join", "q1", 0, "[null]", "[1]", Counts(), "2026-01-01T00:00:00")
Damage = Callable[[Path], Any]


def deleted(*names: str) -> Damage:
    return lambda folder: [file.unlink() for name in names for file in folder.glob(name)]


def copied(name: str, other: str) -> Damage:
    return lambda folder: shutil.copy(folder / name, folder / other)


def changed(name: str, change: Callable[[bytes], bytes]) -> Damage:
    """The checksum stays, and so tells of it."""
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def written(name: str, text: bytes) -> Damage:
    """The checksum goes too, as when somebody copied the file."""

    def damage(folder: Path) -> None:
        (folder / name).with_name(f".{Path(name).name}.crc").unlink()
        (folder / name).write_bytes(text)

    return damage


def both(*damages: Damage) -> Damage:
    return lambda folder: [damage(folder) for damage in damages]


WHOLE: dict[str, Damage] = {
    "as it was": lambda folder: None,
    "newest commit deleted": deleted("commits/2"),
    "all commits deleted": deleted("commits/*"),
    "without checksums": deleted("*/.*.crc", ".metadata.crc", "sources/0/.0.crc"),
    "old batches purged": deleted("offsets/0", "commits/0"),
    "first offsets gone, once they are of no more use": deleted("sources/0/*", "sources/0/.0.crc"),
}
DAMAGES: dict[str, tuple[Damage, str, str, str]] = {
    "metadata deleted": (deleted("metadata"), "metadata", "is missing", RESTORE),
    "metadata empty": (written("metadata", b""), "metadata", "is cut short or is no JSON", RESTORE),
    "metadata without an id": (written("metadata", b"{}"), "metadata", "names no query id", RESTORE),
    "metadata changed": (
        changed("metadata", lambda text: text.replace(b"84bb", b"74bb")),
        "metadata",
        "was changed: it does not fit its checksum .metadata.crc",
        RESTORE,
    ),
    "offsets truncated": (
        changed("offsets/2", lambda text: text[:-20]),
        "offsets/2",
        "was changed: it does not fit its checksum offsets/.2.crc",
        RESTORE,
    ),
    "offsets changed": (
        changed("offsets/1", lambda text: text.replace(b'"0":4', b'"0":3')),
        "offsets/1",
        "was changed: it does not fit its checksum offsets/.1.crc",
        RESTORE,
    ),
    "offsets empty": (changed("offsets/2", lambda text: b""), "offsets/2", "is empty", RESTORE),
    "offsets truncated, no checksum": (
        written("offsets/2", b'v1\n{}\n{"orders":{"0"'),
        "offsets/2",
        "is cut short or is no JSON",
        RESTORE,
    ),
    "offsets end early": (written("offsets/2", b"v1\n{}"), "offsets/2", "ends before its offsets", RESTORE),
    "offsets no text": (written("offsets/2", b"\xff\xfe"), "offsets/2", "is no text", RESTORE),
    "offsets of another format": (
        written("offsets/2", b"v2\n{}\n{}"),
        "offsets/2",
        "has an unknown format 'v2'",
        f"Use the Spark version that wrote it. {RESTORE}",
    ),
    "newest offsets deleted": (deleted("offsets/2"), "offsets/2", "is missing, and commits/2 is there", RESTORE),
    "older offsets deleted": (deleted("offsets/1"), "offsets/1", "is missing, and commits/1 is there", RESTORE),
    "older offsets and all commits deleted": (
        deleted("offsets/1", "commits/*"),
        "offsets/1",
        "is missing, between offsets/0 and offsets/2",
        RESTORE,
    ),
    "all offsets deleted": (deleted("offsets/*"), "offsets/", "is empty, and commits/2 is there", RESTORE),
    "stray offsets": (
        copied("offsets/2", "offsets/999"),
        "offsets/999",
        "is a stray: it does not follow on offsets/2",
        "Delete it and its .crc: no batch before it was planned",
    ),
    "stray commit": (
        copied("commits/2", "commits/999"),
        "offsets/999",
        "is missing, and commits/999 is there",
        RESTORE,
    ),
    "commit empty": (changed("commits/2", lambda text: b""), "commits/2", "is empty", RUN_AGAIN),
    "commit changed": (
        changed("commits/2", lambda text: text[:-1]),
        "commits/2",
        "was changed: it does not fit its checksum commits/.2.crc",
        RUN_AGAIN,
    ),
    "commit cut short": (written("commits/2", b"v1"), "commits/2", "is cut short or is no JSON", RUN_AGAIN),
    "first offsets changed": (
        changed("sources/0/0", lambda text: text[:-2]),
        "sources/0/0",
        "was changed: it does not fit its checksum sources/0/.0.crc",
        RESTORE,
    ),
    "first offsets gone while batch 0 may run again": (
        deleted("offsets/[12]", "commits/*", "sources/0/0"),
        "sources/0/0",
        "is missing",
        RESTORE,
    ),
}


@pytest.fixture
def checkpoint(spark: SparkSession, tmp_path: Path) -> Checkpoint:
    shutil.copytree(GOLDEN, tmp_path / "cp")
    return Checkpoint(spark, str(tmp_path / "cp"))


@pytest.mark.parametrize("change", WHOLE.values(), ids=WHOLE)
def test_what_is_no_defect(checkpoint: Checkpoint, change: Damage) -> None:
    change(Path(checkpoint.path))
    assert [str(defect) for defect in defects(checkpoint)] == []


@pytest.mark.parametrize(("damage", "file", "cause", "remedy"), DAMAGES.values(), ids=DAMAGES)
def test_each_damage_names_file_cause_and_remedy(
    checkpoint: Checkpoint, damage: Damage, file: str, cause: str, remedy: str
) -> None:
    damage(Path(checkpoint.path))
    found = [(defect.file, defect.cause, defect.remedy) for defect in defects(checkpoint)]
    assert found == [(file, cause, remedy)]
    with pytest.raises(CheckpointDamaged) as refused:
        check(checkpoint, None, "ledger")
    assert refused.value.exit_code == 4


def test_all_defects_are_found(checkpoint: Checkpoint) -> None:
    both(deleted("metadata"), *(changed(f"offsets/{n}", lambda text: b"") for n in (1, 2)))(Path(checkpoint.path))
    assert [defect.file for defect in defects(checkpoint)] == ["metadata", "offsets/2", "offsets/1"]


def test_an_empty_place_has_no_defects(spark: SparkSession, tmp_path: Path) -> None:
    assert defects(Checkpoint(spark, str(tmp_path / "nothing"))) == []


def test_leftovers_of_a_purge_are_passed_over(checkpoint: Checkpoint) -> None:
    folder = Path(checkpoint.path)
    for number in range(7, 108):
        copied("offsets/2", f"offsets/{number}")(folder)
        copied("commits/2", f"commits/{number}")(folder)
    deleted("offsets/1")(folder)
    assert defects(checkpoint) == []
    checkpoint.retained = 1000
    assert [defect.file for defect in defects(checkpoint)] == ["offsets/1", "offsets/3"]


@dataclass
class FakeCheckpoint:
    """Says what a checkpoint folder would say."""

    id: str | None = "q1"
    ends: dict[int, int] = field(default_factory=dict)
    is_seeded: bool = False

    def query_id(self) -> str | None:
        return self.id

    def planned(self) -> list[int]:
        return sorted(self.ends)

    def end(self, batch_id: int) -> list[int]:
        return [self.ends[batch_id]]

    def seeded(self) -> bool:
        return self.is_seeded


def batch(number: int) -> Entry:
    return replace(BATCH, batch_id=number, end=f"[{number + 1}]")


GOES_ON = replace(batch(0), kind="recovery", query_id="q2")
ANEW = replace(BATCH, kind="recovery", query_id="q2", batch_id=-1, end="[null]")


@pytest.mark.parametrize(
    ("last", "checkpoint", "cause"),
    [
        (None, FakeCheckpoint(None), None),
        (None, FakeCheckpoint(ends={0: 1}), None),
        (None, FakeCheckpoint(ends={0: 1, 1: 2}), "batch 1 is planned but the ledger is empty"),
        (None, FakeCheckpoint(ends={0: 1, 1: 2}, is_seeded=True), None),
        (None, FakeCheckpoint(ends={0: 1, 1: 2, 2: 3}, is_seeded=True), "batch 2 is planned but the ledger is empty"),
        (batch(0), FakeCheckpoint(None), "the checkpoint is missing or empty, the sink holds batch 0 of query q1"),
        (batch(0), FakeCheckpoint("q2", {0: 1}), "the checkpoint belongs to query q2, the sink to query q1"),
        (batch(0), FakeCheckpoint(ends={0: 1}), None),
        (batch(0), FakeCheckpoint(ends={0: 1, 1: 9}), None),
        (batch(0), FakeCheckpoint(ends={0: 1, 1: 2, 2: 3}), "the checkpoint's newest batch is 2, the sink's is 0"),
        (batch(0), FakeCheckpoint(), "the checkpoint's newest batch is none, the sink's is 0"),
        (batch(1), FakeCheckpoint(ends={0: 1}), "the checkpoint's newest batch is 0, the sink's is 1"),
        (batch(0), FakeCheckpoint(ends={0: 7}), "batch 0 ends at [7] in the checkpoint, at [1] in the sink"),
        (batch(0), FakeCheckpoint(ends={1: 7}), "offsets/0 is missing"),
        (GOES_ON, FakeCheckpoint("q2", {0: 1}), None),
        (GOES_ON, FakeCheckpoint("q2", {0: 1, 1: 2}), None),
        (GOES_ON, FakeCheckpoint("q2", {0: 5}), "batch 0 ends at [5] in the checkpoint, at [1] in the sink"),
        (GOES_ON, FakeCheckpoint("q1", {0: 1}), "the checkpoint belongs to query q1, the sink to query q2"),
        (ANEW, FakeCheckpoint("q2"), None),
        (ANEW, FakeCheckpoint("q2", {0: 5}), None),
        (ANEW, FakeCheckpoint("q2", {0: 5, 1: 6}), "the checkpoint's newest batch is 1, the sink's is -1"),
        (ANEW, FakeCheckpoint(None), "the checkpoint is missing or empty, the sink holds recovery of query q2"),
    ],
)
def test_a_checkpoint_must_continue_the_ledger(last: Entry | None, checkpoint: Any, cause: str | None) -> None:
    assert mismatch(last, checkpoint) == cause


def test_a_mismatch_is_refused_with_its_remedy(checkpoint: Checkpoint) -> None:
    with pytest.raises(LedgerMismatch, match="belongs to query 84bb.*, the sink to query q1.*--recover from-ledger"):
        check(checkpoint, BATCH, "ledger")
