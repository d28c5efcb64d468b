"""Answers kept in a file: read back, replaced, forgotten; a file that fails costs calls and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.core.enrichment.cache import Cache, Kept

NOW = 1_000_000.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lookups" / "rate-0.sqlite"


def known(cache: Cache, *keys: str, now: float = NOW, most: int = 1_000_000) -> dict[str, Kept | None]:
    return cache.read(keys, now, most)


def test_what_was_kept_is_there_for_the_next_task(file: Path) -> None:
    with Cache(file, 10) as first:
        assert known(first, "EUR") == {"EUR": None}
        first.write({"EUR": b'{"rate": 1}', "XXX": None}, NOW)
    with Cache(file, 10) as second:
        expected = {"EUR": Kept(b'{"rate": 1}', NOW), "XXX": Kept(None, NOW)}
        assert known(second, "EUR", "XXX", "USD", now=NOW + 5) == {**expected, "USD": None}
        second.write({"EUR": b'{"rate": 2}'}, NOW + 9)
        assert known(second, "EUR", now=NOW + 9) == {"EUR": Kept(b'{"rate": 2}', NOW + 9)}


def test_keys_are_text_of_any_kind(file: Path) -> None:
    keys = ["", "'; DROP TABLE answers; --", '{"a": "\\u0000"}', "ключ", "a" * 10_000, "../..", "%_"]
    with Cache(file, 100) as cache:
        cache.write({key: str(number).encode() for number, key in enumerate(keys)}, NOW)
        assert known(cache, *keys) == {key: Kept(str(n).encode(), NOW) for n, key in enumerate(keys)}


def test_those_that_were_not_used_for_longest_are_forgotten(file: Path) -> None:
    with Cache(file, 2) as first:
        first.write({"a": b"1"}, NOW)
        first.write({"b": b"2"}, NOW + 1)
        known(first, "a", now=NOW + 2)
        first.write({"c": b"3"}, NOW + 3)
    with Cache(file, 2) as second:
        assert [key for key, kept in known(second, "a", "b", "c", now=NOW + 4).items() if kept] == ["a", "c"]


def test_of_long_answers_a_part_is_read_at_a_time(file: Path) -> None:
    with Cache(file, 10) as cache:
        cache.write(dict.fromkeys("abcd", 100 * b"1"), NOW)
        read = [set(known(cache, *"axbcd", most=most)) for most in (1, 100, 101, 201, 400)]
    assert read == [{"a"}, {"a"}, {"a", "x", "b"}, {"a", "x", "b", "c"}, {*"axbcd"}]


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be read as one" * 9, b""])
def test_a_file_that_cannot_be_read_is_as_good_as_none(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    with Cache(file, 2) as cache:
        cache.write({"a": b"1"}, NOW)
        assert known(cache, "a") == {"a": None if content else Kept(b"1", NOW)}


def test_a_folder_that_cannot_be_made_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with Cache(tmp_path / "taken" / "rate-0.sqlite", 2) as cache:
        cache.write({"a": b"1"}, NOW)
        assert known(cache, "a") == {"a": None}
