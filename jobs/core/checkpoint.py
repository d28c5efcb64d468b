"""Spark's own checkpoint: query id, offsets of a batch, batches planned and committed; and how a new one is begun.

The only module that knows the format (version 1 of the metadata, offset, commit and source logs, as Spark 4.2 writes them).
What cannot be read raises CheckpointDamaged with the file, the cause and the remedy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from jobs.core.errors import CheckpointDamaged
from jobs.core.files import FileInfo, Folder
from jobs.core.jvm import java_class

Offsets = Any  # what a source calls an offset, as JSON: for Kafka {topic: {partition: offset}}
RESTORE = "Restore it from a copy, or start once with --recover from-ledger"
RUN_AGAIN = "Delete it and its .crc: the batch runs again, and what it wrote is recognised"
SEED = "seed"  # our own file; Spark passes over it
SEEDED = 0  # the batch that a seed plans and commits
LARGE_BYTES = 1 << 20  # of a source's log, one that is larger is not read


class Checkpoint:
    """A checkpoint folder; the files in it are only read, or moved as a whole."""

    def __init__(self, spark: SparkSession, path: str) -> None:
        self.path = path
        self.retained = int(str(spark.conf.get("spark.sql.streaming.minBatchesToRetain")))  # batches that Spark keeps
        self._folder = Folder(spark, path)

    def exists(self) -> bool:
        return self._folder.exists()

    def query_id(self) -> str | None:
        """The id that the query was given at its first start; None before that."""
        if not self._folder.exists("metadata"):
            return None
        found = self._json("metadata", self._text("metadata"))
        if not isinstance(found, dict) or not found.get("id"):
            raise self._damaged("metadata", "names no query id")
        return str(found["id"])

    def planned(self) -> list[int]:
        """Ids of the batches whose offsets were planned, oldest first."""
        return _ids(self._folder.list("offsets"))

    def committed(self) -> list[int]:
        return _ids(self._folder.list("commits"))

    def end(self, batch_id: int) -> list[Offsets]:
        """Where a batch ends, an offset a source."""
        name = f"offsets/{batch_id}"
        head, *sources = self._lines(name)
        if not isinstance(self._json(name, head), dict) or not sources:
            raise self._damaged(name, "ends before its offsets")
        return [None if text == "-" else self._json(name, text) for text in sources]

    def watermark_ms(self, batch_id: int) -> int:
        """Of a batch that is planned, in milliseconds since 1970: what it drops is not after that; 0 where there is none."""
        name = f"offsets/{batch_id}"
        head = self._json(name, self._lines(name)[0])
        return int(head.get("batchWatermarkMs", 0)) if isinstance(head, dict) else 0

    def start(self, batch_id: int) -> list[Offsets]:
        """Where a batch starts: the end of the one before, or the source's own first offset."""
        if self._folder.exists(f"offsets/{batch_id - 1}"):
            return self.end(batch_id - 1)
        earlier = [known for known in self.planned() if known < batch_id]
        return self.end(earlier[-1]) if earlier else self._first()

    def commit(self, batch_id: int) -> Any:
        """What a commit says."""
        name = f"commits/{batch_id}"
        return self._json(name, "\n".join(self._lines(name, RUN_AGAIN)), RUN_AGAIN)

    def source_files(self) -> list[str]:
        """The newest hundred files of each source's log, but for very large ones."""
        folders = [f"sources/{info.name}" for info in self._folder.list("sources")]
        return [f"{folder}/{info.name}" for folder in folders for info in _newest(self._folder.list(folder))]

    def source_log(self, name: str) -> list[Offsets]:
        """What a source wrote down."""
        return [self._json(name, line) for line in self._lines(name)]

    def seeded(self) -> bool:
        """Whether it was begun at given offsets: then batch 0 only says where, and nothing was ever read for it."""
        return self._folder.exists(SEED)

    def set_aside(self, now: datetime) -> str:
        """Moves the folder to a name with the time in it, which is returned. Raises FileExistsError."""
        aside = f"{self._folder.path}.{now:%Y%m%dT%H%M%S.%f}Z"
        self._folder.move_to(aside)
        return aside

    def tidy(self) -> None:
        """Deletes checksums without a file; Spark could not write a batch again whose commit was deleted without its own."""
        for name in ("offsets", "commits"):
            self._folder.drop_orphans(name)

    def copy_to(self, path: str) -> None:
        """Raises FileExistsError."""
        self._folder.copy_to(path)

    def _first(self) -> list[Offsets]:
        name = "sources/0/0"
        return self.source_log(name)[:1] if self._folder.exists(name) else [None]

    def _lines(self, name: str, remedy: str = RESTORE) -> list[str]:
        version, *lines = self._text(name, remedy).split("\n")
        if not version.strip("\0"):
            raise self._damaged(name, "is empty", remedy)
        if version.lstrip("\0") != "v1":
            said = f"has an unknown format {version[:20]!r}"
            raise self._damaged(name, said, f"Use the Spark version that wrote it. {remedy}")
        return lines

    def _text(self, name: str, remedy: str = RESTORE) -> str:
        try:
            return self._folder.read(name)
        except UnicodeDecodeError:
            raise self._damaged(name, "is no text", remedy) from None
        except Py4JJavaError as failure:
            raise self._damaged(name, _cause(name, failure), remedy) from None

    def _json(self, name: str, text: str, remedy: str = RESTORE) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            raise self._damaged(name, "is cut short or is no JSON", remedy) from None

    def _damaged(self, file: str, cause: str, remedy: str = RESTORE) -> CheckpointDamaged:
        return CheckpointDamaged(self.path, file, cause, remedy)


