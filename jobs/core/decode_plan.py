"""What a decoder has to know: the settings, the schema as a tree of nodes, and how a scanned value is read by it.

A fault is a Rejection: a reason and a detail that names the place and the type expected, never the payload.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import pyarrow as pa
from pyspark.sql import types as T

from jobs.core import decode_scalars as scalars
from jobs.core.decode_scalars import Number, Read, Unfit
from jobs.core.reasons import Apart, Reason

MAX_DETAIL = 200
DOCUMENT = pa.struct([("text", pa.string()), ("field", pa.string())])
Times = Literal["rfc3339", "epoch_s", "epoch_ms"]


@dataclass(frozen=True)
class DecodeSettings:
    """How records are decoded; travels to the executors."""

    format: str  # json, csv, raw, avro
    schema: T.StructType
    required: tuple[str, ...] = ()
    nullable: Literal["implicit", "explicit"] = "implicit"
    unknown_fields: Literal["allow", "reject"] = "allow"
    timestamps: Times | Mapping[str, Times] = "rfc3339"  # for all, or by column; columns not named are rfc3339
    min_year: int = 1970
    max_year: int = 2200
    event_time: str | None = None
    max_future: float = 3600.0  # seconds
    max_record_bytes: int = 1 << 20
    max_depth: int = 64
    max_lateness: float | None = None  # seconds; in a plan that is told its batches' watermark, which is as far behind

    def __hash__(self) -> int:
        return hash((self.format, self.schema.json(), self.required, self.event_time))

    def times(self, column: str) -> Times:
        return self.timestamps if isinstance(self.timestamps, str) else self.timestamps.get(column, "rfc3339")


class Rejection(NamedTuple):
    reason: Reason
    detail: str


class Aside(NamedTuple):
    """A record without fault that is no dead letter, either."""

    reason: Apart
    detail: str


@dataclass(frozen=True)
class Scalar:
    name: str  # as in a detail
    spark: T.DataType
    times: Times | None
    read: Read
    arrow: pa.DataType


@dataclass(frozen=True)
class Array:
    element: Node
    arrow: pa.DataType
    name: str = "array"


@dataclass(frozen=True)
class Map:
    value: Node
    arrow: pa.DataType
    name: str = "object"


@dataclass(frozen=True)
class Field:
    name: str
    node: Node
    required: bool  # not null
    present: bool  # the key has to be there, if only with a null
    nullable: bool  # as the schema has it


@dataclass(frozen=True)
class Struct:
    fields: tuple[Field, ...]
    closed: bool  # no other field may come
    arrow: pa.DataType
    name: str = "object"


@dataclass(frozen=True)
class Document:
    """Any object, kept as its text, beside one of its fields as a text: a string, or an integer of 64 bits."""

    field: str
    levels: int  # that it may have, itself included
    arrow: pa.DataType = DOCUMENT
    name: str = "object"

    def picked(self, value: object) -> str | None:
        """The field, where it is such a one."""
        whole = type(value) is int and -(2**63) <= value < 2**63
        return str(value) if whole or type(value) is str else None


Node = Scalar | Array | Map | Struct | Document


def compile_schema(settings: DecodeSettings) -> Struct:
    """The schema's tree. Raises ValueError for a type that no decoder knows."""
    return _Compiler(settings).struct(settings.schema, None)


@dataclass(frozen=True)
class _Compiler:
    settings: DecodeSettings

    def struct(self, schema: T.StructType, column: str | None) -> Struct:
        required = self.settings.required if column is None else ()
        explicit = self.settings.nullable == "explicit"
        fields = tuple(
            Field(
                given.name, self.node(given.dataType, column or given.name), needed, needed or explicit, given.nullable
            )
            for given in schema.fields
            for needed in [given.name in required or not given.nullable]
        )
        arrow = pa.struct([pa.field(given.name, given.node.arrow) for given in fields])
        return Struct(fields, self.settings.unknown_fields == "reject", arrow)

    def node(self, given: T.DataType, column: str) -> Node:
        if isinstance(given, T.StructType):
            return self.struct(given, column)
        if isinstance(given, T.ArrayType):
            element = self.node(given.elementType, column)
            return Array(element, pa.list_(element.arrow))
        if isinstance(given, T.MapType):
            if not isinstance(given.keyType, T.StringType):
                raise ValueError(f"column {column}: keys of a map are STRING, not {given.keyType.simpleString()}")
            value = self.node(given.valueType, column)
            return Map(value, pa.map_(pa.string(), value.arrow))
        return self._scalar(given, column)

    def _scalar(self, given: T.DataType, column: str) -> Scalar:
        name, years = given.simpleString(), (self.settings.min_year, self.settings.max_year)
        if isinstance(given, T.TimestampType):
            times = self.settings.times(column)
            return Scalar(f"{name} ({times})", given, times, scalars.moment(times, *years), pa.timestamp("us", "UTC"))
        if isinstance(given, T.DateType):
            return Scalar(f"{name} (YYYY-MM-DD)", given, None, scalars.day(*years), pa.date32())
        if isinstance(given, T.DecimalType):
            size = (given.precision, given.scale)
            return Scalar(name, given, None, scalars.decimal(*size), pa.decimal128(*size))
        if type(given) not in PLAIN:
            raise ValueError(f"column {column}: type {name} cannot be decoded")
        read, arrow = PLAIN[type(given)]
        return Scalar(name, given, None, read, arrow)


