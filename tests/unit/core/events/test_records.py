from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.core.events.records import Built, Pinned, Records, new_run

REQUEST = "0123456789abcdef"


def test_records_are_kept_by_request(spark: SparkSession, folder: Path) -> None:
    pin, built = Pinned("id", "log", 3, -1, new_run()), Built(7, "a snapshot")
    records = Records(spark, f"{folder}/work", REQUEST)
    assert (records.pinned(), records.built()) == (None, None)
    records.add(pin)
    records.add(built)
    again = Records(spark, f"{folder}/work", REQUEST)
    assert (again.pinned(), again.built()) == (pin, built)
    assert Records(spark, f"{folder}/work", REQUEST[::-1]).pinned() is None


def test_a_record_is_written_once(spark: SparkSession, folder: Path) -> None:
    records = Records(spark, str(folder), REQUEST)
    records.add(Built(7))
    with pytest.raises(FileExistsError):
        records.add(Built(8))


def test_all_that_replays_left_goes_and_nothing_else(spark: SparkSession, folder: Path) -> None:
    pin = Pinned("id", "log", 3, -1, new_run())
    for request in (REQUEST, REQUEST[::-1]):
        Records(spark, str(folder), request).add(pin)
    (folder / pin.build / "_delta_log").mkdir(parents=True)
    for name in ("build-mine", "_lease", "users"):
        (folder / name).mkdir()
    (folder / "notes.built.json").write_text("{}")
    Records(spark, str(folder), REQUEST).forget()
    assert sorted(file.name for file in folder.iterdir()) == ["_lease", "build-mine", "notes.built.json", "users"]
