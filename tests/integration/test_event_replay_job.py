"""The replay as a process of its own: exit codes, and kill -9 at its points, after which a start goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from _faults import points
from _faults.driver import Driver
from chispa import assert_df_equality
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from jobs.core.events.envelope import EVENT

AT = datetime(2026, 1, 5, 10, tzinfo=timezone.utc)
STATES = "stream_id STRING, stream_version BIGINT, name STRING"
OLD = (("u1", 1, "Ann"), ("u2", 1, "Bo"))
NEW = (("u1", 2, "Anna"), ("u2", 1, "Bo"))


def event(stream: str, version: int, kind: str, name: Any) -> tuple[Any, ...]:
    data = json.dumps({"name": name})
    return stream, version, f"{stream}-{version}", f"user_{kind}", 1, data, None, AT, AT, None, None, None


class Replay:
    """A log, its config, and starts of the job."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder = spark, folder
        places = {name: {"path": f"{folder}/{name}"} for name in ("log", "into", "work")}
        rules = {"user_created": "set", "user_updated": "merge"}
        kept = {"path": f"{folder}/snapshots", "every": 1}
        whole = {"job": "users", **places, "snapshots": kept, "fold": {"state": "name STRING", "events": rules}}
        (folder / "replay.yaml").write_text(yaml.safe_dump(whole))
        (folder / "faults").mkdir()
        self.log(event("u1", 1, "created", "Ann"), event("u2", 1, "created", "Bo"))

    def log(self, *events: tuple[Any, ...]) -> None:
        log = self.spark.createDataFrame(list(events), EVENT).write.format("delta")
        log.mode("append").save(f"{self.folder}/log")

    def start(self, *argv: str, at: str | None = None, act: points.Act = "kill") -> Driver:
        """With a fault at a point, if one is named."""
        if at:
            points.arm(self.folder / "faults", at, act)
        places = (self.folder / "replay.yaml", self.folder / "faults", self.folder / "said")
        return Driver(*places, {}, *argv, job="jobs.event_replay")

    def ends(self, code: int, *argv: str, at: str | None = None) -> str:
        driver = self.start(*argv, at=at)
        assert driver.wait() == code, driver.said[-4000:]
        return driver.said

    def states(self) -> DataFrame:
        return self.spark.read.format("delta").load(f"{self.folder}/into")

    def commits(self) -> list[int]:
        """Versions of the log, by commit."""
        history = DeltaTable.forPath(self.spark, f"{self.folder}/into").history().orderBy("version").collect()
        return [json.loads(row.userMetadata)["log_version"] for row in history]

    def left(self) -> list[str]:
        return sorted(file.name for file in (self.folder / "work").iterdir() if file.name != "_lease")


@pytest.fixture
def replay(spark: SparkSession, tmp_path: Path) -> Replay:
    return Replay(spark, tmp_path)


@pytest.fixture
def holds(replay: Replay, rows: Callable[..., DataFrame]) -> Callable[..., None]:
    def check(*wanted: tuple[Any, ...]) -> None:
        assert_df_equality(replay.states(), rows(STATES, *wanted), ignore_row_order=True, ignore_nullable=True)

    return check


def test_a_kill_at_each_point_and_a_start_that_goes_on(replay: Replay, holds: Any) -> None:
    """One commit a version of the log, whatever happens; the old states are there until the new ones are. SIGTERM is a kill
    to a replay that comes to an end by itself.
    """
    replay.ends(0)
    holds(*OLD)
    replay.log(event("u1", 2, "updated", "Anna"))
    replay.ends(-9, at="replay_building")
    holds(*OLD)
    held = replay.start(at="replay_built", act="hold")
    held.is_held_at("replay_built")
    held.terminate()
    assert held.wait(30) == 143, held.said[-4000:]
    holds(*OLD)
    replay.log(event("u3", 1, "created", "Cy"))
    replay.ends(-9, at="replay_swapped")
    holds(*NEW)
    assert replay.left() != []
    replay.ends(0)
    holds(*NEW)
    assert (replay.commits(), replay.left()) == ([0, 1], [])
    replay.ends(-9, "--from-snapshot", at="in_snapshot")
    holds(*NEW, ("u3", 1, "Cy"))
    replay.ends(0, "--from-snapshot")
    holds(*NEW, ("u3", 1, "Cy"))
    assert (replay.commits(), replay.left()) == ([0, 1, 2], [])


def test_it_follows_a_log_through_a_kill_until_it_is_asked_to_end(replay: Replay, holds: Any) -> None:
    def at(version: int) -> Callable[[], bool]:
        made = replay.folder / "into" / "_delta_log" / f"{0:020d}.json"
        return lambda: made.exists() and replay.commits()[-1] == version

    first = replay.start("--follow", "--set", "follow.every=100ms")
    first.until(at(0), "the table at version 0 of the log")
    replay.log(event("u1", 2, "updated", "Anna"))
    first.until(at(1), "the table at version 1")
    first.arm("follow_folded", "kill")
    replay.log(event("u3", 1, "created", "Cy"))
    assert first.wait() == -9
    holds(*NEW)
    second = replay.start("--follow", "--set", "follow.every=100ms")
    second.until(at(2), "the table at version 2")
    second.terminate()
    assert second.wait() == 0, second.said[-4000:]
    holds(*NEW, ("u3", 1, "Cy"))
    assert replay.commits() == [0, 1, 2]


def test_what_is_wrong_decides_the_exit_code(replay: Replay, holds: Any) -> None:
    assert "--until-time = today: RFC 3339" in replay.ends(2, "--until-time", "today")
    assert "streams only in the replay: 2" in replay.ends(1, "--dry-run")
    unfit = event("u1", 2, "updated", "Anna")
    replay.log((*unfit[:5], '["not an object", 1]', *unfit[6:]))
    said = replay.ends(1)
    assert "EventFailed: stream u1, version 2, event u1-2: data of user_updated do not fit the fold" in said
    replay.log(event("u2", 1, "created", "Bo"))
    said = replay.ends(4, "--until-version", "1")
    assert "ReplayRefused: " in said and "1 of 2 streams have more events than versions" in said
    (replay.folder / "skips.yaml").write_text("- {event_id: u1-2, reason: a list in place of an object}\n")
    assert "1 of 2 streams" in replay.ends(4, "--skip-events", str(replay.folder / "skips.yaml"))
    assert replay.left() == []
