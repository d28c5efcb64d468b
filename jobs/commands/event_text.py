"""Events and histories, for a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:  # it comes with Spark, which takes a while
    from pyspark.sql import Row

    from jobs.core.events.forgetting import Forgotten
    from jobs.core.events.history import Became

NONE = "–"
LEFT = """
Still to be done, as what was made from these events is not the log's:
- states: replay the log again (a replay that follows it does so by itself), then VACUUM their tables, whose history has it
- snapshots: gone after the next replay without bounds
- work of a replay or republishing that was cut short: start it again, or remove its folder
- the topic, dead letters, backups of the keys: gone when their own retention ends
"""


def line(event: Row) -> str:
    """One event as a JSON object."""
    shown = {name: _plain(value) for name, value in event.asDict(recursive=True).items()}
    return json.dumps({**shown, "data": json.loads(event["data"])}, ensure_ascii=False)


def table(events: Sequence[Row]) -> Table:
    """An event a line."""
    shown = Table(box=None, pad_edge=False)
    for name in ("recorded", "stream", "version", "type", "data"):
        shown.add_column(name, justify="right" if name == "version" else "left", overflow="fold")
    for event in events:
        at = _at(event["recorded_at"])
        told = (event["stream_id"], f"{event['stream_version']}", event["event_type"], event["data"])
        shown.add_row(at, *map(Text, told))
    return shown


def timeline(stream: str, found: Sequence[Became]) -> Text:
    """A stream's events from top to bottom, each with what it changed."""
    first, last = found[0].event, found[-1].event
    text = Text.assemble((stream, "bold"), f"  version {last['stream_version']:,} at {_at(last['occurred_at'])}\n")
    if first["stream_version"] > 1:
        text.append(f"┆  before version {first['stream_version']:,}\n", "dim")
    for became in found:
        event, is_last = became.event, became is found[-1]
        at = _at(event["occurred_at"])
        text.append("●", "green" if became.has_state else "red")
        text.append(f"  {event['stream_version']}  {at}  ").append(event["event_type"], "bold").append("\n")
        for note in _notes(became):
            text.append(f"{' ' if is_last else '│'}     {note}\n")
    return text


def forgotten(subject: str, found: Forgotten, dry_run: bool) -> Text:
    """What is unreadable now, and what is not."""
    events = f"{found.events:,} event{'s' if found.events != 1 else ''}"
    streams = f"{found.streams:,} stream{'s' if found.streams != 1 else ''}"
    if dry_run:
        return Text(f"would forget {subject}: {events} in {streams} of {found.log}\n")
    return Text.assemble(f"forgot {subject}: what {events} in {streams} of {found.log} had sealed is gone\n", LEFT)


def _notes(became: Became) -> list[str]:
    if not became.has_state:
        return ["no state"]
    changed = [f"{name}: {_change(*values)}" for name, values in became.changed.items()]
    return changed or ["nothing changed"]


def _change(before: str | None, after: str | None) -> str:
    return (
        f"{after if after is not None else NONE}"
        if before is None
        else f"{before} → {after if after is not None else NONE}"
    )


def _at(value: datetime) -> str:
    """As Spark gives it, in the process's own zone -> UTC."""
    return f"{value.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}"


def _plain(value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    return value.astimezone(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
