from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from _replays import FOLD, LOG, OUT, STATE, USERS, USERS_NOW, Place, event
from chispa import assert_df_equality
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from jobs.core.errors import ConfigError, DependencyMissing, EventFailed, ReplayRefused
from jobs.core.events import projection
from jobs.core.events.bounds import Bounds
from jobs.core.events.folds import Fold
from jobs.core.events.projection import Evolve
from jobs.core.events.skips import Skip


@pytest.fixture
def place(spark: SparkSession, tmp_path: Path) -> Place:
    made = Place(spark, tmp_path)
    made.log(*LOG)
    return made


@pytest.fixture
def holds(place: Place, rows: Callable[..., DataFrame]) -> Callable[..., None]:
    """The live table has exactly these rows."""

    def check(*wanted: tuple[Any, ...], ddl: str = OUT) -> None:
        assert_df_equality(place.live(), rows(ddl, *wanted), ignore_row_order=True, ignore_nullable=True)

    return check


def test_a_log_comes_to_states_in_one_commit_that_says_of_what(place: Place, holds: Any) -> None:
    place.rebuild().run()
    holds(*USERS_NOW)
    (said,) = place.commits()
    assert {name: said[name] for name in ("job", "log", "log_version", "bounds", "fold", "events", "streams")} == {
        "job": "users",
        "log": place.request.log,
        "log_version": 0,
        "bounds": {},
        "fold": USERS.fingerprint,
        "events": 5,
        "streams": 3,
    }
    assert said["replay_id"] == place.request.name(0)
    assert place.left() == []


def test_a_replay_reads_one_version_of_the_log_and_the_next_one_what_was_added(place: Place, holds: Any) -> None:
    rebuild = place.rebuild()
    rebuild.pin()
    place.log(event("u4", 1, "created", {"user_id": "u4"}))
    rebuild.run()
    holds(*USERS_NOW)
    place.rebuild().run()
    holds(*USERS_NOW, ("u4", 1, "u4", None))
    assert [said["log_version"] for said in place.commits()] == [0, 1]


def test_a_start_after_a_kill_goes_on_at_each_point(place: Place, holds: Any) -> None:
    """Pinned, built, swapped, dropped: each start finds what the one before it has done, and one commit is made."""
    pin = place.rebuild().pin()
    built = place.rebuild().built(pin)
    place.log(event("u4", 1, "created", {"user_id": "u4"}))
    again = place.rebuild()
    again.build = lambda *_: pytest.fail("built again")  # type: ignore[method-assign]
    assert (again.pin(), again.built(pin)) == (pin, built)
    again.swap(pin, again.check(pin, built))
    last = place.rebuild()
    last.swap = lambda *_: pytest.fail("swapped again")  # type: ignore[method-assign]
    last.run()
    holds(*USERS_NOW)
    assert [said["run"] for said in place.commits()] == [pin.run]
    assert place.left() == []


def test_a_build_that_was_cut_short_is_built_again(place: Place, holds: Any) -> None:
    rebuild = place.rebuild()
    pin = rebuild.pin()
    rebuild.build(pin)  # and no record of it: as after a kill before its end
    place.rebuild().run()
    holds(*USERS_NOW)
    assert [said["run"] for said in place.commits()] == [pin.run]


def test_a_version_of_the_log_that_is_gone_is_replaced_by_the_newest(place: Place, holds: Any) -> None:
    place.rebuild().pin()
    place.spark.sql(f"ALTER TABLE delta.`{place.request.log}` SET TBLPROPERTIES ('delta.checkpointInterval' = '1')")
    place.log(event("u4", 1, "created", {"user_id": "u4"}))
    (place.path / "log" / "_delta_log" / f"{0:020d}.json").unlink()
    place.rebuild().run()
    holds(*USERS_NOW, ("u4", 1, "u4", None))
    assert [said["log_version"] for said in place.commits()] == [2]


def test_delta_itself_refuses_to_swap_twice(place: Place, holds: Any) -> None:
    rebuild = place.rebuild()
    pin = rebuild.pin()
    found = rebuild.check(pin, rebuild.built(pin))
    rebuild.swap(pin, found)
    rebuild.swap(pin, found)
    assert len(place.commits()) == 1


def test_the_same_asked_again_is_another_run(place: Place, holds: Any) -> None:
    place.rebuild().run()
    place.spark.sql(f"DELETE FROM delta.`{place.request.into}`")
    place.rebuild().run()
    holds(*USERS_NOW)


def test_bounds_are_another_replay_and_are_told(place: Place, holds: Any) -> None:
    skip = Skip(stream_id="u2", stream_version=2, reason="not asked for")
    place.rebuild(bounds=Bounds(until_version=2, skips=(skip,))).run()
    holds(("u1", 2, "u1", "Anna"), ("u2", 1, "u2", "Bo"), ("u3", 1, "u3", "Cy"))
    told = {"stream_id": "u2", "stream_version": 2, "reason": "not asked for"}
    assert place.commits()[0]["bounds"] == {"until_version": 2, "skips": [told]}


def test_some_streams_are_replaced_and_the_others_stay(place: Place, holds: Any) -> None:
    place.rebuild().run()
    place.spark.sql(f"UPDATE delta.`{place.request.into}` SET name = 'wrong'")
    place.rebuild(bounds=Bounds(streams=("u'1", "u1"))).run()
    holds(("u1", 2, "u1", "Anna"), ("u3", 1, "u3", "wrong"))


