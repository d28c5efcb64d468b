from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pyspark.sql import SparkSession

from jobs.core import runner
from jobs.core.errors import DependencyMissing
from jobs.core.events import republish_options
from jobs.core.events.bounds import Bounds
from jobs.core.events.republishing import Request
from jobs.core.layers import CONF, load
from jobs.event_republish import Config, request, start


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    places = {name: {"path": f"{folder}/{name}"} for name in ("log", "work")}
    broker = {"bootstrap_servers": "127.0.0.1:1", "timeout": "1s"}
    return {"job": "again", "kafka": broker, **places, "into": {"topic": "out"}, **more}


def given(*argv: str) -> argparse.Namespace:
    parser = runner.parser()
    republish_options.add(parser)
    return parser.parse_args(argv)


@pytest.mark.parametrize("env", [None, "local", "cluster"])
def test_the_shipped_config_is_right(env: str | None) -> None:
    config = load(Config, CONF / "event_republish.yaml", env, (), {}, CONF).config
    wanted = request(config, given())
    assert (wanted.bounds, wanted.speed, wanted.shape, wanted.events) == (Bounds(), None, "envelope", 100_000)


def test_config_and_command_line_come_to_a_request(folder: Path) -> None:
    more = {"into": {"topic": "out", "shape": "short"}, "step": {"events": 5, "every": "250ms"}}
    config = Config.model_validate(settings(folder, **more))
    asked = request(config, given("--speed", "10", "--stream", "s", "--dry-run"))
    places = (f"{folder}/log", "127.0.0.1:1", "out", f"{folder}/work")
    assert asked == Request("again", *places, "short", Bounds(streams=("s",)), 10.0, 5, 0.25, True)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"kafka": None}, "kafka"),
        ({"into": {"topic": "no topic"}}, "a topic's name"),
        ({"into": {"topic": "out", "shape": "long"}}, "'envelope' or 'short'"),
        ({"log": {"path": "data/log"}, "work": {"path": "data/log/work"}}, "a folder apart from log.path"),
        ({"step": {"events": 0}}, "greater than or equal to 1"),
        ({"source": {"rate": {}}}, "Extra inputs"),
    ],
)
def test_what_does_not_fit_together_is_refused(folder: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Config.model_validate(settings(folder, **more))


@pytest.mark.parametrize("argv", [(), ("--dry-run",)])
def test_a_broker_that_is_away_is_named_before_anything_is_built(
    spark: SparkSession, folder: Path, argv: tuple[str, ...]
) -> None:
    config = Config.model_validate(settings(folder))
    with pytest.raises(DependencyMissing, match="Kafka 127.0.0.1:1 unreachable"):
        start(spark, config, request(config, given(*argv)))
    assert not (folder / "work").exists()
