"""CSV and raw records -> columns.

csv   one record a value (RFC 4180, a line feed alone will do), columns by position, flat types only. An empty field is null,
      quoted or not; fewer fields mean that the last ones are missing, more are TRAILING_DATA. Numbers, dates and times are read
      as in JSON (`core.decode_json`): `7.0` is no INT, `true` and `false` alone are BOOLEAN, BINARY is base64.
raw   the value itself, as the one column, STRING (UTF-8 without U+0000) or BINARY. Empty or blank, it is a value like any other
      unless the column is required.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import types as T

from jobs.core import decode_columns
from jobs.core.decode_columns import Column, cast, merged, rows_where, texts
from jobs.core.decode_plan import DecodeSettings, Reader, Rejection, Scalar, Struct, compile_schema
from jobs.core.decode_rows import Chunked, Decoder, Fast, Row
from jobs.core.decode_scalars import NOT_FINITE, NUMBER, Number
from jobs.core.decode_scan import SPACE
from jobs.core.reasons import Reason

FIELD = re.compile(r'(?:"([^"]*(?:""[^"]*)*)"|([^",\r\n]*))(,|\r?\n|\Z)')
WHOLE = r"^-?(0|[1-9][0-9]*)$"
WRITTEN_NUMBER = rf"^(?:{NUMBER.pattern})$"
BOM = "\ufeff"
NUL = "\x00"


def csv_decoder(settings: DecodeSettings) -> Decoder:
    """Raises ValueError for nested types."""
    plan = compile_schema(settings)
    for known in plan.fields:
        if not isinstance(known.node, Scalar):
            raise ValueError(f"column {known.name}: CSV has flat columns only")
    return Chunked(plan, CsvColumns(plan, (settings.min_year, settings.max_year)), CsvReader(plan))


def raw_decoder(settings: DecodeSettings) -> Decoder:
    """Raises ValueError unless the schema is one column, STRING or BINARY."""
    plan = compile_schema(settings)
    types = [known.dataType for known in settings.schema.fields]
    if len(types) != 1 or not isinstance(types[0], (T.StringType, T.BinaryType)):
        raise ValueError("a raw record is one column, STRING or BINARY")
    return Chunked(plan, RawColumn(plan), RawReader(plan))


class NotCsv(ValueError):
    """A quote where none may be, or none where one has to be."""


def fields(text: str) -> tuple[list[str], bool]:
    """The fields of the first line, and whether more lines follow. Raises NotCsv."""
    found: list[str] = []
    at = 0
    while True:
        field = FIELD.match(text, at)
        if field is None:
            raise NotCsv(f"not CSV from character {at} on")
        quoted, plain, end = field.groups()
        found.append(plain if quoted is None else quoted.replace('""', '"'))
        at = field.end()
        if end != ",":
            return found, at < len(text)


def scalar(node: Scalar, text: str) -> object:
    """What the text would be in JSON; an empty one is null."""
    if not text or isinstance(node.spark, T.StringType):
        return text or None
    if isinstance(node.spark, T.BooleanType) and text in ("true", "false"):
        return text == "true"
    return Number(text) if NUMBER.fullmatch(text) or text in NOT_FINITE else text


def decoded_text(value: bytes) -> str | Rejection:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        return Rejection(Reason.INVALID_TEXT, f"invalid UTF-8 at byte {error.start}")
    return Rejection(Reason.INVALID_TEXT, "U+0000") if NUL in text else text


@dataclass(frozen=True)
class CsvReader:
    """One record, carefully."""

    plan: Struct

    def __call__(self, value: bytes) -> Row | Rejection:
        text = decoded_text(value)
        if isinstance(text, Rejection):
            return text
        if not text.strip(SPACE):
            return Rejection(Reason.MISSING_REQUIRED, "empty")
        try:
            found, more = ([], False) if text.startswith(BOM) else fields(text)
        except NotCsv as error:
            return Rejection(Reason.MALFORMED, str(error))
        if not found:
            return Rejection(Reason.MALFORMED, "a byte order mark")
        if more or len(found) > len(self.plan.fields):
            return Rejection(
                Reason.TRAILING_DATA, "more lines" if more else f"more than {len(self.plan.fields)} fields"
            )
        return self._read(found)

    def _read(self, found: list[str]) -> Row | Rejection:
        reader = Reader()
        given = {known.name: _scalar(known.node, text) for known, text in zip(self.plan.fields, found)}
        row = reader.struct(self.plan, given, "$")
        return reader.worst() or row


def _scalar(node: object, text: str) -> object:
    assert isinstance(node, Scalar), "checked when the decoder was made"
    return scalar(node, text)


@dataclass(frozen=True)
class CsvColumns:
    """Many records: plain ones are split in Python, and read as whole columns."""

    plan: Struct
    years: tuple[int, int]

    def __call__(self, values: pa.Array) -> Fast:
        split = [*self._plain(texts(values).to_pylist())]
        if not split:
            return Fast([pa.nulls(0, known.node.arrow) for known in self.plan.fields], [])
        records = [record for record, _ in split]
        columns = [
            self._column(known.node, texts) for known, texts in zip(self.plan.fields, zip(*(row for _, row in split)))
        ]
        missing = [
            rows_where(column.array.is_null()) for known, column in zip(self.plan.fields, columns) if known.required
        ]
        bad = merged(*(column.bad for column in columns), *missing)
        return Fast([column.array for column in columns], records, frozenset(records[row] for row in bad))

    def _plain(self, given: list[str | None]) -> Iterator[tuple[int, list[str]]]:
        """Records that need no careful look at their quotes."""
        width = len(self.plan.fields)
        for record, text in enumerate(given):
            if text and not text.isspace() and text[0] != BOM and NUL not in text and '"' not in text:
                row = text.removesuffix("\n").removesuffix("\r").split(",")
                if len(row) == width and "\n" not in text[:-1] and "\r" not in text[:-2]:
                    yield record, row

    def _column(self, node: object, written: tuple[str, ...]) -> Column:
        assert isinstance(node, Scalar), "checked when the decoder was made"
        given = pa.array([text or None for text in written], pa.string())
        if isinstance(node.spark, T.StringType):
            return Column(given, [])
        return self._typed(node, given)

    def _typed(self, node: Scalar, given: pa.Array) -> Column:
        """Text that is not written as the type has to be is null, and bad."""
        fits = pc.match_substring_regex(given, pattern(node))
        unfit = rows_where(pc.invert(fits))
        found = self._read(node, pc.if_else(fits, given, None) if unfit else given)
        return Column(found.array, merged(found.bad, unfit))

    def _read(self, node: Scalar, given: pa.Array) -> Column:
        if isinstance(node.spark, T.DateType):
            return decode_columns.dates(given, self.years)
        if node.times == "epoch_ms":
            found = cast(given, pa.int64())
            times = decode_columns.epoch_millis(found.array, self.years)
            return Column(times.array, merged(found.bad, times.bad))
        if node.times:
            read = decode_columns.moments if node.times == "rfc3339" else decode_columns.epoch_seconds
            return read(given, self.years)
        if isinstance(node.spark, T.BinaryType):
            return Column(pa.array([text and node.read(text) for text in given.to_pylist()], pa.binary()), [])
        return _finite(cast(given, node.arrow))


def pattern(node: Scalar) -> str:
    """How a column's text is written in CSV."""
    if node.times == "epoch_ms" or pa.types.is_integer(node.arrow):
        return WHOLE
    if node.times == "epoch_s" or pa.types.is_floating(node.arrow) or pa.types.is_decimal(node.arrow):
        return WRITTEN_NUMBER
    return "^(true|false)$" if pa.types.is_boolean(node.arrow) else ""


