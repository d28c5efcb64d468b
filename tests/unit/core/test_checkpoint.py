"""The format as Spark 4.2 writes it: `golden/checkpoint` is of a query that read four records of two partitions three times."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timezone
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.core.checkpoint import Checkpoint, begin
from jobs.core.errors import CheckpointDamaged

GOLDEN = Path(__file__).parent / "golden" / "checkpoint"
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


@pytest.fixture
def checkpoint(spark: SparkSession, tmp_path: Path) -> Checkpoint:
    shutil.copytree(GOLDEN, tmp_path / "cp")
    return Checkpoint(spark, str(tmp_path / "cp"))


def test_query_batches_and_offsets(checkpoint: Checkpoint) -> None:
    assert checkpoint.query_id() == "84bb4b3b-0892-44b1-90d2-fec337950546"
    assert (checkpoint.planned(), checkpoint.committed()) == ([0, 1, 2], [0, 1, 2])
    assert checkpoint.end(2) == [{"orders": {"0": 6, "1": 6}}]
    assert checkpoint.commit(2) == {"nextBatchWatermarkMs": 0}


def test_a_batch_has_a_watermark(checkpoint: Checkpoint) -> None:
    assert checkpoint.watermark_ms(2) == 0
    file = Path(checkpoint.path) / "offsets/2"
    (file.parent / ".2.crc").unlink(missing_ok=True)
    file.write_text(file.read_text().replace('"batchWatermarkMs":0', '"batchWatermarkMs":1767225690000'))
    assert checkpoint.watermark_ms(2) == 1767225690000


def test_batches_are_ordered_as_numbers(checkpoint: Checkpoint) -> None:
    shutil.copy(Path(checkpoint.path) / "offsets/2", Path(checkpoint.path) / "offsets/10")
    assert checkpoint.planned() == [0, 1, 2, 10]


def test_a_batch_starts_where_the_one_before_ended(checkpoint: Checkpoint) -> None:
    assert checkpoint.start(2) == [{"orders": {"0": 4, "1": 4}}]
    assert checkpoint.start(0) == [{"orders": {"0": 0, "1": 0}}]


def test_a_source_s_log_is_read_too(checkpoint: Checkpoint) -> None:
    assert checkpoint.source_files() == ["sources/0/0"]
    assert checkpoint.source_log("sources/0/0") == [{"orders": {"0": 0, "1": 0}}]


def test_of_a_long_source_log_only_the_newest_small_files_count(checkpoint: Checkpoint) -> None:
    folder = Path(checkpoint.path) / "sources/0"
    for number in range(1, 120):
        (folder / str(number)).write_text("v1\n{}")
    (folder / "120.compact").write_text("v1\n" + "x" * (1 << 20))
    found = checkpoint.source_files()
    assert (len(found), found[0], found[-1]) == (99, "sources/0/21", "sources/0/119")


def test_no_checkpoint_yet(spark: SparkSession, tmp_path: Path) -> None:
    none = Checkpoint(spark, str(tmp_path / "nothing"))
    assert (none.exists(), none.query_id(), none.planned(), none.start(0)) == (False, None, [], [None])


def test_an_unknown_format_is_refused(checkpoint: Checkpoint) -> None:
    written(checkpoint, "offsets/2", "v9\n{}\n{}")
    with pytest.raises(CheckpointDamaged, match=r"offsets/2 has an unknown format 'v9'\. Use the Spark version"):
        checkpoint.end(2)


def test_a_source_that_has_no_offset_yet(checkpoint: Checkpoint) -> None:
    written(checkpoint, "offsets/2", "v1\n{}\n-\n5")
    assert checkpoint.end(2) == [None, 5]


def test_a_new_one_that_begins_at_offsets_is_as_spark_would_have_left_it(
    spark: SparkSession, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    begin(spark, str(tmp_path / "new"), "q9", [{"orders": {"0": 3}}], NOON)
    made = Checkpoint(spark, str(tmp_path / "new"))
    assert (made.query_id(), made.planned(), made.committed(), made.seeded()) == ("q9", [0], [0], True)
    assert (made.end(0), made.start(1)) == ([{"orders": {"0": 3}}], [{"orders": {"0": 3}}])
    mine, golden = (head(Path(one.path) / "offsets/0") for one in (made, checkpoint))
    assert mine.keys() == golden.keys()
    assert mine["conf"].keys() | {"spark.sql.shuffle.partitions"} == golden["conf"].keys()
    assert None not in mine["conf"].values()
    assert not checkpoint.seeded()


def test_a_new_one_that_begins_as_the_config_says_has_an_id_alone(spark: SparkSession, tmp_path: Path) -> None:
    begin(spark, str(tmp_path / "new"), "q9", None, NOON)
    made = Checkpoint(spark, str(tmp_path / "new"))
    assert (made.query_id(), made.planned(), made.committed(), made.seeded()) == ("q9", [], [], False)
    assert Path(made.path).stat().st_mode & 0o777 == 0o700


def test_a_checkpoint_is_not_begun_over_another(spark: SparkSession, checkpoint: Checkpoint) -> None:
    with pytest.raises(FileExistsError, match="metadata"):
        begin(spark, checkpoint.path, "q9", None, NOON)


def test_what_is_set_aside_keeps_everything(spark: SparkSession, checkpoint: Checkpoint) -> None:
    aside = checkpoint.set_aside(NOON)
    assert aside == f"{checkpoint.path}.20260101T120000.000000Z"
    assert not checkpoint.exists() and Checkpoint(spark, aside).planned() == [0, 1, 2]


def test_a_commit_s_checksum_goes_with_it(checkpoint: Checkpoint) -> None:
    (Path(checkpoint.path) / "commits/2").unlink()
    checkpoint.tidy()
    assert not (Path(checkpoint.path) / "commits/.2.crc").exists()
    assert (Path(checkpoint.path) / "commits/.1.crc").exists()


def written(checkpoint: Checkpoint, name: str, text: str) -> None:
    """Replaces a file, without the checksum that would give it away."""
    file = Path(checkpoint.path) / name
    file.with_name(f".{file.name}.crc").unlink(missing_ok=True)
    file.write_text(text)


def head(file: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads(file.read_text().split("\n")[1])
    return found
