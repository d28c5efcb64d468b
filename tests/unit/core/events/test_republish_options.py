from __future__ import annotations

import argparse

import pytest

from jobs.core.errors import ConfigError
from jobs.core.events import replay_options, republish_options
from jobs.core.events.bounds import Bounds


def given(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    republish_options.add(parser)
    return parser.parse_args(argv)


def test_nothing_asked_is_all_as_fast_as_it_goes() -> None:
    asked = given()
    assert (replay_options.read_bounds(asked), republish_options.speed(asked), asked.dry_run) == (Bounds(), None, False)


@pytest.mark.parametrize(("text", "speed"), [("max", None), ("10", 10.0), ("0.25", 0.25), ("1e3", 1000.0)])
def test_a_speed_is_a_number_or_max(text: str, speed: float | None) -> None:
    assert republish_options.speed(given("--speed", text)) == speed


@pytest.mark.parametrize("text", ["0", "-1", "fast", "nan", "inf", "", "10x"])
def test_any_other_speed_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="command line: --speed.*: max, or a number above 0"):
        republish_options.speed(given(f"--speed={text}"))


def test_bounds_are_those_of_a_replay_and_some_types_alone_may_go() -> None:
    asked = given("--type", "made", "--stream", "s", "--until-version", "3")
    assert replay_options.read_bounds(asked) == Bounds(until_version=3, streams=("s",), types=("made",))


@pytest.mark.parametrize("argv", [["--into", "x"], ["--follow"], ["--from-snapshot"]])
def test_what_is_for_a_replay_alone_is_unknown(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        given(*argv)
    assert "unrecognized arguments" in capsys.readouterr().err