def _finite(found: Column) -> Column:
    if not pa.types.is_floating(found.array.type):
        return found
    return Column(found.array, merged(found.bad, decode_columns.finite(found.array).bad))


@dataclass(frozen=True)
class RawReader:
    """One record, carefully."""

    plan: Struct

    def __call__(self, value: bytes) -> Row | Rejection:
        only = self.plan.fields[0]
        if only.required and not value.strip():
            return Rejection(Reason.MISSING_REQUIRED, f"$.{only.name}: empty")
        if pa.types.is_binary(only.node.arrow):
            return {only.name: value}
        text = decoded_text(value)
        return text if isinstance(text, Rejection) else {only.name: text}


@dataclass(frozen=True)
class RawColumn:
    """Many records: they are the column."""

    plan: Struct

    def __call__(self, values: pa.Array) -> Fast:
        only = self.plan.fields[0]
        binary = pa.types.is_binary(only.node.arrow)
        found = values if binary else texts(values)
        unfit = [] if binary else rows_where(pc.or_(found.is_null(), pc.fill_null(pc.match_substring(found, NUL), False)))
        blank = rows_where(pc.match_substring_regex(values, r"^\s*$")) if only.required else []
        return Fast([found], list(range(len(values))), frozenset(merged(unfit, blank)))
