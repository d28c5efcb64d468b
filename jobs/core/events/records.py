"""What a replay remembers while it runs, so that a start after a kill goes on with it: two small files, each written once.

<request>.pinned.json  which version of which log it reads, under which name it commits, where the live table stood
<request>.built.json   what it has built
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import TypeVar
from uuid import uuid4

from pyspark.sql import SparkSession

from jobs.core.files import Folder

BUILD = re.compile(r"build-[0-9a-f]{32}")
RECORD = re.compile(r"[0-9a-f]{16}\.(built|pinned)\.json")  # in their order what was built goes first
T = TypeVar("T")


@dataclass(frozen=True)
class Pinned:
    """A replay that has begun."""

    replay_id: str
    log_id: str  # of the log's table
    log_version: int
    live_version: int  # -1: there is no table yet
    run: str  # another one each time that the same is asked for again

    @property
    def build(self) -> str:
        return f"build-{self.run}"


@dataclass(frozen=True)
class Built:
    """A build that is complete."""

    folded: int  # events that went through the fold
    base: str | None = None  # the snapshot that it went on from


def new_run() -> str:
    return uuid4().hex


class Records:
    """Those of one request, in a folder that many may share."""

    def __init__(self, spark: SparkSession, path: str, request: str) -> None:
        self._spark, self._folder, self._request = spark, Folder(spark, path), request

    def pinned(self) -> Pinned | None:
        return self._read(Pinned)

    def built(self) -> Built | None:
        return self._read(Built)

    def add(self, record: Pinned | Built) -> None:
        self._folder.write(self._name(type(record)), json.dumps(asdict(record)))

    def forget(self) -> None:
        """All that replays have left in the folder, of other requests too: only one replay runs there at a time."""
        found = [info.name for info in self._folder.list()]
        for build in filter(BUILD.fullmatch, found):
            Folder(self._spark, f"{self._folder.path}/{build}").remove()
        for record in filter(RECORD.fullmatch, found):
            self._folder.delete(record)

    def _read(self, kind: type[T]) -> T | None:
        name = self._name(kind)
        return kind(**json.loads(self._folder.read(name))) if self._folder.exists(name) else None

    def _name(self, kind: type) -> str:
        return f"{self._request}.{kind.__name__.lower()}.json"
