"""What a replay remembers while it runs, so that a start after a kill goes on with it: two small files, each written once.

<request>.pinned.json  which version of the log it reads, under which name it commits, where the live table stood
<request>.built.json   what it has built
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TypeVar
from uuid import uuid4

from pyspark.sql import SparkSession

from jobs.core.files import Folder

T = TypeVar("T")


@dataclass(frozen=True)
class Pinned:
    """A replay that has begun."""

    replay_id: str
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
    base: int | None = None  # the version of the snapshot table that it went on from


def pinned(replay_id: str, log_version: int, live_version: int) -> Pinned:
    """A new one."""
    return Pinned(replay_id, log_version, live_version, uuid4().hex)


class Records:
    """Those of one request, in a folder that many may share."""

    def __init__(self, spark: SparkSession, path: str, request: str) -> None:
        self._folder, self._request = Folder(spark, path), request

    def pinned(self) -> Pinned | None:
        return self._read(Pinned)

    def built(self) -> Built | None:
        return self._read(Built)

    def add(self, record: Pinned | Built) -> None:
        self._folder.write(self._name(type(record)), json.dumps(asdict(record)))

    def forget(self) -> None:
        """What was built first: a request without it is not done, whatever else there is."""
        for kind in (Built, Pinned):
            self._folder.delete(self._name(kind))

    def _read(self, kind: type[T]) -> T | None:
        name = self._name(kind)
        return kind(**json.loads(self._folder.read(name))) if self._folder.exists(name) else None

    def _name(self, kind: type) -> str:
        return f"{self._request}.{kind.__name__.lower()}.json"
