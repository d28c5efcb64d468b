from __future__ import annotations

from pathlib import Path

import pytest
from _replays import LOG, Place, event
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.core import delta_log
from jobs.core.events.bounds import Bounds
from jobs.core.events.pinned_log import PinnedLog
from jobs.core.events.snapshots import Snapshots
from jobs.core.events.taking import Taking

IDS = "event_id STRING"
ALL = tuple((one[2],) for one in LOG)
NEW = event("u1", 3, "updated", {"name": "A"}, 6)
BASE = "stream_id STRING, stream_version BIGINT, has_state BOOLEAN, user_id STRING, name STRING"
HELD = (("u1", 2, True, "u1", "Anna"), ("u2", 2, False, None, None), ("u3", 1, True, "u3", "Cy"))


@pytest.fixture
def place(spark: SparkSession, tmp_path: Path) -> Place:
    """A log, a snapshot of its first version, and an event more."""
    made = Place(spark, tmp_path)
    made.log(*LOG)
    made.rebuild(snapshots=f"{tmp_path}/snapshots", every=1).run()
    made.log(NEW)
    return made


def taking(place: Place, version: int = 1, bounds: Bounds | None = None) -> Taking:
    log_id = delta_log.table_id(place.spark, place.request.log)
    snapshots = Snapshots(place.spark, f"{place.path}/snapshots", log_id, place.request.fold)
    return Taking(PinnedLog(place.spark, place.request.log, version), bounds or Bounds(), snapshots)


def same(place: Place, found: DataFrame | None, schema: str, *wanted: tuple[object, ...]) -> None:
    """In the columns of the schema."""
    expected = place.spark.createDataFrame(list(wanted), schema)
    assert found is not None
    assert_df_equality(found.select(*expected.columns), expected, ignore_row_order=True, ignore_nullable=True)


def test_the_whole_log_or_what_came_after_a_snapshot(place: Place) -> None:
    whole, onto = taking(place).whole(), taking(place).newest()
    assert whole.base is whole.snapshot is None
    same(place, whole.events, IDS, *ALL, ("u1-3",))
    assert onto
    same(place, onto.events, IDS, ("u1-3",))
    same(place, onto.base, BASE, *HELD)


def test_bounds_are_those_of_both(place: Place) -> None:
    onto = taking(place, bounds=Bounds(streams=("u3",))).newest()
    assert onto
    same(place, onto.events, IDS)
    same(place, onto.base, BASE, HELD[2])


def test_what_a_build_has_taken_is_found_again_or_known_to_be_gone(place: Place) -> None:
    onto = taking(place).newest()
    assert onto and onto.snapshot
    again, none = taking(place).again(onto.snapshot.name), taking(place).again(None)
    assert again and none
    assert again.snapshot == onto.snapshot
    same(place, none.events, IDS, *ALL, ("u1-3",))
    assert taking(place).again("another") is None
    assert Taking(PinnedLog(place.spark, place.request.log, 1), Bounds(), None).again(onto.snapshot.name) is None


def test_without_snapshots_there_is_none_to_go_on_from(place: Place) -> None:
    assert Taking(PinnedLog(place.spark, place.request.log, 1), Bounds(), None).newest() is None
    assert taking(place, version=-1).newest() is None, "of a version that no snapshot is as old as"
