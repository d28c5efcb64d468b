"""The schema's tree -> a msgspec type, and how its values become Arrow columns.

Each builder also says how many strings a row's JSON has to hold, keys included. Twice that many quotes in the bytes
prove that there is no other key: none unknown, and none that came twice.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import accumulate, chain
from operator import attrgetter
from typing import Annotated, Any, NamedTuple, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from jobs.core import decode_columns
from jobs.core.decode_columns import Column, merged, rows_where
from jobs.core.decode_plan import Array, Document, Field, Map, Node, Scalar, Struct

Years = tuple[int, int]
Strings: TypeAlias = "int | pa.Array"  # for every row alike, or row by row
NULL = msgspec.Raw(b"null")
_any: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=float)
UNSET = msgspec.UNSET
PLAIN = {pa.bool_(): bool, pa.string(): str, pa.binary(): bytes}
QUOTED = (str, bytes)


class Built(NamedTuple):
    array: pa.Array
    bad: list[int]  # rows to be looked at one by one
    strings: Strings


class Builder(NamedTuple):
    type: Any  # msgspec's
    build: Callable[[list[Any]], Built]
    blank: Any  # what stands for null


def builder(node: Node, years: Years) -> Builder:
    if isinstance(node, Scalar):
        return _scalar(node, years)
    if isinstance(node, Array):
        element = builder(node.element, years)
        return Builder(list[_nullable(element)], _Lists(element, node.arrow).build, None)  # type: ignore[misc]
    if isinstance(node, Map):
        value = builder(node.value, years)
        return Builder(dict[str, _nullable(value)], _Maps(value, node.arrow).build, None)  # type: ignore[misc]
    if isinstance(node, Document):
        return Builder(msgspec.Raw, partial(_documents, node), NULL)
    structs = struct_builder(node, years)
    return Builder(structs.type, structs.build, None)


def _nullable(inner: Builder) -> Any:
    return inner.type if inner.blank is NULL else inner.type | None


def _scalar(node: Scalar, years: Years) -> Builder:
    if node.times == "epoch_ms":
        return _of_values(_integer(64), pa.int64(), lambda found: decode_columns.epoch_millis(found, years))
    if node.times == "epoch_s":
        return _of_written(lambda found: decode_columns.epoch_seconds(found, years))
    if node.times == "rfc3339":
        return _of_values(str, pa.string(), lambda found: decode_columns.moments(found, years))
    if pa.types.is_date(node.arrow):
        return _of_values(str, pa.string(), lambda found: decode_columns.dates(found, years))
    if pa.types.is_decimal(node.arrow):
        return _of_written(lambda found: decode_columns.decimals(found, node.arrow))
    if pa.types.is_floating(node.arrow):
        return _of_values(float, node.arrow, decode_columns.finite)
    kind = _integer(node.arrow.bit_width) if pa.types.is_integer(node.arrow) else PLAIN[node.arrow]
    return _of_values(kind, node.arrow, lambda found: Column(found, []))


def _integer(bits: int) -> Any:
    return Annotated[int, msgspec.Meta(ge=-(2 ** (bits - 1)), le=2 ** (bits - 1) - 1)]


def _of_values(kind: Any, first: pa.DataType, after: Callable[[pa.Array], Column]) -> Builder:
    """Values that msgspec has checked."""

    def build(items: list[Any]) -> Built:
        found = pa.array(items, first)
        return Built(*after(found), _valid(found) if kind in QUOTED else 0)

    return Builder(kind, build, None)


def _of_written(after: Callable[[pa.Array], Column]) -> Builder:
    """Numbers as they were written, so that none loses a digit."""

    def build(items: list[Any]) -> Built:
        texts = pa.array(list(map(bytes, items)), pa.binary()).cast(pa.string())
        nulls = pc.equal(texts, "null")
        return Built(*after(pc.if_else(nulls, None, texts) if pc.any(nulls).as_py() else texts), 0)

    return Builder(msgspec.Raw, build, NULL)


def _documents(node: Document, items: list[Any]) -> Built:
    """Texts as they were written; what is no object is left to the slow path."""
    values = list(map(_any.decode, items))
    bad = [row for row, value in enumerate(values) if type(value) is not dict]
    fields = [node.picked(value.get(node.field)) if type(value) is dict else None for value in values]
    texts = pa.array(list(map(bytes, items)), pa.binary()).cast(pa.string())
    array = pa.StructArray.from_arrays([texts, pa.array(fields, pa.string())], fields=list(node.arrow))
    return Built(array, bad, pa.array([_within(value, node.levels) for value in values], pa.int32()))


def _valid(found: pa.Array) -> Strings:
    return pc.cast(found.is_valid(), pa.int32()) if found.null_count else 1


def add(left: Strings, right: Strings) -> Strings:
    return left + right if isinstance(left, int) and isinstance(right, int) else pc.add(left, right)


@dataclass(frozen=True)
class _Nested:
    """Rows of many items: the items are built as one column, and cut again."""

    inner: Builder
    arrow: pa.DataType

    def _ends(self, items: list[Any]) -> list[int]:
        return [0, *accumulate(0 if item is None else len(item) for item in items)]

    def _offsets(self, items: list[Any], ends: list[int]) -> pa.Array:
        starts = [None if item is None else end for item, end in zip(items, ends)]
        return pa.array([*starts, ends[-1]], pa.int32())

    def _rows(self, bad: list[int], ends: list[int]) -> list[int]:
        return merged(bisect_right(ends, item) - 1 for item in bad)

    def _strings(self, inner: Strings, ends: list[int]) -> Strings:
        if isinstance(inner, int):
            totals: Sequence[int] = [inner * end for end in ends] if inner else []
        else:
            sums = [0, *accumulate(inner.to_pylist())]
            totals = [sums[end] for end in ends]
        return pa.array([after - before for before, after in zip(totals, totals[1:])], pa.int32()) if totals else 0


class _Lists(_Nested):
    def build(self, items: list[Any]) -> Built:
        ends = self._ends(items)
        inner = self.inner.build(list(chain.from_iterable(item for item in items if item is not None)))
        array = pa.ListArray.from_arrays(self._offsets(items, ends), inner.array, type=self.arrow)
        return Built(array, self._rows(inner.bad, ends), self._strings(inner.strings, ends))


class _Maps(_Nested):
    def build(self, items: list[Any]) -> Built:
        ends, given = self._ends(items), [item for item in items if item is not None]
        inner = self.inner.build(list(chain.from_iterable(item.values() for item in given)))
        keys = pa.array(list(chain.from_iterable(given)), pa.string())
        array = pa.MapArray.from_arrays(self._offsets(items, ends), keys, inner.array, type=self.arrow)
        return Built(array, self._rows(inner.bad, ends), self._strings(add(1, inner.strings), ends))


class Member(NamedTuple):
    get: Callable[[Any], Any]
    field: Field
    builder: Builder


@dataclass(frozen=True)
class StructBuilder:
    type: Any
    members: tuple[Member, ...]
    learnt: tuple[Callable[[Any], Any], ...]  # unknown fields, which are counted only
    levels: int  # that those may have
    blank: Any
    arrow: pa.DataType

    def build(self, items: list[Any]) -> Built:
        """A column of structs; `None` is a null."""
        if None not in items:
            arrays, strings, bad = self.columns(items)
            return Built(pa.StructArray.from_arrays(arrays, fields=list(self.arrow)), bad, strings)
        nulls = pa.array([item is None for item in items], pa.bool_())
        arrays, strings, bad = self.columns([self.blank if item is None else item for item in items])
        array = pa.StructArray.from_arrays(arrays, fields=list(self.arrow), mask=nulls)
        return Built(array, bad, pc.if_else(nulls, 0, strings))

    def columns(self, items: list[Any]) -> tuple[list[pa.Array], Strings, list[int]]:
        """One array a field, and the strings and bad rows of all."""
        built = [column(member, list(map(member.get, items))) for member in self.members]
        counts = [found.strings for found in built] + [
            counted(list(map(get, items)), self.levels) for get in self.learnt
        ]
        bad = [rows for found in built if (rows := found.bad)]
        return [found.array for found in built], reduce(add, counts, 0), merged(*bad) if bad else []


def column(member: Member, values: list[Any]) -> Built:
    """A field's column; its key counts as a string where it is there."""
    try:
        built, keys = member.builder.build(values), 1
    except Exception:
        there = [value is not UNSET for value in values]
        if all(there):
            raise
        built = member.builder.build([member.builder.blank if value is UNSET else value for value in values])
        keys = pa.array(there).cast(pa.int32())
    missing = rows_where(built.array.is_null()) if member.field.required and built.array.null_count else []
    return Built(built.array, merged(built.bad, missing) if missing else built.bad, add(keys, built.strings))


