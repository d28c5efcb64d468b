from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.core.events import keyset
from jobs.core.events.keyset import NONE, Damaged, Keys

WORD = st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1))
ENTRIES = st.lists(st.tuples(WORD, WORD, st.integers(1, 9)), max_size=30)


def keys(entries: list[tuple[int, int, int]]) -> Keys:
    columns = zip(*entries) if entries else ([], [], [])
    return Keys.of(*(np.array(list(column), kind) for column, kind in zip(columns, ("u8", "u8", "i8"))))


def asked(of: list[Keys], pairs: list[tuple[int, int]]) -> list[int]:
    halves = (np.array([pair[half] for pair in pairs], "u8") for half in (0, 1))
    found: list[int] = keyset.find(of, *halves).tolist()
    return found


@given(ENTRIES, ENTRIES, st.lists(st.tuples(WORD, WORD), max_size=20))
def test_a_key_is_found_with_its_highest_number(
    some: list[tuple[int, int, int]], more: list[tuple[int, int, int]], others: list[tuple[int, int]]
) -> None:
    highest: dict[tuple[int, int], int] = {}
    for high, low, number in [*some, *more]:
        highest[high, low] = max(number, highest.get((high, low), 0))
    pairs = [*highest, *others]
    wanted = [highest.get(pair, 0) for pair in pairs]
    assert asked([keys(some), keys(more)], pairs) == wanted
    assert asked([Keys.union([keys(some), keys(more)])], pairs) == wanted


def test_no_keys_have_no_number() -> None:
    assert asked([NONE], [(1, 1)]) == [0]
    assert asked([], [(1, 1)]) == [0]
    assert len(Keys.union([]).high) == 0


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    made = keys([(2, 1, 5), (2, 0, 3), (1, 9, 7)])
    (tmp_path / "k").write_bytes(keyset.encoded(made))
    for found in (keyset.mapped(tmp_path / "k"), keyset.verified(tmp_path / "k")):
        assert [part.tolist() for part in found] == [[1, 2, 2], [9, 0, 1], [7, 3, 5]]


@pytest.mark.parametrize("damage", [b"", b"short", slice(0, -8), slice(1, None)])
def test_a_file_that_was_cut_is_not_opened(tmp_path: Path, damage: bytes | slice) -> None:
    whole = keyset.encoded(keys([(2, 1, 5)]))
    (tmp_path / "k").write_bytes(whole[damage] if isinstance(damage, slice) else damage)
    with pytest.raises(Damaged, match="k: "):
        keyset.mapped(tmp_path / "k")


def test_a_file_of_another_kind_is_not_opened(tmp_path: Path) -> None:
    whole = keyset.encoded(keys([(2, 1, 5)]))
    (tmp_path / "k").write_bytes(whole[:4] + b"ELSE" + whole[8:])
    with pytest.raises(Damaged, match="40 bytes, and not what was written"):
        keyset.mapped(tmp_path / "k")


@pytest.mark.parametrize("at", range(8, 40))
def test_any_changed_byte_is_noticed(tmp_path: Path, at: int) -> None:
    whole = bytearray(keyset.encoded(keys([(2, 1, 5)])))
    whole[at] ^= 1
    (tmp_path / "k").write_bytes(whole)
    with pytest.raises(Damaged, match="does not match its checksum"):
        keyset.verified(tmp_path / "k")


@pytest.mark.long
def test_ten_million_keys_are_searched_about_as_fast_as_a_hundred_thousand(tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    took = {}
    for count in (100_000, 10_000_000):
        high, low = random.integers(0, 2**64, count, "u8"), random.integers(0, 2**64, count, "u8")
        (tmp_path / str(count)).write_bytes(keyset.encoded(Keys.of(high, low, np.ones(count, "i8"))))
        held, asked = keyset.mapped(tmp_path / str(count)), np.sort(random.choice(count, 50_000, replace=False))
        held.find(high[asked], low[asked])  # so that both are in memory
        began = time.perf_counter()
        assert held.find(high[asked], low[asked]).sum() == 50_000
        took[count] = time.perf_counter() - began
    assert took[10_000_000] < 20 * took[100_000], took