def _whole(bits: int) -> Read:
    return scalars.whole(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


PLAIN: dict[type[T.DataType], tuple[Read, pa.DataType]] = {
    T.ByteType: (_whole(8), pa.int8()),
    T.ShortType: (_whole(16), pa.int16()),
    T.IntegerType: (_whole(32), pa.int32()),
    T.LongType: (_whole(64), pa.int64()),
    T.FloatType: (scalars.single, pa.float32()),
    T.DoubleType: (scalars.double, pa.float64()),
    T.BooleanType: (scalars.boolean, pa.bool_()),
    T.StringType: (scalars.string, pa.string()),
    T.BinaryType: (scalars.binary, pa.binary()),
}


@dataclass
class Reader:
    """Reads scanned values by the schema's tree, and collects every fault."""

    faults: list[Rejection] = field(default_factory=list)

    def worst(self) -> Rejection | None:
        """The fault whose reason comes first in the order of reasons."""
        order = list(Reason)
        return min(self.faults, key=lambda fault: order.index(fault.reason), default=None)

    def read(self, node: Node, value: object, path: str) -> object:
        """The value for Arrow, or None and a fault."""
        if value is None:
            return None
        if isinstance(node, Scalar):
            return self._scalar(node, value, path)
        if isinstance(node, Array) and isinstance(value, list):
            return [self.read(node.element, item, f"{path}[{number}]") for number, item in enumerate(value)]
        if isinstance(node, Map) and isinstance(value, dict):
            return [(key, self.read(node.value, item, f"{path}[*]")) for key, item in value.items()]
        if isinstance(node, Struct) and isinstance(value, dict):
            return self.struct(node, value, path)
        if isinstance(node, Document) and isinstance(value, dict):
            return {"text": None, "field": node.picked(_plain(value.get(node.field)))}
        self.fault(Reason.WRONG_TYPE, path, f"expected {node.name}, found {kind(value)}")
        return None

    def struct(self, node: Struct, given: Mapping[str, object], path: str) -> dict[str, object]:
        if node.closed:
            for name in given.keys() - {known.name for known in node.fields}:
                self.fault(Reason.WRONG_TYPE, path, f"unknown field {name[:60]!a}")
        return {known.name: self._field(known, given, f"{path}.{known.name}") for known in node.fields}

    def _field(self, known: Field, given: Mapping[str, object], path: str) -> object:
        value = given.get(known.name)
        if value is None and (known.required or (known.present and known.name not in given)):
            near = any(name.lower() == known.name.lower() for name in given if name != known.name)
            state = "null" if known.name in given else "missing; a key differs in case only" if near else "missing"
            self.fault(Reason.MISSING_REQUIRED, path, state)
            return None
        return self.read(known.node, value, path)

    def _scalar(self, node: Scalar, value: object, path: str) -> object:
        try:
            return node.read(value)
        except Unfit as unfit:
            state = f", found {kind(value)}" if unfit.reason is Reason.WRONG_TYPE else " within its bounds"
            self.fault(unfit.reason, path, f"expected {node.name}{state}")
            return None

    def fault(self, reason: Reason, path: str, cause: str) -> None:
        """Takes note of one, without the payload."""
        self.faults.append(Rejection(reason, f"{path}: {cause}"[:MAX_DETAIL]))


def _plain(value: object) -> object:
    """A whole number that is written as one as an int; anything else as it is."""
    digits = isinstance(value, Number) and value.lstrip("-").isdigit() and len(value) <= 20
    return int(value) if digits else value  # type: ignore[call-overload]


def kind(value: object) -> str:
    """What a scanned value is, in JSON's words."""
    if isinstance(value, bool):
        return "boolean"
    names: dict[type, str] = {Number: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")
