from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from _replays import FOLD, LOG, OUT, USERS, Place, event
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.core import delta_log
from jobs.core.delta_log import DELTA
from jobs.core.events import projection
from jobs.core.events.bounds import Bounds
from jobs.core.events.folds import Fold
from jobs.core.events.pinned_log import PinnedLog
from jobs.core.events.snapshots import Snapshot, Snapshots, summed
from jobs.core.jvm import scala_object

LATER = (
    event("u1", 3, "deleted", {}, 6),
    event("u2", 3, "created", {"user_id": "u2", "name": "Bob"}, 7),
    event("u4", 1, "created", {"user_id": "u4"}, 8),
)
AFTER = (("u2", 3, "u2", "Bob"), ("u3", 1, "u3", "Cy"), ("u4", 1, "u4", None))


@pytest.fixture
def place(spark: SparkSession, tmp_path: Path) -> Place:
    """A log whose first replay has left a snapshot, and later events."""
    made = Place(spark, tmp_path)
    made.log(*LOG)
    made.rebuild(**kept(made)).run()
    made.log(*LATER)
    return made


def kept(place: Place, every: int = 3, **more: Any) -> dict[str, Any]:
    return {"snapshots": f"{place.path}/snapshots", "every": every, **more}


def snapshots(place: Place, fold: str = USERS.fingerprint) -> Snapshots:
    return Snapshots(place.spark, f"{place.path}/snapshots", delta_log.table_id(place.spark, place.request.log), fold)


def newest(place: Place) -> Snapshot:
    found = snapshots(place).newest(1 << 30)
    assert found
    return found


@pytest.fixture
def holds(place: Place, rows: Callable[..., DataFrame]) -> Callable[..., None]:
    def check(*wanted: tuple[Any, ...]) -> None:
        assert_df_equality(place.live(), rows(OUT, *wanted), ignore_row_order=True, ignore_nullable=True)

    return check


