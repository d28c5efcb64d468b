"""Answers kept in a file: read back, replaced, forgotten; a file that fails costs calls and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.core.enrichment.cache import Cache, Kept

NOW = 1_000_000.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lookups" / "rate-0.sqlite"


def test_what_was_kept_is_there_for_the_next_task(file: Path) -> None:
    with Cache(file, 10) as first:
        assert first.read(["EUR"], NOW) == {}
        first.write({"EUR": b'{"rate": 1}', "XXX": None}, NOW)
    with Cache(file, 10) as second:
        expected = {"EUR": Kept(b'{"rate": 1}', NOW), "XXX": Kept(None, NOW)}
        assert second.read(["EUR", "XXX", "USD"], NOW + 5) == expected
        second.write({"EUR": b'{"rate": 2}'}, NOW + 9)
        assert second.read(["EUR"], NOW + 9) == {"EUR": Kept(b'{"rate": 2}', NOW + 9)}


def test_keys_are_text_of_any_kind(file: Path) -> None:
    keys = ["", "'; DROP TABLE answers; --", '{"a": "\\u0000"}', "ключ", "a" * 10_000, "../..", "%_"]
    with Cache(file, 100) as cache:
        cache.write({key: str(number).encode() for number, key in enumerate(keys)}, NOW)
        assert cache.read(keys, NOW) == {key: Kept(str(n).encode(), NOW) for n, key in enumerate(keys)}


def test_those_that_were_not_used_for_longest_are_forgotten(file: Path) -> None:
    with Cache(file, 2) as cache:
        cache.write({"a": b"1"}, NOW)
        cache.write({"b": b"2"}, NOW + 1)
        cache.read(["a"], NOW + 2)
        cache.write({"c": b"3"}, NOW + 3)
        assert set(cache.read(["a", "b", "c"], NOW + 4)) == {"a", "c"}


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be read as one" * 9, b""])
def test_a_file_that_cannot_be_read_is_as_good_as_none(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    with Cache(file, 2) as cache:
        cache.write({"a": b"1"}, NOW)
        assert cache.read(["a"], NOW) == ({} if content else {"a": Kept(b"1", NOW)})


def test_a_folder_that_cannot_be_made_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with Cache(tmp_path / "taken" / "rate-0.sqlite", 2) as cache:
        cache.write({"a": b"1"}, NOW)
        assert cache.read(["a"], NOW) == {}
