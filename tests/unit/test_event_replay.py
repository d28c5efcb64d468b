from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from pydantic import ValidationError
from pyspark.sql import DataFrame, SparkSession

from jobs.core import lease as leases
from jobs.core import runner
from jobs.core.clock import utc_now
from jobs.core.connections import LeaseLimits
from jobs.core.errors import ConfigError, LeaseHeld
from jobs.core.events import replay_options
from jobs.core.events.bounds import Bounds
from jobs.core.events.envelope import EVENT
from jobs.core.holder import this
from jobs.core.layers import CONF, load
from jobs.core.lease_files import FileRegister
from jobs.core.values import Duration
from jobs.event_replay import JOB, Config, request, start

AT = datetime(2026, 1, 5, 10, tzinfo=timezone.utc)
FOLD = {"state": "name STRING", "events": {"user_created": "set", "user_updated": "merge"}}
STATES = "stream_id STRING, stream_version BIGINT, name STRING"
LOG = (
    ("u1", 1, "a", "user_created", 1, '{"name": "Ann"}', None, AT, AT, None, None, None),
    ("u1", 2, "b", "user_updated", 1, '{"name": "Anna"}', None, AT, AT, None, None, None),
)


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    places = {name: {"path": f"{folder}/{name}"} for name in ("log", "into", "work")}
    return {"job": "users", **places, "fold": FOLD, **more}


def given(*argv: str) -> argparse.Namespace:
    parser = runner.parser()
    replay_options.add(parser)
    return parser.parse_args(argv)


@pytest.fixture
def replay(spark: SparkSession, folder: Path) -> Callable[..., int]:
    """Runs the job over a log, with these arguments."""
    spark.createDataFrame(list(LOG), EVENT).write.format("delta").save(f"{folder}/log")
    config = Config.model_validate(settings(folder))
    return lambda *argv: start(spark, config, request(config, given(*argv)))


def test_a_log_comes_to_a_table(replay: Any, spark: SparkSession, folder: Path, rows: Callable[..., DataFrame]) -> None:
    assert replay() == 0
    found = spark.read.format("delta").load(f"{folder}/into")
    assert_df_equality(found, rows(STATES, ("u1", 2, "Anna")), ignore_nullable=True)
    assert replay("--until-version", "1") == 0
    found = spark.read.format("delta").load(f"{folder}/into")
    assert_df_equality(found, rows(STATES, ("u1", 1, "Ann")), ignore_nullable=True)


def test_a_dry_run_ends_with_1_where_something_differs(replay: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay("--dry-run") == 1
    assert "streams only in the replay: 1" in capsys.readouterr().out
    assert replay() == 0
    assert replay("--dry-run") == 0
    assert "are equal" in capsys.readouterr().out


def test_one_replay_at_a_time(replay: Any, spark: SparkSession, folder: Path) -> None:
    quick = LeaseLimits(renew=Duration("50ms"), ttl=Duration("1h"))
    other = leases.take(FileRegister(spark, f"{folder}/work/_lease"), "users", this(utc_now()), quick)
    try:
        with pytest.raises(LeaseHeld, match="users is run by process"):
            replay()
    finally:
        other.give_back()
    assert replay() == 0


@pytest.mark.parametrize("env", [None, "local", "cluster"])
def test_the_shipped_config_is_right(env: str | None) -> None:
    config = load(Config, CONF / "event_replay.yaml", env, (), {}, CONF).config
    assert request(config, given()).bounds == Bounds()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"fold": None}, "exactly one of fold, evolve"),
        ({"evolve": {"module": "jobs.domain.users", "state": "name STRING"}}, "exactly one of fold, evolve"),
        ({"into": {"path": "data/log"}, "log": {"path": "data/log"}}, "a folder apart from log.path"),
        ({"snapshots": {"path": "data/work/s", "every": 5}, "work": {"path": "data/work"}}, "apart from work.path"),
        ({"spark": {"other": 1}}, "spark"),
        ({"source": {"rate": {}}}, "Extra inputs"),
    ],
)
def test_what_does_not_fit_together_is_refused(folder: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Config.model_validate(settings(folder, **more))


@pytest.mark.parametrize("key", [{"upcast": "jobs.domain.users"}, {"unknown": "reject"}])
def test_what_is_for_declared_folds_is_refused_with_another(folder: Path, key: dict[str, str]) -> None:
    evolve = {"module": "jobs.domain.users", "state": "name STRING"}
    with pytest.raises(ValidationError, match="only with fold"):
        Config.model_validate(settings(folder, fold=None, evolve=evolve, **key))


def test_snapshots_need_a_place_and_all_events(folder: Path) -> None:
    config = Config.model_validate(settings(folder))
    with pytest.raises(ConfigError, match="snapshots: required with --from-snapshot"):
        request(config, given("--from-snapshot"))
    config = Config.model_validate(settings(folder, snapshots={"path": f"{folder}/s", "every": 5}))
    with pytest.raises(ConfigError, match="with no bound but --stream"):
        request(config, given("--from-snapshot", "--until-version", "1"))
    wanted = request(config, given("--from-snapshot", "--stream", "u1"))
    assert (wanted.from_snapshot, wanted.snapshots, wanted.every) == (True, f"{folder}/s", 5)


def test_another_table_is_a_setting_like_any_other() -> None:
    assert JOB.settings(given("--into", "data/other")) == ["into.path=data/other"]


def test_what_is_asked_for_is_another_request_and_the_same_is_the_same(folder: Path) -> None:
    config = Config.model_validate(settings(folder, snapshots={"path": f"{folder}/s", "every": 5}))
    asked = [(), ("--dry-run",), ("--from-snapshot",), ("--until-version", "1"), ("--stream", "a"), ("--stream", "b")]
    names = [request(config, given(*argv)).name() for argv in asked]
    assert len(set(names)) == len(asked)
    assert names == [request(config, given(*argv)).name() for argv in asked]
    assert request(config, given()).name(1) != request(config, given()).name(2)
    json.dumps(request(config, given()).told())
