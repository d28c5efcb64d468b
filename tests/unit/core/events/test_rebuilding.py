from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from jobs.core.errors import ConfigError, DependencyMissing, EventFailed, ReplayRefused
from jobs.core.events import projection
from jobs.core.events.bounds import Bounds
from jobs.core.events.envelope import EVENT
from jobs.core.events.folds import Fold
from jobs.core.events.projection import Evolve
from jobs.core.events.rebuilding import Rebuild, Request
from jobs.core.events.skips import Skip
from jobs.core.files import Folder

AT = datetime(2026, 1, 5, 10, tzinfo=timezone.utc)
STATE = "user_id STRING, name STRING"
OUT = f"stream_id STRING, stream_version BIGINT, {STATE}"
FOLD = {"state": STATE, "events": {"user_created": "set", "user_updated": "merge", "user_deleted": "delete"}}
USERS = projection.declared(Fold.model_validate(FOLD), None, "pass")


def event(stream: str, version: int, kind: str, data: dict[str, Any], offset: int = 0) -> tuple[Any, ...]:
    event_id = f"{stream}-{version}"
    return stream, version, event_id, f"user_{kind}", 1, json.dumps(data), None, AT, AT, "users", 0, offset


LOG = (
    event("u1", 1, "created", {"user_id": "u1", "name": "Ann"}, 1),
    event("u2", 1, "created", {"user_id": "u2", "name": "Bo"}, 2),
    event("u1", 2, "updated", {"name": "Anna"}, 3),
    event("u2", 2, "deleted", {}, 4),
    event("u3", 1, "created", {"user_id": "u3", "name": "Cy"}, 5),
)
USERS_NOW = (("u1", 2, "u1", "Anna"), ("u3", 1, "u3", "Cy"))


class Place:
    """A log and a request for its replay."""

    def __init__(self, spark: SparkSession, path: Path) -> None:
        self.spark, self.path = spark, path
        self.request = Request("users", f"{path}/log", f"{path}/users", f"{path}/work", USERS)

    def log(self, *events: tuple[Any, ...]) -> None:
        self.spark.createDataFrame(list(events), EVENT).write.format("delta").mode("append").save(self.request.log)

    def rebuild(self, **changes: Any) -> Rebuild:
        return Rebuild(self.spark, replace(self.request, **changes))

    def live(self, ddl: str = OUT) -> DataFrame:
        return self.spark.read.format("delta").load(self.request.into)

    def commits(self) -> list[dict[str, Any]]:
        history = DeltaTable.forPath(self.spark, self.request.into).history().orderBy("version").collect()
        return [json.loads(row.userMetadata) for row in history]

    def left(self) -> list[str]:
        return [info.name for info in Folder(self.spark, self.request.work).list()]


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