def counted(values: list[Any], levels: int) -> pa.Array:
    """The strings of an unknown field, its key included; too few where it is too deep, so that the record stands out."""
    return pa.array([_strings(value, levels) for value in values], pa.int32())


def _strings(value: Any, levels: int) -> int:
    if value is UNSET:
        return 0
    if type(value) not in (dict, list):
        return 1 + (type(value) is str)
    inside = _within(value, levels)
    return 1 + inside if inside >= 0 else -1


def _within(value: Any, levels: int) -> int:
    """The strings in a value; -1 where it is too deep."""
    if type(value) is dict and levels > 0:  # most have one level, and this is the quick way to see it
        kinds = [*map(type, value.values())]
        if dict not in kinds and list not in kinds:
            return len(value) + kinds.count(str)
    strings, depth = measure([value])
    return strings if depth <= levels else -1


def measure(values: list[Any]) -> tuple[int, int]:
    """How many strings there are, keys included, and how many levels."""
    strings, depth = 0, 0
    while values:
        objects = [value for value in values if type(value) is dict]
        lists = [value for value in values if type(value) is list]
        strings += sum(type(value) is str for value in values) + sum(map(len, objects))
        depth += bool(objects or lists)
        values = [*chain.from_iterable(value.values() for value in objects), *chain.from_iterable(lists)]
    return strings, depth


def struct_builder(node: Struct, years: Years, learnt: Sequence[str] = (), levels: int = 0) -> StructBuilder:
    """Raises ValueError where msgspec takes a name for no key (quotes, backslashes)."""
    names = [f"f{number}" for number in range(len(node.fields))]
    extra = [f"x{number}" for number in range(len(learnt))]
    builders = [builder(known.node, years) for known in node.fields]
    fields = [_member(name, known, inner) for name, known, inner in zip(names, node.fields, builders)]
    fields += [(name, Any, UNSET) for name in extra]
    renamed = dict(zip([*names, *extra], [*(known.name for known in node.fields), *learnt]))
    kind = msgspec.defstruct(
        "Record", fields, kw_only=True, gc=False, rename=renamed, forbid_unknown_fields=node.closed
    )
    members = tuple(Member(attrgetter(name), known, inner) for name, known, inner in zip(names, node.fields, builders))
    blank = kind(**{name: inner.blank for name, inner in zip(names, builders)})
    return StructBuilder(kind, members, tuple(map(attrgetter, extra)), levels, blank, node.arrow)


def _member(name: str, known: Field, inner: Builder) -> tuple[Any, ...]:
    if known.required:
        return name, inner.type
    return (name, _nullable(inner)) if known.present else (name, _nullable(inner), UNSET)
