"""JSON records by msgspec, a chunk at a time, and the proof that it let nothing through.

How the proof goes, for records that msgspec decoded:
- Text: Arrow casts the chunk to UTF-8; a pattern finds the escapes of U+0000 and of surrogates.
- One record, one value: records are decoded as lines. Each begins with `{` and ends with `}`; a line feed within a
  string is an error, and `}` is never followed by `{` within a value, so every border is a border between values. As
  many values as lines means one in each.
- Keys: a key or a string costs two quotes that are not escaped. If a record holds just as many as the decoded fields
  need, it has no other key, neither unknown nor a second time, and so is no deeper than the schema.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from jobs.core.decode_build import Strings, measure, struct_builder
from jobs.core.decode_columns import merged, rows_where, texts
from jobs.core.decode_plan import Array, DecodeSettings, Map, Node, Struct
from jobs.core.decode_rows import Fast
from jobs.core.decode_scan import SPACE

GROUP = 16  # records tried at once where the chunk holds a bad one
UNFIT_ESCAPE = r"\\u(0000|[dD][89a-fA-F])"
PLAIN_NAME = re.compile(r'[^"\\\x00-\x1f]+')
MOST_LEARNT = 32

_any: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=len)  # only its shape counts: 1e999 is as good as any


def fast_path(plan: Struct, settings: DecodeSettings) -> FastPath | None:
    """None where msgspec cannot have the schema: names with quotes, or more levels than a record may have."""
    if levels(plan) > settings.max_depth:
        return None
    try:
        return FastPath(plan, settings)
    except ValueError:
        return None


def levels(node: Node) -> int:
    if isinstance(node, Struct):
        return 1 + max((levels(known.node) for known in node.fields), default=0)
    inner = node.element if isinstance(node, Array) else node.value if isinstance(node, Map) else None
    return 1 + levels(inner) if inner else 0


class FastPath:
    """A chunk -> the columns of the records that are proven, and which those are.

    Unknown fields that come often are learnt by name: then their strings are counted like all others.
    """

    def __init__(self, plan: Struct, settings: DecodeSettings) -> None:
        self._plan, self._settings = plan, settings
        self.learnt: list[str] = []
        self._compile()

    def _compile(self) -> None:
        years = (self._settings.min_year, self._settings.max_year)
        self._builder = struct_builder(self._plan, years, self.learnt, self._settings.max_depth - 1)
        self._decoder = msgspec.json.Decoder(self._builder.type, float_hook=len)

    def __call__(self, values: pa.Array) -> Fast:
        lines, records = shaped(values)
        joint = joined(lines)
        structs, failed = self._structs(joint, lines)
        if failed:
            lines = lines.filter(pa.array([row not in failed for row in range(len(records))], pa.bool_()))
            records = [record for row, record in enumerate(records) if row not in failed]
            joint = joined(lines)
        arrays, strings, bad = self._builder.columns(structs)
        doubtful = merged(bad, unfit(lines), self._unproven(joint, lines, strings))
        return Fast(arrays, records, frozenset(records[row] for row in doubtful))

    def _structs(self, joint: bytes, lines: pa.Array) -> tuple[list[Any], set[int]]:
        """The decoded records, and the rows that could not be."""
        found = self._lines(joint, len(lines))
        return (found, set()) if found is not None else self._groups(memoryview(joint), lines)

    def _lines(self, joint: bytes | memoryview, count: int) -> list[Any] | None:
        """None unless each line is one record."""
        try:
            found = self._decoder.decode_lines(joint)
        except Exception:
            return None
        return found if len(found) == count else None

    def _groups(self, joint: memoryview, lines: pa.Array) -> tuple[list[Any], set[int]]:
        starts, structs, failed = line_starts(lines), [], set()
        for first in range(0, len(lines), GROUP):
            last = min(first + GROUP, len(lines))
            found = self._lines(joint[starts[first] : starts[last] - 1], last - first)
            if found is not None:
                structs += found
                continue
            for row in range(first, last):
                one = self._lines(joint[starts[row] : starts[row + 1] - 1], 1)
                structs += one or []
                failed |= set() if one else {row}
        return structs, failed

    def _unproven(self, joint: bytes, lines: pa.Array, strings: Strings) -> list[int]:
        """Rows with more quotes than their fields need (or without any key), unless a full look finds no key twice."""
        needed = pc.multiply(strings, 2) if isinstance(strings, pa.Array) else pa.repeat(2 * strings, len(lines))
        if quotes(joint) == (pc.sum(needed).as_py() or 0) and (pc.min(needed).as_py() or 0) > 0:
            return []
        suspects = rows_where(pc.or_(pc.not_equal(pc.count_substring(lines, '"'), needed), pc.equal(needed, 0)))
        if len(suspects) > len(lines) // 8:
            self._learn(lines[suspects[0]].as_py())
        return [row for row in suspects if not self._proven(lines[row].as_py().encode(), needed[row].as_py())]

    def _proven(self, text: bytes, needed: int) -> bool:
        found = quotes(text)
        if found and found == needed:
            return True
        strings, depth = measure([_any.decode(text)])
        return found == 2 * strings > 0 and depth <= self._settings.max_depth

    def _learn(self, text: str) -> None:
        """Takes note of one record's unknown fields; from the next chunk on they are counted."""
        known = {*self.learnt, *(given.name for given in self._plan.fields)}
        unknown = [name for name in _any.decode(text) if name not in known and PLAIN_NAME.fullmatch(name)]
        if unknown and not self._plan.closed and len(self.learnt) + len(unknown) <= MOST_LEARNT:
            self.learnt += unknown
            self._compile()


def shaped(values: pa.Array) -> tuple[pa.Array, list[int]]:
    """The records that are text from `{` to `}`, without the space around, and which they are."""
    given = texts(values)
    fits = framed(given)
    if pc.all(fits).as_py():
        return given, list(range(len(values)))
    given = pc.utf8_trim(given, characters=SPACE)
    fits = framed(given)
    return given.filter(fits), rows_where(fits)


def framed(texts: pa.Array) -> pa.Array:
    return pc.fill_null(pc.and_(pc.starts_with(texts, "{"), pc.ends_with(texts, "}")), False)


def joined(texts: pa.Array) -> bytes:
    lists = pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts)
    lines: bytes = pc.binary_join(lists, "\n")[0].as_buffer().to_pybytes()
    return lines


def line_starts(texts: pa.Array) -> list[int]:
    """Where each line begins, and where the one after the last would."""
    lengths = pc.add(pc.binary_length(texts), 1)
    return [0, *pc.cumulative_sum(lengths).to_pylist()]


def unfit(texts: pa.Array) -> list[int]:
    """Rows with an escape of U+0000 or of a surrogate (a pair of them may be fine)."""
    return rows_where(pc.match_substring_regex(texts, UNFIT_ESCAPE))


def quotes(text: bytes) -> int:
    """Quotes that are not escaped, in JSON."""
    every = text.count(b'"')
    return every - escaped_quotes(text) if b"\\" in text else every


def escaped_quotes(text: bytes) -> int:
    count, skip = 0, False
    for part in text.split(b"\\")[1:]:  # what follows each backslash
        if skip or not part:  # nothing between two backslashes: the second one is what the first one escapes
            skip = not skip
        else:
            count += part.startswith(b'"')
    return count
