"""The command line of what reads a log: the bounds that all of it takes, and what a replay does with what it has built."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from jobs.core.errors import ConfigError, Problem
from jobs.core.events import skips
from jobs.core.events.bounds import Bounds, Position

OFFSET = "TOPIC/PARTITION/OFFSET, as in orders/0/1200"
TIME = "RFC 3339, with a zone: 2026-01-05T10:00:00Z"


def add(parser: argparse.ArgumentParser) -> None:
    """Of a replay."""
    add_bounds(parser)
    own = parser.add_argument_group("what becomes of it")
    own.add_argument("--into", metavar="PATH", help="another table than the config's into.path")
    own.add_argument("--from-snapshot", action="store_true", help="only what came after the newest snapshot")
    own.add_argument("--follow", action="store_true", help="go on with what the log gets, until it is asked to end")
    own.add_argument("--dry-run", action="store_true", help="compare with the live table, print, and change nothing")


def add_bounds(parser: argparse.ArgumentParser) -> None:
    own = parser.add_argument_group("which events; all bounds hold together, and include what they name")
    own.add_argument("--until-time", metavar="TIME", help=f"events recorded up to then; {TIME}")
    own.add_argument("--until-event-time", metavar="TIME", help="events that occurred up to then")
    own.add_argument("--until-version", metavar="VERSION", help="each stream up to this version")
    own.add_argument("--until-offset", action="append", default=[], metavar="OFFSET", help=f"a partition's; {OFFSET}")
    own.add_argument("--stream", action="append", default=[], metavar="ID", help="this stream, and no other one")
    own.add_argument("--type", action="append", default=[], metavar="TYPE", help="events of this type only")
    own.add_argument("--skip-events", type=Path, metavar="FILE", help="a list of events to leave out, with reasons")


def settings(given: argparse.Namespace) -> list[str]:
    """What stands for a key of the config, as `--set` has it."""
    return [f"into.path={given.into}"] if given.into else []


def bounds(given: argparse.Namespace) -> Bounds:
    """Of a replay. Raises ConfigError."""
    if given.type and not given.into and not given.dry_run:
        allowed = "only with --into or --dry-run: what some types come to is not the state of a stream"
        raise wrong("--type", given.type[0], allowed)
    made = read_bounds(given)
    if given.from_snapshot and made.told().keys() - {"streams"}:
        raise wrong("--from-snapshot", "", "with no bound but --stream: a snapshot covers all that the log had")
    if given.follow and (made.told() or given.from_snapshot or given.dry_run):
        allowed = "with no bound, and without --from-snapshot and --dry-run: it follows all of the log"
        raise wrong("--follow", "", allowed)
    return made


def read_bounds(given: argparse.Namespace) -> Bounds:
    """Raises ConfigError."""
    return Bounds(
        moment("--until-time", given.until_time),
        moment("--until-event-time", given.until_event_time),
        read("--until-version", given.until_version, _version, "a version: 1, 2, ..."),
        tuple(sorted(read("--until-offset", text, _position, OFFSET) for text in given.until_offset)),
        tuple(sorted(set(given.stream))),
        tuple(sorted(set(given.type))),
        skips.read(given.skip_events) if given.skip_events else (),
    )


def moment(option: str, text: str | None) -> datetime | None:
    """Raises ConfigError for a time without a zone, and for what is none."""
    found: datetime | None = read(option, text, datetime.fromisoformat, TIME)
    if found is not None and found.tzinfo is None:
        raise wrong(option, str(text), TIME)
    return found


def read(option: str, text: str | None, parse: Callable[[str], Any], allowed: str) -> Any:
    """None where it is not given. Raises ConfigError where parsing raises ValueError."""
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError:
        raise wrong(option, text, allowed) from None


def _version(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(text)
    return int(text)


def _position(text: str) -> Position:
    topic, partition, offset = text.split("/")
    return Position(topic, int(partition), int(offset))


def wrong(option: str, value: str, allowed: str) -> ConfigError:
    return ConfigError(Problem(option, value, allowed, "command line"))