def without_the_whole_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, no replay reads it."""
    monkeypatch.setattr(PinnedLog, "events", lambda self: pytest.fail("the whole log was read"))
    monkeypatch.setattr(PinnedLog, "check", lambda *_: None)


def test_from_a_snapshot_only_new_files_are_read_and_the_table_is_the_same(
    place: Place, holds: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = newest(place)
    assert (first.log_version, first.events, first.rows) == (0, 5, 3)
    place.spark.sql(f"OPTIMIZE delta.`{place.request.log}`")  # holds all events in new files, and adds none
    without_the_whole_log(monkeypatch)
    place.rebuild(**kept(place, from_snapshot=True)).run()
    holds(*AFTER)
    second = newest(place)
    assert (second.log_version, second.events, second.rows) == (2, 8, 4)
    assert [file.name for file in (place.path / "snapshots").iterdir() if file.is_dir()] == [second.name]
    place.rebuild(**kept(place, from_snapshot=True)).run()  # nothing is new
    holds(*AFTER)


def test_one_is_written_when_it_is_due(place: Place) -> None:
    place.rebuild(**kept(place, every=4)).run()
    assert newest(place).log_version == 0
    place.rebuild(**kept(place, every=4, from_snapshot=True)).run()
    assert newest(place).log_version == 0
    place.rebuild(**kept(place, every=3)).run()
    assert (newest(place).log_version, newest(place).events) == (1, 8)


def removed(place: Place, name: str) -> None:
    shutil.rmtree(place.path / "snapshots" / name)


def lost_file(place: Place, name: str) -> None:
    for file in (place.path / "snapshots" / name).glob("*.parquet"):
        file.unlink()


def lost_row(place: Place, name: str) -> None:
    place.spark.sql(f"DELETE FROM delta.`{place.path}/snapshots/{name}` WHERE stream_id = 'u3'")


def other_row(place: Place, name: str) -> None:
    place.spark.sql(f"UPDATE delta.`{place.path}/snapshots/{name}` SET name = 'x' WHERE stream_id = 'u3'")


def half_a_record(place: Place, name: str) -> None:
    record = place.path / "snapshots" / f"{name}.json"
    record.with_name(f".{record.name}.crc").unlink()
    record.write_text(record.read_text()[:20])


@pytest.mark.parametrize("damage", [removed, lost_file, lost_row, other_row, half_a_record])
def test_a_damaged_one_is_found_told_and_made_anew(
    place: Place, damage: Callable[[Place, str], None], holds: Any, caplog: pytest.LogCaptureFixture
) -> None:
    name = newest(place).name
    damage(place, name)
    with caplog.at_level(logging.WARNING):
        place.rebuild(**kept(place, from_snapshot=True)).run()
    assert f"snapshot {name} is damaged, and is not used: " in caplog.text
    holds(*AFTER)
    assert (newest(place).log_version, newest(place).events) == (1, 8)


def test_one_of_another_fold_is_not_used(place: Place, rows: Callable[..., DataFrame]) -> None:
    other = projection.declared(Fold.model_validate({**FOLD, "state": "name STRING"}), None, "pass")
    assert snapshots(place, other.fingerprint).newest(1 << 30) is None
    place.rebuild(**kept(place, projection=other, from_snapshot=True)).run()
    wanted = rows("stream_id STRING, stream_version BIGINT, name STRING", *(row[:2] + row[3:] for row in AFTER))
    assert_df_equality(place.live(), wanted, ignore_row_order=True, ignore_nullable=True)
    assert snapshots(place).newest(1 << 30) is None


def test_one_of_an_earlier_log_at_its_path_is_not_used(place: Place, holds: Any) -> None:
    shutil.rmtree(place.request.log)
    scala_object(place.spark, f"{DELTA}.DeltaLog").clearCache()
    for part in (LOG[4:], LATER[2:]):  # two versions, of which the earlier log's snapshot would cover the first
        place.log(*part)
    place.rebuild(into=f"{place.path}/others", **kept(place, every=1, from_snapshot=True)).run()
    place.request = replace(place.request, into=f"{place.path}/others")
    holds(("u3", 1, "u3", "Cy"), ("u4", 1, "u4", None))
    assert newest(place).log_version == 1


def test_one_that_is_newer_than_the_pinned_log_is_not_used(place: Place) -> None:
    assert snapshots(place).newest(-1) is None


def test_a_log_that_was_rewritten_is_read_as_a_whole(
    place: Place, holds: Any, caplog: pytest.LogCaptureFixture
) -> None:
    place.spark.sql(f"DELETE FROM delta.`{place.request.log}` WHERE stream_id = 'u4'")
    with caplog.at_level(logging.WARNING):
        place.rebuild(**kept(place, from_snapshot=True)).run()
    assert "commit 2 has taken rows away" in caplog.text
    holds(*AFTER[:2])


def test_a_log_without_its_old_commits_is_read_as_a_whole(
    place: Place, holds: Any, caplog: pytest.LogCaptureFixture
) -> None:
    place.spark.sql(f"ALTER TABLE delta.`{place.request.log}` SET TBLPROPERTIES ('delta.checkpointInterval' = '1')")
    place.log(event("u5", 1, "created", {"user_id": "u5"}, 9))
    (place.path / "log" / "_delta_log" / f"{1:020d}.json").unlink()
    with caplog.at_level(logging.WARNING):
        place.rebuild(**kept(place, from_snapshot=True)).run()
    assert "since version 0 cannot be told" in caplog.text
    holds(*AFTER, ("u5", 1, "u5", None))


def test_some_streams_from_a_snapshot(place: Place, holds: Any) -> None:
    place.rebuild(**kept(place, from_snapshot=True, bounds=Bounds(streams=("u1", "u3")))).run()
    holds(("u3", 1, "u3", "Cy"))
    assert newest(place).log_version == 0


def test_a_build_from_a_snapshot_is_gone_on_with(place: Place, holds: Any) -> None:
    rebuild = place.rebuild(**kept(place, from_snapshot=True))
    pin = rebuild.pin()
    built = rebuild.built(pin)
    assert (built.folded, built.base) == (3, newest(place).name)
    place.log(event("u5", 1, "created", {"user_id": "u5"}, 9))
    place.rebuild(**kept(place, from_snapshot=True)).run()
    holds(*AFTER)


def test_a_checksum_is_of_rows_in_any_order(rows: Callable[..., DataFrame]) -> None:
    ddl = "a STRING, b STRING, c MAP<STRING, INT>"
    given = [("x", None, {"k": 1}), (None, "x", None)]
    assert summed(rows(ddl, *given)) == summed(rows(ddl, *reversed(given)))
    assert summed(rows(ddl, *given))[0] == 2
    assert summed(rows(ddl, given[0], (None, "y", None))) != summed(rows(ddl, *given))
    assert summed(rows(ddl, ("x", None, None))) != summed(rows(ddl, (None, "x", None)))
    assert summed(rows(ddl)) == (0, "0")
