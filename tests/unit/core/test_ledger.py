from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from chispa import assert_df_equality
from pyspark.sql import SparkSession

from jobs.core.errors import LedgerMismatch
from jobs.core.ledger import LEDGER, SEGMENT, Counts, Entry, Ledger, read, telling

ENTRY = Entry("batch", "join", "q1", 0, "[null]", "[1]", Counts(3, 1, 1, 1, 0), "2026-01-01T00:00:00", {"FUTURE": 1})


def ledger(spark: SparkSession, folder: Path, *entries: Entry) -> Ledger:
    made = Ledger(spark, str(folder / "ledger"))
    for entry in entries:
        made.append(entry)
    return made


def batch(number: int) -> Entry:
    return replace(ENTRY, batch_id=number, end=f"[{number + 1}]")


def test_a_record_is_read_back_whole(spark: SparkSession, tmp_path: Path) -> None:
    ledger(spark, tmp_path, ENTRY)
    row = (
        0,
        "batch",
        "join",
        "q1",
        0,
        "[null]",
        "[1]",
        (3, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0),
        {"FUTURE": 1},
        {},
        "2026-01-01T00:00:00",
    )
    assert_df_equality(
        read(spark, str(tmp_path / "ledger")), spark.createDataFrame([row], LEDGER), ignore_nullable=True
    )


def test_a_record_from_before_there_was_an_outcome_is_read(spark: SparkSession, tmp_path: Path) -> None:
    made = ledger(spark, tmp_path)
    (tmp_path / "ledger").mkdir()
    whole = {"seq": 0, **asdict(ENTRY), "counts": {"read": 3, "written": 1, "filtered": 1, "dead_letters": 1}}
    (tmp_path / "ledger" / f"{0:020d}.json").write_text(json.dumps(whole))
    assert ledger(spark, tmp_path).entries() == [ENTRY]
    assert [(row.counts.duplicate, row.counts.late) for row in read(spark, made.path).collect()] == [(None, None)]


def test_who_is_told_hears_of_what_was_written(spark: SparkSession, tmp_path: Path) -> None:
    told: list[Entry] = []
    made = Ledger(spark, str(tmp_path / "ledger"), telling(told.append, told.append))
    made.append(ENTRY)
    (tmp_path / "ledger" / f"{1:020d}.json").touch()  # another writer's
    with pytest.raises(LedgerMismatch):
        made.append(batch(1))
    assert told == [ENTRY, ENTRY]


def test_a_new_ledger_object_knows_the_last_batch(spark: SparkSession, tmp_path: Path) -> None:
    ledger(spark, tmp_path, batch(0), batch(1), replace(batch(1), kind="release"))
    again = Ledger(spark, str(tmp_path / "ledger"))
    assert again.last_batch == batch(1)
    assert again.entries() == [batch(0), batch(1), replace(batch(1), kind="release")]
    assert again.holds("q1", 1) and not again.holds("q1", 2) and not again.holds("q2", 1)


def test_a_full_segment_is_folded_and_nothing_is_read_twice(spark: SparkSession, tmp_path: Path) -> None:
    made = ledger(spark, tmp_path, *(batch(number) for number in range(SEGMENT + 2)))
    files = sorted(path.name for path in (tmp_path / "ledger").glob("*.json"))
    assert files == [f"{0:020d}-{SEGMENT - 1:020d}.json", f"{SEGMENT:020d}.json", f"{SEGMENT + 1:020d}.json"]
    assert [row.batch_id for row in read(spark, str(tmp_path / "ledger")).collect()] == list(range(SEGMENT + 2))
    assert Ledger(spark, made.path).last_batch == batch(SEGMENT + 1)
    assert Ledger(spark, made.path).entries() == [batch(number) for number in range(SEGMENT + 2)]


def test_a_fold_cut_short_before_its_deletes_counts_once(spark: SparkSession, tmp_path: Path) -> None:
    made = ledger(spark, tmp_path, *(batch(number) for number in range(SEGMENT)))
    (tmp_path / "ledger" / f"{5:020d}.json").write_text(json.dumps({"seq": 5, "kind": "batch", "batch_id": 5}))
    assert read(spark, made.path).count() == SEGMENT
    assert Ledger(spark, made.path).last_batch == batch(SEGMENT - 1)


def test_two_writers_of_one_record_are_told_apart(spark: SparkSession, tmp_path: Path) -> None:
    first, second = ledger(spark, tmp_path), ledger(spark, tmp_path)
    first.append(batch(0))
    with pytest.raises(LedgerMismatch, match="another instance"):
        second.append(batch(0))


def test_a_recovery_is_what_the_next_checkpoint_has_to_continue(spark: SparkSession, tmp_path: Path) -> None:
    recovery = replace(batch(0), kind="recovery", query_id="q2")
    made = ledger(spark, tmp_path, batch(3), recovery)
    assert made.last_batch == recovery == Ledger(spark, made.path).last_batch
    assert made.holds("q2", 0) and not made.holds("q2", 1)
