"""Many 128-bit keys, each with a number above 0: sorted, in memory or mapped from a file, and looked up many at a time.

A look-up is a binary search: it touches as many pages of a file as there are keys asked for, however many keys it holds.

File, little-endian: `KEYS` and the number of keys (8 bytes), high halves (8 each), low halves (8 each), numbers (8 each), and
the CRC-32 of all that (8). It is written once, under a name of its own, and never changed.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MAGIC = int.from_bytes(b"KEYS", "little") << 32  # less than 2^32 keys in a file
WORD = 8
Words = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]


class Damaged(ValueError):
    """A file that is not as it was written."""


class Keys(NamedTuple):
    """Sorted by `high`, then `low`; no key twice."""

    high: Words
    low: Words
    number: Numbers

    @classmethod
    def of(cls, high: Words, low: Words, number: Numbers) -> Keys:
        """From any order; of a key that comes more often, the highest number stays."""
        order = np.lexsort((number, low, high))
        high, low, number = high[order], low[order], number[order]
        last = np.ones(len(high), bool)
        last[:-1] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
        return cls(high[last], low[last], number[last])

    @classmethod
    def union(cls, parts: Sequence[Keys]) -> Keys:
        """Of a key that several have, the highest number."""
        return cls.of(*(np.concatenate(columns) for columns in zip(*parts))) if parts else NONE

    def find(self, high: Words, low: Words) -> Numbers:
        """The number of each key; 0 where it is not there."""
        found = np.zeros(len(high), np.int64)
        asked = np.arange(len(high))
        at = np.searchsorted(self.high, high)
        while len(asked):
            inside = at < len(self.high)
            asked, at = asked[inside], at[inside]
            alike = self.high[at] == high[asked]
            asked, at = asked[alike], at[alike]
            same = self.low[at] == low[asked]
            found[asked[same]] = self.number[at[same]]
            asked, at = asked[~same], at[~same] + 1
        return found


NONE = Keys(np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.int64))


def find(parts: Iterable[Keys], high: Words, low: Words) -> Numbers:
    """The highest number that any of them has of each key."""
    found = np.zeros(len(high), np.int64)
    for part in parts:
        np.maximum(found, part.find(high, low), out=found)
    return found


def halves(digests: npt.NDArray[np.uint8]) -> tuple[Words, Words]:
    """Keys from the first 16 bytes of digests, a row each."""
    words = np.ascontiguousarray(digests[:, :16]).view(">u8").astype(np.uint64)
    return words[:, 0], words[:, 1]


def encoded(keys: Keys) -> bytes:
    """The file's content."""
    head = np.array([MAGIC | len(keys.high)], "<u8")
    body = b"".join(part.astype(f"<{part.dtype.kind}8").tobytes() for part in (head, *keys))
    return body + zlib.crc32(body).to_bytes(WORD, "little")


def mapped(path: Path) -> Keys:
    """The keys of a file, which is read as it is asked for. Raises Damaged for a size that cannot be."""
    with path.open("rb") as file:
        size = path.stat().st_size
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    return _parsed(content, size, path.name)


def verified(path: Path) -> Keys:
    """The same, after all of it was read. Raises Damaged, FileNotFoundError."""
    keys = mapped(path)
    content = path.read_bytes()
    if zlib.crc32(content[:-WORD]) != int.from_bytes(content[-WORD:], "little"):
        raise Damaged(f"{path.name}: its content does not match its checksum")
    return keys


def _parsed(content: bytes | mmap.mmap, size: int, name: str) -> Keys:
    head = int.from_bytes(content[:WORD], "little")
    count = head & 0xFFFFFFFF
    if head >> 32 << 32 != MAGIC or size != (3 * count + 2) * WORD:
        raise Damaged(f"{name}: {size} bytes, and not what was written")
    starts = [(1 + part * count) * WORD for part in range(3)]
    kinds = ("<u8", "<u8", "<i8")
    return Keys(*(np.frombuffer(content, kind, count, start) for kind, start in zip(kinds, starts)))
