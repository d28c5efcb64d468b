from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.core.files import Folder


def test_a_file_is_written_once_and_read_back(spark: SparkSession, tmp_path: Path) -> None:
    folder = Folder(spark, str(tmp_path / "new"))
    assert not folder.exists() and folder.list() == []
    folder.write("b", "über\n")
    folder.write("a", "")
    assert [info.name for info in folder.list()] == ["a", "b"]
    assert folder.read("b") == "über\n"


def test_an_existing_file_is_not_replaced_and_no_draft_stays(spark: SparkSession, tmp_path: Path) -> None:
    folder = Folder(spark, str(tmp_path))
    folder.write("a", "first")
    with pytest.raises(FileExistsError, match="/a$"):
        folder.write("a", "second")
    assert folder.read("a") == "first"
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".crc")] == ["a"]


def test_a_name_that_is_taken_in_that_very_moment_is_not_replaced(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(spark, str(tmp_path))
    folder.write("a", "first")
    monkeypatch.setattr(Folder, "exists", lambda *_: False)  # what a look just before it would have said
    with pytest.raises(FileExistsError):
        folder.write("a", "second")
    assert folder.read("a") == "first"


def test_a_file_system_without_links_takes_a_rename(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr("os.link", refuse)
    folder = Folder(spark, str(tmp_path))
    folder.write("a", "first")
    with pytest.raises(FileExistsError):
        folder.write("a", "second")
    assert folder.read("a") == "first"


def test_a_file_may_be_written_over(spark: SparkSession, tmp_path: Path) -> None:
    folder = Folder(spark, str(tmp_path))
    folder.replace("a", "first")
    folder.replace("a", "second")
    assert folder.read("a") == "second"


def test_a_private_folder_is_its_owner_s_alone_and_one_that_is_there_stays(spark: SparkSession, tmp_path: Path) -> None:
    new, own = tmp_path / "a" / "new", tmp_path / "own"
    own.mkdir()
    own.chmod(0o750)
    for path in (new, own):
        Folder(spark, str(path)).make_private()
    assert [path.stat().st_mode & 0o777 for path in (new, own)] == [0o700, 0o750]


def test_a_deleted_file_is_gone(spark: SparkSession, tmp_path: Path) -> None:
    folder = Folder(spark, str(tmp_path))
    folder.write("a", "x")
    folder.delete("a")
    assert not folder.exists("a")


def test_a_folder_is_moved_or_copied_whole_and_never_over_another(spark: SparkSession, tmp_path: Path) -> None:
    folder, copy, moved = Folder(spark, str(tmp_path / "a")), tmp_path / "b", tmp_path / "c"
    folder.write("x", "1")
    folder.copy_to(str(copy))
    for act in (folder.copy_to, folder.move_to):
        with pytest.raises(FileExistsError, match="/b$"):
            act(str(copy))
    folder.move_to(str(moved))
    assert [Folder(spark, str(path)).read("x") for path in (copy, moved)] == ["1", "1"]
    assert not folder.exists()


def test_only_checksums_without_a_file_are_dropped(spark: SparkSession, tmp_path: Path) -> None:
    folder = Folder(spark, str(tmp_path))
    for name in ("kept", "gone"):
        Folder(spark, str(tmp_path / "sub")).write(name, name)
    (tmp_path / "sub" / "gone").unlink()
    folder.drop_orphans("sub")
    folder.drop_orphans("none")
    assert sorted(path.name for path in (tmp_path / "sub").iterdir()) == [".kept.crc", "kept"]


def test_a_folder_is_removed_with_all_that_is_in_it(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "old" / "deep").mkdir(parents=True)
    folder = Folder(spark, str(tmp_path / "old"))
    folder.write("a", "x")
    folder.remove()
    folder.remove()  # it is gone already
    assert list(tmp_path.iterdir()) == []