def test_another_fold_gives_the_table_its_columns_but_not_for_some_streams(place: Place, holds: Any) -> None:
    place.rebuild().run()
    names = projection.declared(Fold.model_validate({**FOLD, "state": "name STRING"}), None, "pass")
    with pytest.raises(ReplayRefused, match="its columns are others than the fold's now"):
        place.rebuild(projection=names, bounds=Bounds(streams=("u1",))).run()
    place.rebuild(projection=names).run()
    ddl = "stream_id STRING, stream_version BIGINT, name STRING"
    holds(("u1", 2, "Anna"), ("u3", 1, "Cy"), ddl=ddl)


@pytest.mark.parametrize(
    ("unfit", "said"),
    [
        (
            event("u1", 3, "updated", [{"name": "x"}, 1]),
            "stream u1, version 3, event u1-3: data of user_updated do not fit",
        ),
        (event("u1", 3, "renamed", {}), "stream u1, version 3, event u1-3: UNKNOWN_TYPE: event type user_renamed"),
    ],
)
def test_an_event_that_does_not_fit_is_named_and_changes_nothing(place: Place, unfit: Any, said: str) -> None:
    place.log(unfit)
    strict = projection.declared(Fold.model_validate(FOLD), None, "reject")
    with pytest.raises(EventFailed, match=said) as failed:
        place.rebuild(projection=strict).run()
    assert (failed.value.stream_id, failed.value.stream_version, failed.value.event) == ("u1", 3, "u1-3")
    assert not DeltaTable.isDeltaTable(place.spark, place.request.into)
    assert place.left() == []


def test_an_event_that_evolve_does_not_know_is_named(place: Place) -> None:
    place.log(event("u1", 3, "renamed", {}))
    evolved = projection.evolved(Evolve(module="jobs.domain.users", state=STATE))
    with pytest.raises(EventFailed, match="stream u1, version 3, event u1-3: user_renamed: UnknownEvent: users has no"):
        place.rebuild(projection=evolved, bounds=Bounds(streams=("u1",))).run()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DELETE FROM {build} WHERE stream_id = 'u3'", "2 rows are built, 3 streams have events"),
        ("UPDATE {build} SET stream_version = 1", "3 of 3 streams end at another version .* u1: 2 in the log, 1 built"),
        ("INSERT INTO {build} SELECT 'u9', 1, true, 'u9', 'x'", "4 rows are built, 3 .* stream u9: none in the log"),
    ],
)
def test_a_build_that_is_not_the_log_s_is_not_swapped(place: Place, damage: str, said: str, holds: Any) -> None:
    place.rebuild().run()
    place.log(event("u3", 2, "deleted", {}))
    rebuild = place.rebuild()
    pin = rebuild.pin()
    rebuild.built(pin)
    place.spark.sql(damage.format(build=f"delta.`{place.request.work}/{pin.build}`"))
    with pytest.raises(ReplayRefused, match=said):
        place.rebuild().run()
    holds(*USERS_NOW)


def test_an_event_that_is_there_twice_is_found(place: Place) -> None:
    place.log(LOG[0])
    with pytest.raises(ReplayRefused, match="1 of 3 streams have more events than versions"):
        place.rebuild(bounds=Bounds(until_version=1)).run()


def test_a_log_without_events_is_a_table_without_rows_as_often_as_one_asks(place: Place, holds: Any) -> None:
    place.spark.sql(f"DELETE FROM delta.`{place.request.log}`")
    place.rebuild().run()
    place.rebuild().run()
    holds()


def test_no_event_at_all_does_not_empty_a_table(place: Place, holds: Any) -> None:
    nobody = Bounds(until_time=datetime(1990, 1, 1, tzinfo=timezone.utc))
    place.rebuild().run()
    with pytest.raises(ReplayRefused, match="no event of version 0 of the log is within the bounds"):
        place.rebuild(bounds=nobody).run()
    holds(*USERS_NOW)


def test_a_table_that_no_replay_made_is_not_written_over(place: Place) -> None:
    place.spark.range(1).write.format("delta").save(place.request.into)
    with pytest.raises(ReplayRefused, match="it has the columns id, which no replay writes"):
        place.rebuild().run()


def test_a_skip_list_with_an_entry_for_nothing_is_refused(place: Place) -> None:
    given = [Skip(event_id=name, reason="r") for name in ("u1-1", "u7-1")]
    wrong = Skip(stream_id="u1", stream_version=9, reason="r")
    with pytest.raises(ConfigError, match="has an event: u7-1; stream u1, version 9 have none"):
        place.rebuild(bounds=Bounds(skips=(*given, wrong))).run()
    assert place.left() == []


def test_what_is_no_event_log_is_refused(place: Place, tmp_path: Path) -> None:
    with pytest.raises(DependencyMissing, match="there is no Delta table"):
        place.rebuild(log=f"{tmp_path}/none").run()
    place.spark.range(1).write.format("delta").save(f"{tmp_path}/other")
    with pytest.raises(ConfigError, match="an event log: stream_id, stream_version, .*, _offset lack"):
        place.rebuild(log=f"{tmp_path}/other").run()


def test_a_dry_run_says_what_would_change_and_changes_nothing(place: Place) -> None:
    dry = place.rebuild(dry_run=True)
    assert dry.compare().counts == {"here": 2}
    assert not DeltaTable.isDeltaTable(place.spark, place.request.into)
    place.rebuild().run()
    assert place.rebuild(dry_run=True).compare().is_none
    place.spark.sql(f"UPDATE delta.`{place.request.into}` SET name = 'wrong'")
    assert place.rebuild(dry_run=True, bounds=Bounds(streams=("u1",))).compare().counts == {"changed": 1}
    assert place.left() == []
