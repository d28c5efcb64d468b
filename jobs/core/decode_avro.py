"""Avro records -> columns: the binary encoding of one datum, without a header, written with the schema that Spark's
`to_avro` derives from the same columns.

    column                  Avro
    BOOLEAN                 boolean
    TINYINT, SMALLINT, INT  int; beyond the column's bounds: OUT_OF_RANGE
    BIGINT                  long
    FLOAT, DOUBLE           float, double; NaN and infinities: OUT_OF_RANGE
    STRING, BINARY          string (UTF-8 without U+0000), bytes
    DECIMAL(p,s)            fixed of the fewest bytes that p digits fit into, decimal
    DATE                    int, date
    TIMESTAMP               long, timestamp-micros; with `timestamps: epoch_ms` timestamp-millis
    ARRAY, MAP, STRUCT      array, map, record
    nullable                a union of the type and null, in this order; NOT NULL: the type alone

A value that begins with the header of a schema registry (a zero byte, four of an id) is not this format. What is accepted
is strict where common readers are not: no numbers longer than they may be, no branch, length or count that cannot be.
There is no fast path yet; the seam for one is `Chunked`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import repeat

import pyarrow as pa

from jobs.core.decode_plan import (
    Array,
    DecodeSettings,
    Field,
    Map,
    Node,
    Reader,
    Rejection,
    Scalar,
    Struct,
    compile_schema,
)
from jobs.core.decode_rows import Chunked, Decoder, Row
from jobs.core.decode_scalars import DAY, bounds
from jobs.core.reasons import Reason

LONGEST = {32: 5, 64: 10}  # bytes of a number by its bits


def decoder(settings: DecodeSettings) -> Decoder:
    """Raises ValueError for columns that no record can have."""
    plan = compile_schema(settings)
    return Chunked(plan, None, AvroReader(plan, (settings.min_year, settings.max_year)))


class NotAvro(ValueError):
    """The bytes are no datum of this schema."""


@dataclass(frozen=True)
class AvroReader:
    """One record, carefully."""

    plan: Struct
    years: tuple[int, int]

    def __call__(self, value: bytes) -> Row | Rejection:
        if not value:
            return Rejection(Reason.MISSING_REQUIRED, "empty")
        datum = _Datum(value, bounds(*self.years))
        try:
            row = datum.record(self.plan, "$")
        except NotAvro as error:
            return Rejection(Reason.INVALID_TEXT if datum.text else Reason.MALFORMED, str(error))
        return datum.shape() or datum.reader.worst() or row


@dataclass
class _Datum:
    """Reads on from where it is; what does not fit its column is noted, and reading goes on."""

    data: bytes
    moments: tuple[int, int]  # microseconds since 1970: the first allowed, and the first no longer allowed
    at: int = 0
    text: bool = False  # a string was no text
    duplicate: bool = False  # a key of a map came twice
    reader: Reader = field(default_factory=Reader)

    def shape(self) -> Rejection | None:
        if self.text:
            return Rejection(Reason.INVALID_TEXT, "invalid UTF-8 or U+0000")
        if self.at < len(self.data):
            return Rejection(Reason.TRAILING_DATA, f"something follows byte {self.at}")
        return Rejection(Reason.DUPLICATE_KEY, "a key comes twice in one map") if self.duplicate else None

    def record(self, node: Struct, path: str) -> dict[str, object]:
        return {known.name: self._field(known, f"{path}.{known.name}") for known in node.fields}

    def _field(self, known: Field, path: str) -> object:
        if not known.nullable:
            return self._value(known.node, path)
        if self._there():
            return self._value(known.node, path)
        if known.required:
            self.reader.fault(Reason.MISSING_REQUIRED, path, "null")
        return None

    def _item(self, node: Node, path: str) -> object:
        return self._value(node, path) if self._there() else None

    def _there(self) -> bool:
        """Which branch of a union with null: the type, or null."""
        branch = self._long(32)
        if branch not in (0, 1):
            raise self._error("no such branch")
        return branch == 0

    def _value(self, node: Node, path: str) -> object:
        if isinstance(node, Struct):
            return self.record(node, path)
        if isinstance(node, Array):
            return [self._item(node.element, f"{path}[{number}]") for number, _ in enumerate(self._items())]
        if isinstance(node, Map):
            return self._map(node, path)
        assert isinstance(node, Scalar), "documents are of events alone, and those are JSON"
        return self._scalar(node, path)

    def _map(self, node: Map, path: str) -> object:
        members: dict[str, object] = {}
        for _ in self._items():
            key = self._string()
            self.duplicate |= key in members
            members[key] = self._item(node.value, f"{path}[*]")
        return list(members.items())

    def _items(self) -> Iterator[None]:
        """One for each item of the blocks that follow; each item takes a byte at least."""
        while count := self._long(64):
            if count < 0:
                self._long(64)  # the block's size in bytes, for those who skip it
            if abs(count) > len(self.data) - self.at:
                raise self._error("more items than bytes")
            yield from repeat(None, abs(count))

    def _scalar(self, node: Scalar, path: str) -> object:
        kind = node.arrow
        if pa.types.is_string(kind):
            return self._string()
        if pa.types.is_binary(kind):
            return self._take(self._long(64))
        if pa.types.is_boolean(kind):
            return self._boolean()
        value, fits = self._number(node, kind)
        if not fits:
            self.reader.fault(Reason.OUT_OF_RANGE, path, f"expected {node.name} within its bounds")
        return value if fits else None

    def _number(self, node: Scalar, kind: pa.DataType) -> tuple[object, bool]:
        """A number and whether it is within its column's bounds."""
        if pa.types.is_floating(kind):
            code, size = ("<f", 4) if kind == pa.float32() else ("<d", 8)
            real: float = struct.unpack(code, self._take(size))[0]
            return real, math.isfinite(real)
        if pa.types.is_decimal(kind):
            unscaled = int.from_bytes(self._take(fixed_size(kind.precision)), "big", signed=True)
            return unscaled_decimal(unscaled, kind.scale), abs(unscaled) < 10**kind.precision
        whole = self._long(64 if kind.bit_width == 64 else 32) * (1000 if node.times == "epoch_ms" else 1)
        low, high = self._bounds(kind)
        return whole, low <= whole < high

    def _bounds(self, kind: pa.DataType) -> tuple[int, int]:
        first, last = self.moments
        if pa.types.is_timestamp(kind):
            return first, last
        if pa.types.is_date(kind):
            return first // DAY, last // DAY
        return -(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1)

    def _boolean(self) -> bool:
        byte = self._take(1)
        if byte not in (b"\x00", b"\x01"):
            raise self._error("no boolean")
        return byte == b"\x01"

    def _string(self) -> str:
        data = self._take(self._long(64))
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = "\x00"
        self.text |= "\x00" in text
        return text

    def _long(self, bits: int) -> int:
        """Seven bits a byte, the lowest first; zigzag."""
        found = 0
        for number in range(LONGEST[bits]):
            byte = self._take(1)[0]
            found |= (byte & 0x7F) << (7 * number)
            if byte < 0x80 and found < 2**bits:
                return (found >> 1) ^ -(found & 1)
        raise self._error("a number that is too long")

    def _take(self, size: int) -> bytes:
        if not 0 <= size <= len(self.data) - self.at:
            raise self._error("the end")
        self.at += size
        return self.data[self.at - size : self.at]

    def _error(self, cause: str) -> NotAvro:
        return NotAvro(f"no datum of this schema: {cause} at byte {self.at}")


def fixed_size(precision: int) -> int:
    """The fewest bytes that so many digits fit into, with their sign."""
    return next(size for size in range(1, 17) if 2 ** (8 * size - 1) >= 10**precision)


def unscaled_decimal(unscaled: int, scale: int) -> Decimal:
    """Exact, whatever the context's precision."""
    sign, digits, _ = Decimal(unscaled).as_tuple()
    return Decimal((sign, digits, -scale))
