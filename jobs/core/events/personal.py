"""What of an event's `data` is about a person, and about whom: split off as the event is read, so that it can be sealed."""

from __future__ import annotations

import json
from typing import NamedTuple

import msgspec
import pyarrow as pa

from jobs.core.decode_plan import Document

SUBJECT, PERSONAL = "subject", "personal"  # columns: about whom it is, and the fields as a JSON object
NOTHING = "{}"
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_written = msgspec.json.Encoder()
Parts = tuple[str, str | None, str | None]


class Split(NamedTuple):
    """Which fields are personal, all where none is named; which one names the subject, without it the stream does."""

    subject: str | None
    fields: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Split:
        """What `json.dumps` has made of one."""
        subject, fields = json.loads(text)
        return cls(subject, tuple(fields))

    @property
    def place(self) -> str:
        """Where the subject stands in an event."""
        return f"$.data.{self.subject}" if self.subject else "$.stream_id"

    def __call__(self, data: pa.Array, streams: pa.Array) -> dict[str, pa.Array]:
        """`data` without them, SUBJECT, PERSONAL; null where an event has none. Texts stay as they were written."""
        rows = [self._parts(text) for text in data.to_pylist()]
        rest, personal, subjects = (pa.array(column, pa.string()) for column in zip(*rows)) if rows else (data,) * 3
        return {"data": rest, PERSONAL: personal, SUBJECT: subjects if self.subject else streams}

    def _parts(self, text: str) -> Parts:
        fields = _fields.decode(text)
        own = {name: value for name, value in fields.items() if not self.fields or name in self.fields}
        subject = self._named(fields)
        if not own:
            return text, None, subject
        if len(own) == len(fields):
            return NOTHING, text, subject
        rest = {name: value for name, value in fields.items() if name not in own}
        return _written.encode(rest).decode(), _written.encode(own).decode(), subject

    def _named(self, fields: dict[str, msgspec.Raw]) -> str | None:
        """As a stream is named by a field."""
        if self.subject is None or self.subject not in fields:
            return None
        return Document(self.subject, 1).picked(msgspec.json.decode(fields[self.subject]))
