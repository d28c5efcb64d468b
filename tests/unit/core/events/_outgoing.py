"""Events of a log at seconds after ten o'clock, and what becomes of them on their way to a topic."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from jobs.core.events.outgoing import SECOND_US

AT = datetime(2026, 1, 5, 10, tzinfo=timezone.utc)
AT_US = 1_767_607_200 * SECOND_US


def event(stream: str, version: int, occurred_s: float = 0, recorded_s: float = 1e6, **changed: Any) -> tuple[Any, ...]:
    """EVENT."""
    fields = {
        "event_id": f"{stream}-{version}",
        "event_type": "e",
        "schema_version": 1,
        "data": "{}",
        "metadata": None,
        "occurred_at": AT + timedelta(seconds=occurred_s),
        "recorded_at": AT + timedelta(seconds=recorded_s),
        "_topic": "events",
        "_partition": 0,
        "_offset": 0,
        **changed,
    }
    return stream, version, *fields.values()


def us(seconds: float) -> int:
    return AT_US + round(seconds * SECOND_US)
