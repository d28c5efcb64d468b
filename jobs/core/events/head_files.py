"""The files of heads (`core.events.heads`) as executors write, verify and read them: local ones where they are, others copied.

A file is named by nobody else and never changed, so a copy that a machine has is as good as the file.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import numpy as np
import pyarrow as pa
from pyarrow import fs

from jobs.core.events import keyset
from jobs.core.events.keyset import Keys, halves
from jobs.core.workers import in_worker

FILES = "bucket INT, name STRING, keys BIGINT"
KINDS = (pa.int32(), pa.string(), pa.int64())
WIDTH = 32  # bytes of a SHA-256


class Known(NamedTuple):
    """Heads as executors are told of them."""

    root: str
    buckets: int
    files: dict[int, tuple[str, ...]]

    def of(self, bucket: int) -> list[Keys]:
        return [_opened(self.root, name) for name in self.files.get(bucket, ())]


@in_worker
def write(batches: Iterator[pa.RecordBatch], older: Known) -> Iterator[pa.RecordBatch]:
    """What runs in the executors, on the new rows of one bucket: a file of their keys, and of what older files have."""
    bucket, parts = None, []
    for batch in batches:
        for one in batch.column("_bucket")[:1].to_pylist():
            bucket = one
        there = batch.filter(batch.column("_stream").is_valid())
        numbers = there.column("stream_version").to_numpy(zero_copy_only=False).astype(np.int64)
        parts += [Keys.of(*digests(there.column(name)), numbers) for name in ("_stream", "_event")]
    if bucket is None:
        return
    keys = Keys.union([*parts, *older.of(bucket)])
    if not len(keys.high):
        return
    name = f"{uuid4().hex}.keys"
    files, folder = fs.FileSystem.from_uri(older.root)
    files.create_dir(folder)
    with files.open_output_stream(f"{folder}/{name}") as out:
        out.write(keyset.encoded(keys))
    row = [[bucket], [name], [len(keys.high)]]
    yield pa.RecordBatch.from_arrays([pa.array(v, k) for v, k in zip(row, KINDS)], names=["bucket", "name", "keys"])


def verify(batches: Iterator[pa.RecordBatch], root: str) -> Iterator[pa.RecordBatch]:
    """What runs in the executors: a row for each of the named files that is not as it was written."""
    for batch in batches:
        faults = [fault for name in batch.column(0).to_pylist() if (fault := _fault(root, name))]
        yield pa.RecordBatch.from_arrays([pa.array(faults, pa.string())], names=["fault"])


def digests(column: pa.Array) -> tuple[keyset.Words, keyset.Words]:
    """Keys from a column of SHA-256 digests."""
    column = column.cast(pa.binary())  # Spark may be told to send large ones
    _, begin, content = column.buffers()
    if not len(column) or content is None or begin is None:
        return keyset.NONE[:2]
    first = int(np.frombuffer(begin, np.int32, 1, column.offset * 4)[0])
    return halves(np.frombuffer(content, np.uint8, len(column) * WIDTH, first).reshape(-1, WIDTH))


def local(uri: str) -> str:
    """A folder as PyArrow's file systems know it."""
    scheme, _, rest = uri.partition(":")
    if scheme == "file":
        return "/" + rest.lstrip("/")
    return f"s3:{rest}" if scheme in ("s3a", "s3n") else uri


def _fault(root: str, name: str) -> str | None:
    try:
        keyset.verified(_fetched(root, name))
    except (keyset.Damaged, OSError) as fault:
        return f"{name}: {fault}"
    return None


@lru_cache(maxsize=1024)
def _opened(root: str, name: str) -> Keys:
    return keyset.mapped(_fetched(root, name))


def _fetched(root: str, name: str) -> Path:
    """The file itself where it is local, else a copy that this machine keeps."""
    files, folder = fs.FileSystem.from_uri(root)
    if isinstance(files, fs.LocalFileSystem):
        return Path(folder, name)
    copy = Path(tempfile.gettempdir(), f"stream-patterns-heads-{os.getuid()}", name)
    if not copy.exists():
        copy.parent.mkdir(mode=0o700, exist_ok=True)
        if copy.parent.stat().st_uid != os.getuid():
            raise PermissionError(f"{copy.parent} is another user's")
        draft = copy.with_suffix(f".{uuid4().hex}")
        fs.copy_files(f"{folder}/{name}", str(draft), source_filesystem=files)
        draft.rename(copy)
    return copy