def begin(spark: SparkSession, path: str, query_id: str, at: list[Offsets] | None, now: datetime) -> None:
    """A new checkpoint whose first batch starts at the given offsets, or where the source's config says.

    Raises FileExistsError where there is one.
    """
    root = Folder(spark, path)
    if str(spark.sparkContext.master).startswith("local"):  # else executors of another user may have to write there
        root.make_private()
    root.write("metadata", json.dumps({"id": query_id}))
    if at is not None:
        root.write(SEED, json.dumps({"offsets": at, "at": now.isoformat()}))
        head = _offsets_head(spark, now)
        ends = ["-" if end is None else json.dumps(end, separators=(",", ":")) for end in at]
        Folder(spark, f"{path}/offsets").write(str(SEEDED), "\n".join(["v1", head, *ends]))
        Folder(spark, f"{path}/commits").write(str(SEEDED), 'v1\n{"nextBatchWatermarkMs":0}')


def _offsets_head(spark: SparkSession, now: datetime) -> str:
    """The line that Spark itself writes above the offsets: the settings that a query keeps."""
    metadata = java_class(spark, "org.apache.spark.sql.execution.streaming.checkpointing.OffsetSeqMetadata")
    made = metadata.apply(0, int(now.timestamp() * 1000), spark._jsparkSession.conf())
    head = json.loads(made.json())
    return json.dumps({**head, "conf": {key: value for key, value in head["conf"].items() if value is not None}})


def _ids(files: list[FileInfo]) -> list[int]:
    return sorted(int(info.name) for info in files if info.name.isdigit())


def _newest(files: list[FileInfo]) -> Iterator[FileInfo]:
    logs = [info for info in files if info.name.removesuffix(".compact").isdigit()]
    newest = sorted(logs, key=lambda info: int(info.name.removesuffix(".compact")))[-100:]
    return (info for info in newest if info.size_bytes <= LARGE_BYTES)


def _cause(name: str, failure: Py4JJavaError) -> str:
    kind = str(failure.java_exception.getClass().getSimpleName())
    folder, _, file = name.rpartition("/")
    told = {
        "ChecksumException": f"was changed: it does not fit its checksum {f'{folder}/.{file}.crc'.lstrip('/')}",
        "FileNotFoundException": "is missing",
    }
    return told.get(kind) or f"cannot be read ({failure.java_exception.getMessage()})"
