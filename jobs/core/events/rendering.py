"""Events as JSON records: the short shape, and the full envelope. Both are read by `core.events.reading`.

short     {"event_type": ..., "data": {...}, "timestamp": epoch seconds with a fraction}
envelope  {"stream_id": ..., "event_type": ..., "schema_version": ..., "data": {...}, "occurred_at": RFC 3339 in UTC}, and
          event_id, stream_version, expected_version, metadata where there are any
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from jobs.core.events.envelope import Envelope

NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def short(event: Envelope) -> bytes:
    """Type, data and time alone. Raises ValueError for data that JSON, or our reader, cannot have."""
    return _json({"event_type": event.event_type, "data": event.data, "timestamp": event.occurred_at.timestamp()})


def envelope(event: Envelope) -> bytes:
    """All that is known of it. Raises ValueError for data that JSON, or our reader, cannot have."""
    optional = {
        "event_id": event.event_id,
        "stream_version": event.stream_version,
        "expected_version": event.expected_version,
        "metadata": event.metadata or None,
    }
    return _json(
        {
            "stream_id": event.stream_id,
            "event_type": event.event_type,
            "schema_version": event.schema_version,
            "data": event.data,
            "occurred_at": moment(event.occurred_at),
            **{name: value for name, value in optional.items() if value is not None},
        }
    )


def moment(at: datetime) -> str:
    """RFC 3339 in UTC, to the microsecond."""
    return at.astimezone(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _json(shown: Mapping[str, Any]) -> bytes:
    try:
        text = json.dumps(shown, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_as_dict)
        rendered = text.encode()
    except (TypeError, ValueError, RecursionError) as unfit:
        raise ValueError(f"{shown['event_type']}: JSON cannot hold its data: {unfit}") from None
    if NUL.search(text):
        raise ValueError(f"{shown['event_type']}: no reader takes U+0000 in a text")
    return rendered


def _as_dict(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__}")
