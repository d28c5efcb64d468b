"""How far a republishing has come, in a folder of its own: a start after a kill goes on with it.

begun.json   which version of which log it reads, which topic it writes, and how many subjects were forgotten then
built.json   the chunks that it has made of that
at/<n>.json  where it stands after n steps; each is written once and whole, and the newest one counts
chunks/      `core.events.chunks`
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from pyspark.sql import SparkSession

from jobs.core.events.chunks import Batch, Chunks, Span
from jobs.core.files import Folder

FOLDER = re.compile(r"republish-[0-9a-f]{16}")
BEGUN, BUILT = "begun.json", "built.json"


class Begun(NamedTuple):
    log_id: str
    log_version: int
    topic_id: str
    forgotten: int = 0  # subjects, of whom the chunks have nothing


class Position(NamedTuple):
    """Behind the events of a chunk that are due up to a moment."""

    chunk: int
    until_us: int
    sent: int  # so many events in all
    steps: int  # in so many steps

    def within(self, span: Span) -> int | None:
        """Up to which moment a chunk has been sent; None where that is still to begin."""
        return self.until_us if self.chunk == span.chunk else None


START = Position(-1, 0, 0, 0)


class Progress:
    """That of one request, in a folder that others may share; only one republishing runs there at a time."""

    def __init__(self, spark: SparkSession, work: str, request: str) -> None:
        self._spark, self._work = spark, Folder(spark, work)
        path = f"{self._work.path}/republish-{request}"
        self._folder, self._at = Folder(spark, path), Folder(spark, f"{path}/at")
        self.chunks = Chunks(spark, f"{path}/chunks")

    def begun(self) -> Begun | None:
        return Begun(*json.loads(self._folder.read(BEGUN))) if self._folder.exists(BEGUN) else None

    def begin(self, begun: Begun) -> None:
        self._folder.write(BEGUN, json.dumps(begun))

    def spans(self) -> list[Span] | None:
        """None where the chunks are not all there."""
        if not self._folder.exists(BUILT):
            return None
        return [Span(chunk, Batch(*all_)) for chunk, all_ in json.loads(self._folder.read(BUILT))]

    def built(self, spans: Sequence[Span]) -> None:
        self._folder.write(BUILT, json.dumps(spans))

    def position(self) -> Position:
        names = [info.name for info in self._at.list()]
        return Position(*json.loads(self._at.read(names[-1]))) if names else START

    def reached(self, position: Position) -> None:
        """The one before goes once this is there."""
        before = [info.name for info in self._at.list()]
        self._at.write(f"{position.steps:020d}.json", json.dumps(position))
        for name in before:
            self._at.delete(name)

    def forget(self) -> None:
        """What any request has left. One without its beginning is none, so a kill meanwhile does no harm."""
        for name in [info.name for info in self._work.list() if FOLDER.fullmatch(info.name)]:
            left = Folder(self._spark, f"{self._work.path}/{name}")
            left.delete(BEGUN)
            left.remove()
