"""Small files through Hadoop's FileSystem: local, HDFS and object stores alike.

For checkpoints, ledgers and commit logs: a handful of kilobytes a file, read and written on the driver.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from pyspark.sql import SparkSession

from jobs.core.jvm import java_class

HADOOP = "org.apache.hadoop.fs"


@dataclass(frozen=True)
class FileInfo:
    """One file of a folder; `modified_ms` is the file system's own clock."""

    name: str
    modified_ms: int
    size_bytes: int = 0


class Folder:
    """One folder of small files."""

    def __init__(self, spark: SparkSession, path: str) -> None:
        self.path = path.rstrip("/")
        self._spark = spark
        self._path = java_class(spark, f"{HADOOP}.Path")
        self._root = self._path(self.path)
        self._fs: Any = self._root.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf())

    def qualified(self) -> str:
        """Its URI, scheme and all."""
        return str(self._fs.makeQualified(self._root).toString())

    def exists(self, name: str = "") -> bool:
        return bool(self._fs.exists(self._at(name)))

    def make_private(self) -> None:
        """Makes the folder, for its owner alone, unless it is there."""
        if not self.exists():
            self._fs.mkdirs(self._root, java_class(self._spark, f"{HADOOP}.permission.FsPermission")("700"))

    def list(self, name: str = "") -> list[FileInfo]:
        """Files of a subfolder by name; none where the folder is missing. Hidden checksum files are left out."""
        if not self.exists(name):
            return []
        found = (_info(status) for status in self._fs.listStatus(self._at(name)))
        return sorted((info for info in found if not info.name.startswith(".")), key=lambda info: info.name)

    def read(self, name: str) -> str:
        stream = self._fs.open(self._at(name))
        try:
            return bytes(stream.readAllBytes()).decode()
        finally:
            stream.close()

    def write(self, name: str, text: str) -> None:
        """Writes a whole file under its final name in one step; an existing one is not replaced.

        Raises FileExistsError where the name is taken.
        """
        draft = f".{name}.{uuid4().hex}"
        self.replace(draft, text)
        try:
            if not self._take_name(draft, name):
                raise FileExistsError(f"{self.path}/{name}")
        finally:
            self.delete(draft)

    def replace(self, name: str, text: str) -> None:
        """Writes a file, over one that is there; a reader may find it half written."""
        stream = self._fs.create(self._at(name), True)
        try:
            stream.write(text.encode())
        finally:
            stream.close()

    def move_to(self, path: str) -> None:
        """Gives the whole folder another name. Raises FileExistsError where that is taken."""
        target = self._path(path)
        if self._fs.exists(target) or not self._fs.rename(self._root, target):
            raise FileExistsError(path)

    def copy_to(self, path: str) -> None:
        """Copies the whole folder, checksums with it. Raises FileExistsError where the name is taken."""
        target = self._path(path)
        fs, copy = target.getFileSystem(self._fs.getConf()), java_class(self._spark, f"{HADOOP}.FileUtil").copy
        if fs.exists(target) or not copy(self._fs, self._root, fs, target, False, self._fs.getConf()):
            raise FileExistsError(path)

    def drop_orphans(self, name: str) -> None:
        """Deletes local checksums in a subfolder whose file is gone: they would keep a new file of that name out."""
        if self._fs.getScheme() != "file" or not self.exists(name):
            return
        raw = self._fs.getRawFileSystem()
        names = {status.getPath().getName() for status in raw.listStatus(self._at(name))}
        checksums = {other for other in names if other.startswith(".") and other.endswith(".crc")}
        for orphan in (other for other in checksums if other[1:-4] not in names):
            raw.delete(self._at(f"{name}/{orphan}"), False)

    def remove(self) -> None:
        """Deletes the whole folder."""
        self._fs.delete(self._root, True)

    def delete(self, name: str) -> None:
        self._fs.delete(self._at(name), False)

    def _take_name(self, draft: str, name: str) -> bool:
        """Gives a draft its final name, unless that is taken. A rename of local files would replace what is there."""
        is_local = self._fs.getScheme() == "file"
        linked = (
            _linked(*(Path(str(self._fs.pathToFile(self._at(one)))) for one in (draft, name))) if is_local else None
        )
        if linked is not None:
            return linked
        return not self.exists(name) and bool(self._fs.rename(self._at(draft), self._at(name)))

    def _at(self, name: str) -> Any:
        return self._path(self._root, name) if name else self._root


def keep_private(spark: SparkSession, paths: Sequence[str]) -> None:
    """Only where driver and executors are one process: on a cluster, another user's executors may have to write there."""
    if str(spark.sparkContext.master).startswith("local"):
        for path in paths:
            Folder(spark, path).make_private()


def _linked(draft: Path, name: Path) -> bool | None:
    """Whether a file, and its checksum, got a second name; None where the file system has no links."""
    try:
        os.link(draft, name)
    except FileExistsError:
        return False
    except OSError:
        return None
    with suppress(OSError):  # a file without a checksum is read all the same
        checksum = name.with_name(f".{name.name}.crc")
        checksum.unlink(missing_ok=True)
        os.link(draft.with_name(f".{draft.name}.crc"), checksum)
    return True


def _info(status: Any) -> FileInfo:
    return FileInfo(status.getPath().getName(), status.getModificationTime(), status.getLen())
