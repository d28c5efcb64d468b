"""What a republishing would send, and how long that would take, in words."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from jobs.core.events.pacing import took_s
from jobs.core.events.rendering import moment

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Outlook(NamedTuple):
    """Events of one version of the log that are within the bounds."""

    log_version: int
    events: int
    streams: int
    first_us: int | None  # when the first one is due; None where there is none
    last_us: int | None
    sent: int  # so many of them, by an earlier start


def as_text(found: Outlook, topic: str, speed: float | None) -> str:
    """A line each: what, when, how long."""
    if found.first_us is None or found.last_us is None:
        return f"no event of version {found.log_version} of the log is within the bounds"
    sent = f"; {found.sent:,} of them are sent already" if found.sent else ""
    return "\n".join(
        [
            f"{_count(found.events, 'event')} of {_count(found.streams, 'stream')} to {topic}{sent}",
            f"due from {_at(found.first_us)} to {_at(found.last_us)}, in the log's time",
            _takes(found.last_us - found.first_us, speed),
        ]
    )


def _takes(span_us: int, speed: float | None) -> str:
    if speed is None:
        return "as fast as it goes"
    return f"{_long(took_s(span_us, speed))} at {speed:g} times the log's speed"


def _long(seconds: float) -> str:
    try:
        return str(timedelta(seconds=round(seconds)))
    except OverflowError:
        return "millions of years"


def _at(us: int) -> str:
    return moment(EPOCH + timedelta(microseconds=us))


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"
