from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from _histories import histories, rows
from _replays import FOLD as USERS_FOLD
from _replays import LOG, OUT, USERS, USERS_NOW, Place, event
from chispa import assert_df_equality
from delta.tables import DeltaTable
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from test_replays_agree import FEW, FOLD, FOLDS, append, states

from jobs.core.delta_log import DELTA
from jobs.core.errors import DependencyMissing, EventFailed, ReplayRefused
from jobs.core.events import projection
from jobs.core.events.envelope import EVENT
from jobs.core.events.folds import Fold
from jobs.core.events.following import Follower
from jobs.core.events.projection import Projection
from jobs.core.events.rebuilding import Rebuild, Request
from jobs.core.jvm import scala_object


@pytest.fixture
def place(spark: SparkSession, tmp_path: Path) -> Place:
    return Place(spark, tmp_path)


def steps(place: Place, **changes: Any) -> list[tuple[str, int]]:
    """What a follower of this request commits in one step: by which operation, up to which version of the log."""
    request = replace(place.request, **changes)
    table = DeltaTable.forPath(place.spark, request.into) if Path(request.into, "_delta_log").exists() else None
    before = table.history(1).collect()[0]["version"] if table else -1
    Follower(place.spark, request).step()
    commits = DeltaTable.forPath(place.spark, request.into).history().orderBy("version").collect()
    told = [(one["version"], one["operation"], json.loads(one["userMetadata"] or "{}")) for one in commits]
    return [(operation, said["log_version"]) for version, operation, said in told if version > before]


def test_a_table_follows_its_log(place: Place) -> None:
    place.log(*LOG[:2])
    assert steps(place) == [("WRITE", 0)]
    assert steps(place) == []
    place.log(*LOG[2:4])
    place.log(LOG[4])
    assert steps(place) == [("MERGE", 2)]
    assert_df_equality(place.live(), place.spark.createDataFrame(USERS_NOW, OUT), ignore_row_order=True)
    place.log(event("u2", 3, "updated", {"name": "Bob"}, 6), event("u3", 2, "deleted", {}, 7))
    assert steps(place) == [("MERGE", 3)]
    expected = [("u1", 2, "u1", "Anna"), ("u2", 3, None, "Bob")]
    assert_df_equality(place.live(), place.spark.createDataFrame(expected, OUT), ignore_row_order=True)


def test_what_only_orders_rows_anew_changes_nothing(place: Place) -> None:
    place.log(*LOG[:2])
    place.log(*LOG[2:])
    steps(place)
    for path in (place.request.log, place.request.into):
        place.spark.sql(f"OPTIMIZE delta.`{path}`")
    assert steps(place) == [("MERGE", 2)]
    assert steps(place) == []
    assert_df_equality(place.live(), place.spark.createDataFrame(USERS_NOW, OUT), ignore_row_order=True)


def test_a_whole_replay_comes_first_where_the_table_is_not_known_to_be_at_a_version(place: Place) -> None:
    place.log(*LOG[:2])
    steps(place)
    place.log(*LOG[2:])
    place.spark.sql(f"DELETE FROM delta.`{place.request.into}` WHERE stream_id = 'u2'")
    assert steps(place) == [("WRITE", 1)], "somebody else has written to it"
    other = replace(USERS, fingerprint="another")
    assert steps(place, projection=other) == [("WRITE", 1)]
    assert steps(place, projection=other) == []
    assert steps(place) == [("WRITE", 1)]
    assert_df_equality(place.live(), place.spark.createDataFrame(USERS_NOW, OUT), ignore_row_order=True)


def test_a_step_that_another_has_taken_changes_nothing(place: Place) -> None:
    """As of one that stood still with its step worked out, and goes on when its successor is past it."""
    place.log(*LOG[:2])
    steps(place)
    late = Follower(place.spark, place.request)
    place.log(*LOG[2:])
    stood = place.spark.read.format("delta").option("versionAsOf", 0).load(place.request.log)
    steps(place)
    late._merge(stood, 1)
    assert_df_equality(place.live(), place.spark.createDataFrame(USERS_NOW, OUT), ignore_row_order=True)
    assert steps(place) == []


def test_an_event_that_the_fold_does_not_take_ends_it_and_changes_nothing(place: Place) -> None:
    strict = projection.declared(Fold.model_validate(USERS_FOLD), None, "reject")
    place.log(*LOG)
    steps(place, projection=strict)
    place.log(event("u1", 3, "updated", {"name": "A"}, 6), event("u1", 4, "seen", {}, 7))
    with pytest.raises(EventFailed, match="stream u1, version 4"):
        steps(place, projection=strict)
    assert_df_equality(place.live(), place.spark.createDataFrame(USERS_NOW, OUT), ignore_row_order=True)


