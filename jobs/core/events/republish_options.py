"""The command line of a republishing: bounds, as a replay has them, and how fast it goes."""

from __future__ import annotations

import argparse
from math import isfinite

from jobs.core.events import replay_options

MAX = "max"
SPEED = "max, or a number above 0: so many seconds of the log's time in one of the clock's"


def add(parser: argparse.ArgumentParser) -> None:
    replay_options.add_bounds(parser)
    own = parser.add_argument_group("how they go out")
    own.add_argument("--speed", default=MAX, metavar="N", help=f"{SPEED}; max unless given")
    own.add_argument("--dry-run", action="store_true", help="say what would be sent, and how long it would take")


def speed(given: argparse.Namespace) -> float | None:
    """None for as fast as it goes. Raises ConfigError."""
    found: float | None = replay_options.read("--speed", given.speed, _speed, SPEED)
    return found


def _speed(text: str) -> float | None:
    if text == MAX:
        return None
    if not (isfinite(number := float(text)) and number > 0):
        raise ValueError(text)
    return number
