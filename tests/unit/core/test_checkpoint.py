"""The format as Spark 4.2 writes it, from literal files."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.core.checkpoint import Checkpoint
from jobs.core.errors import LedgerMismatch

META = '{"batchWatermarkMs":0,"batchTimestampMs":1764000000000,"conf":{}}'


@pytest.fixture
def checkpoint(spark: SparkSession, tmp_path: Path) -> Checkpoint:
    """Batches 0 and 10 planned, 0 committed."""
    for name, text in {
        "metadata": '{"id":"q1"}',
        "sources/0/0": '\0v1\n{"orders":{"0":5}}'.replace("\0", ""),
        "offsets/0": f'v1\n{META}\n{{"orders":{{"0":7}}}}',
        "offsets/10": f'v1\n{META}\n{{"orders":{{"0":9,"1":2}}}}',
        "commits/0": 'v1\n{"nextBatchWatermarkMs":0}',
    }.items():
        file = tmp_path / "cp" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return Checkpoint(spark, str(tmp_path / "cp"))


def test_query_batches_and_offsets(checkpoint: Checkpoint) -> None:
    assert checkpoint.query_id() == "q1"
    assert (checkpoint.planned(), checkpoint.committed()) == ([0, 10], [0])
    assert checkpoint.end(10) == [{"orders": {"0": 9, "1": 2}}]


def test_a_batch_starts_where_the_one_before_ended(checkpoint: Checkpoint) -> None:
    assert checkpoint.start(10) == [{"orders": {"0": 7}}]
    assert checkpoint.start(0) == [{"orders": {"0": 5}}]


def test_no_checkpoint_yet(spark: SparkSession, tmp_path: Path) -> None:
    none = Checkpoint(spark, str(tmp_path / "nothing"))
    assert (none.query_id(), none.planned(), none.start(0)) == (None, [], [None])


def test_an_unknown_format_is_refused(checkpoint: Checkpoint) -> None:
    (Path(checkpoint.path) / "offsets" / "10").write_text("v9\n{}\n{}")
    with pytest.raises(LedgerMismatch, match="offsets/10 has an unknown format 'v9'"):
        checkpoint.end(10)