def put_back(place: Place, kept: Path) -> None:
    """The log as it was; Delta has not seen the other one, as in a process that starts."""
    shutil.rmtree(place.request.log)
    if kept.exists():
        shutil.copytree(kept, place.request.log)
    scala_object(place.spark, f"{DELTA}.DeltaLog").clearCache()


def test_a_log_that_is_made_anew_is_not_followed(place: Place) -> None:
    """Nor replayed over the states of the one before, which nothing else has any more."""
    place.log(*LOG)
    steps(place)
    put_back(place, place.path / "none")
    with pytest.raises(DependencyMissing, match="there is no Delta table"):
        steps(place)
    place.log(*LOG[:2])
    said = (
        "users stays as it is: it is of another table that was at .*/log before; move it away, or replay into another"
    )
    with pytest.raises(ReplayRefused, match=said):
        steps(place)
    with pytest.raises(ReplayRefused, match=said):
        place.rebuild().run()
    assert_df_equality(place.live(), place.spark.createDataFrame(USERS_NOW, OUT), ignore_row_order=True)
    assert place.rebuild(dry_run=True).compare().counts == {"changed": 1, "here": 1, "there": 1}
    place.rebuild(into=f"{place.path}/others").run()
    assert steps(place, into=f"{place.path}/others") == []


def test_a_log_that_has_lost_versions_is_not_followed(place: Place) -> None:
    place.log(*LOG[:2])
    shutil.copytree(place.request.log, place.path / "kept")
    place.log(*LOG[2:])
    steps(place)
    put_back(place, place.path / "kept")
    with pytest.raises(ReplayRefused, match="it is of version 1 of .*/log, which has 0 only; move it away, or replay"):
        steps(place)
    assert_df_equality(place.live(), place.spark.createDataFrame(USERS_NOW, OUT), ignore_row_order=True)


def test_a_column_more_in_the_log_is_left_where_it_is(place: Place) -> None:
    place.log(*LOG[:2])
    steps(place)
    wider = place.spark.createDataFrame(LOG[2:], EVENT).withColumn("shard", F.lit(1))
    wider.write.format("delta").mode("append").option("mergeSchema", True).save(place.request.log)
    assert steps(place) == [("MERGE", 1)]
    assert_df_equality(place.live(), place.spark.createDataFrame(USERS_NOW, OUT), ignore_row_order=True)
    assert place.rebuild(dry_run=True).compare().is_none


def test_rows_taken_out_of_a_log_are_told_of(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """The states are of what is left; a log of the append job refuses to lose any."""
    place.log(*LOG)
    steps(place)
    place.spark.sql(f"DELETE FROM delta.`{place.request.log}` WHERE event_id IN ('u1-1', 'u3-1')")
    assert steps(place) == [("WRITE", 1)]
    expected = [("u1", 2, None, "Anna")]
    assert_df_equality(place.live(), place.spark.createDataFrame(expected, OUT), ignore_row_order=True)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [
        f"what {place.request.log} has since version 0 cannot be told: commit 1 has taken rows away",
        f"1 of 2 streams have a version without an event in {place.request.log}",
    ]


def test_a_replay_that_was_cut_short_and_overtaken_begins_anew(place: Place) -> None:
    place.log(*LOG[:2])
    Rebuild(place.spark, place.request).run()
    place.log(*LOG[2:4])
    assert Rebuild(place.spark, place.request).pin().log_version == 1
    place.log(LOG[4])
    assert steps(place) == [("MERGE", 2)]
    Rebuild(place.spark, place.request).run()
    assert_df_equality(place.live(), place.spark.createDataFrame(USERS_NOW, OUT), ignore_row_order=True)


def test_asked_to_stop_it_ends_between_steps(place: Place) -> None:
    place.log(*LOG)
    follower = Follower(place.spark, place.request)
    follower.request_stop()
    follower.run(60)
    assert not Path(place.request.into).exists()


GIVEN = histories(
    [*FOLD.events, "other"],
    {"name": st.sampled_from(["", "a", "null"]), "logins": st.integers(0, 3), "tag": st.sampled_from(["x", "y"])},
)


@pytest.mark.parametrize("fold", FOLDS, ids=["declared", "python"])
@FEW
@given(history=GIVEN, cuts=st.tuples(st.integers(1, 4), st.integers(4, 8)))
def test_it_comes_to_what_a_whole_replay_gives(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, fold: Projection, history: Any, cuts: tuple[int, int]
) -> None:
    folder = tmp_path_factory.mktemp("followed")
    request = Request("j", f"{folder}/log", f"{folder}/followed", f"{folder}/work", fold)
    first, second = cuts
    for part in (rows(history, last=first), rows(history, first + 1, second), rows(history, second + 1)):
        append(spark, request.log, part)
        Follower(spark, request).step()
    Rebuild(spark, replace(request, into=f"{folder}/whole")).run()
    assert states(spark, request.into) == states(spark, f"{folder}/whole")
