from __future__ import annotations

import argparse
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from jobs.core.errors import ConfigError
from jobs.core.events import replay_options
from jobs.core.events.bounds import Bounds, Position
from jobs.core.events.skips import Skip

TEN = datetime(2026, 1, 5, 10, tzinfo=timezone.utc)


def given(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    replay_options.add(parser)
    return parser.parse_args(argv)


def test_nothing_asked_is_no_bound() -> None:
    assert replay_options.bounds(given()) == Bounds()
    assert replay_options.settings(given()) == []


def test_every_bound_is_read(folder: Path) -> None:
    (folder / "skips.yaml").write_text("- {event_id: a, reason: r}")
    times = ["--until-time", "2026-01-05T11:00:00+01:00", "--until-event-time", "2026-01-05T10:00:00Z"]
    places = ["--until-version", "7", "--until-offset", "t/1/5", "--until-offset", "t/0/0"]
    kinds = ["--stream", "s2", "--stream", "s1", "--stream", "s2", "--type", "made", "--into", "data/other"]
    asked = given(*times, *places, *kinds, "--skip-events", str(folder / "skips.yaml"))
    at = datetime(2026, 1, 5, 11, tzinfo=timezone(timedelta(hours=1)))
    wanted = Bounds(at, TEN, 7, (Position("t", 0, 0), Position("t", 1, 5)), ("s1", "s2"), ("made",))
    skips = (Skip(event_id="a", reason="r"),)
    assert replay_options.bounds(asked) == Bounds(*list(vars(wanted).values())[:-1], skips)
    assert replay_options.settings(asked) == ["into.path=data/other"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--until-time", "yesterday"], "--until-time = yesterday: RFC 3339, with a zone"),
        (["--until-time", "2026-01-05T10:00:00"], "with a zone"),
        (["--until-event-time", "5"], "--until-event-time = 5"),
        (["--until-version", "0"], "--until-version = 0: a version: 1, 2, ..."),
        (["--until-version", "-1"], "--until-version"),
        (["--until-offset", "t/0"], "--until-offset = t/0: TOPIC/PARTITION/OFFSET"),
        (["--until-offset", "t/0/x"], "TOPIC/PARTITION/OFFSET"),
        (["--type", "made"], "--type = made: only with --into or --dry-run"),
        (["--follow", "--dry-run"], "--follow: with no bound"),
        (["--follow", "--from-snapshot"], "--follow: with no bound"),
        (["--follow", "--until-version", "3"], "--follow: with no bound"),
    ],
)
def test_what_makes_no_sense_is_refused(argv: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        replay_options.bounds(given(*argv))
    assert f"command line: {said}" in str(refused.value) or said in str(refused.value)


def test_some_types_may_be_looked_at() -> None:
    assert replay_options.bounds(given("--type", "made", "--dry-run")).types == ("made",)
