from __future__ import annotations

from typing import Any

import pyarrow as pa

from jobs.core.sinks.copying import send


class FakeCursor:
    """Remembers what was copied."""

    def __init__(self) -> None:
        self.copied: list[tuple[str, str]] = []

    def copy_expert(self, statement: str, buffer: Any, size: int) -> None:
        self.copied.append((statement, buffer.read().decode()))


def test_lines_are_sent_as_they_are() -> None:
    cursor: Any = FakeCursor()
    send(cursor, "COPY", pa.array(["1,\n", '2,"ü"\n']))
    assert cursor.copied == [("COPY", '1,\n2,"ü"\n')]
