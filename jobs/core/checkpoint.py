"""Spark's own checkpoint, read: query id, offsets of a batch, batches planned and committed.

The only module that knows the format (version 1 of the offset and commit logs, as Spark 4.2 writes them).
"""

from __future__ import annotations

import json
from typing import Any

from pyspark.sql import SparkSession

from jobs.core.errors import LedgerMismatch
from jobs.core.files import FileInfo, Folder

Offsets = Any  # what a source calls an offset, as JSON: for Kafka {topic: {partition: offset}}


class Checkpoint:
    """A checkpoint folder; nothing in it is ever written from here."""

    def __init__(self, spark: SparkSession, path: str) -> None:
        self.path = path
        self._folder = Folder(spark, path)

    def query_id(self) -> str | None:
        """The id that Spark gave this checkpoint; None before its first start."""
        return str(json.loads(self._folder.read("metadata"))["id"]) if self._folder.exists("metadata") else None

    def planned(self) -> list[int]:
        """Ids of the batches whose offsets were planned, oldest first."""
        return _ids(self._folder.list("offsets"))

    def committed(self) -> list[int]:
        return _ids(self._folder.list("commits"))

    def end(self, batch_id: int) -> list[Offsets]:
        """Where a batch ends, an offset a source."""
        _, *sources = self._lines(f"offsets/{batch_id}")
        return [None if text == "-" else json.loads(text) for text in sources]

    def start(self, batch_id: int) -> list[Offsets]:
        """Where a batch starts: the end of the one before, or the source's own first offset."""
        earlier = [known for known in self.planned() if known < batch_id]
        return self.end(earlier[-1]) if earlier else self._first()

    def _first(self) -> list[Offsets]:
        name = "sources/0/0"
        return [json.loads(self._lines(name)[0])] if self._folder.exists(name) else [None]

    def _lines(self, name: str) -> list[str]:
        version, *lines = self._folder.read(name).split("\n")
        if not version.lstrip("\0").startswith("v1"):
            raise LedgerMismatch(
                self.path, "-", f"{name} has an unknown format {version[:20]!r}", "Use the Spark version that wrote it."
            )
        return lines


def _ids(files: list[FileInfo]) -> list[int]:
    return sorted(int(info.name) for info in files if info.name.isdigit())
