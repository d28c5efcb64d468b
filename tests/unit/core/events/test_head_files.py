from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import fs

from jobs.core.events import head_files
from jobs.core.events.head_files import Known, digests, local
from jobs.core.events.keyset import Keys, encoded


def test_digests_are_read_from_a_slice_too() -> None:
    whole = pa.array([bytes([number]) * 32 for number in range(4)])
    assert digests(whole.slice(2, 1))[0].tolist() == [int.from_bytes(bytes([2]) * 8, "big")]
    assert len(digests(whole.slice(4))[0]) == 0


@pytest.mark.parametrize(
    ("uri", "path"),
    [("file:/a/b", "/a/b"), ("file:///a/b", "/a/b"), ("s3a://b/k", "s3://b/k"), ("hdfs://h:8020/a", "hdfs://h:8020/a")],
)
def test_folders_are_named_as_pyarrow_does(uri: str, path: str) -> None:
    assert local(uri) == path


def test_large_digests_are_read_alike() -> None:
    whole = pa.array([b"1" * 32, b"2" * 32])
    assert [half.tolist() for half in digests(whole.cast(pa.large_binary()))] == [
        half.tolist() for half in digests(whole)
    ]


def test_a_file_elsewhere_is_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file system, which is a folder here."""
    far, near = tmp_path / "far", tmp_path / "near"
    (far / "log").mkdir(parents=True)
    near.mkdir()
    one = np.ones(1, "u8")
    (far / "log" / "f.keys").write_bytes(encoded(Keys.of(one, one, np.array([7], "i8"))))
    elsewhere = fs.SubTreeFileSystem(str(far), fs.LocalFileSystem())
    asked = SimpleNamespace(from_uri=lambda uri: (elsewhere, "log"))
    fakes = {"FileSystem": asked, "LocalFileSystem": fs.LocalFileSystem, "copy_files": fs.copy_files}
    monkeypatch.setattr(head_files, "fs", SimpleNamespace(**fakes))
    monkeypatch.setattr(head_files.tempfile, "gettempdir", lambda: str(near))
    (keys,) = Known("far://log", 1, {0: ("f.keys",)}).of(0)
    assert keys.find(one, one).tolist() == [7]
    shutil.rmtree(far)
    assert head_files._fetched("far://log", "f.keys").exists()
