"""CSV and raw records -> columns.

csv   one record a value (RFC 4180, a line feed alone will do), columns by position, flat types only. An empty field is
      null, quoted or not; fewer fields mean that the last ones are missing, more are TRAILING_DATA. Numbers, dates and
      times are read as in JSON (`core.decode_json`): `7.0` is no INT, `true` and `false` alone are BOOLEAN, BINARY is
      base64.
raw   the value itself, as the one column, STRING (UTF-8 without U+0000) or BINARY. Empty or blank, it is a value like
      any other unless the column is required.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import types as T

from jobs.core import decode_columns
from jobs.core.decode_columns import Column, cast, merged, rows_where, texts
from jobs.core.decode_plan import DecodeSettings, Field, Reader, Rejection, Scalar, Struct, compile_schema
from jobs.core.decode_rows import Chunked, Decoder, Fast, Row
from jobs.core.decode_scalars import NOT_FINITE, NUMBER, Number
from jobs.core.decode_scan import SPACE
from jobs.core.reasons import Reason

FIELD = re.compile(r'(?:"([^"]*(?:""[^"]*)*)"|([^",\r\n]*))(,|\r?\n|\Z)')
WHOLE = r"^-?(0|[1-9][0-9]*)$"
WRITTEN_NUMBER = rf"^(?:{NUMBER.pattern})$"
BOOLEAN = "^(true|false)$"
BLANK = rf"^[{SPACE}]*$"
BOM = "\ufeff"
NUL = "\x00"


class NotCsv(ValueError):
    """A quote where none may be, or none where one has to be."""


@dataclass(frozen=True)
class Flat:
    """The schema's columns, none of them nested."""

    plan: Struct
    fields: tuple[tuple[Field, Scalar], ...]


def csv_decoder(settings: DecodeSettings) -> Decoder:
    """Raises ValueError for nested types."""
    flat = flat_columns(compile_schema(settings))
    return Chunked(flat.plan, CsvColumns(flat, (settings.min_year, settings.max_year)), CsvReader(flat))


def flat_columns(plan: Struct) -> Flat:
    scalars = tuple((known, known.node) for known in plan.fields if isinstance(known.node, Scalar))
    nested = {known.name for known in plan.fields} - {known.name for known, _ in scalars}
    if nested:
        raise ValueError(f"column {min(nested)}: CSV has flat columns only")
    return Flat(plan, scalars)


def raw_decoder(settings: DecodeSettings) -> Decoder:
    """Raises ValueError unless the schema is one column, STRING or BINARY."""
    plan = compile_schema(settings)
    types = [known.dataType for known in settings.schema.fields]
    if len(types) != 1 or not isinstance(types[0], (T.StringType, T.BinaryType)):
        raise ValueError("a raw record is one column, STRING or BINARY")
    return Chunked(plan, RawColumn(plan.fields[0]), RawReader(plan.fields[0]))


def split(text: str) -> tuple[list[str], bool]:
    """The fields of the first line, and whether more follows it. Raises NotCsv."""
    found: list[str] = []
    at = 0
    while True:
        field = FIELD.match(text, at)
        if field is None or text.startswith(BOM):
            raise NotCsv(f"no CSV from character {at} on")
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


def as_text(value: bytes) -> str | Rejection:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        return Rejection(Reason.INVALID_TEXT, f"invalid UTF-8 at byte {error.start}")
    return Rejection(Reason.INVALID_TEXT, "U+0000") if NUL in text else text


@dataclass(frozen=True)
class CsvReader:
    """One record, carefully."""

    flat: Flat

    def __call__(self, value: bytes) -> Row | Rejection:
        text = as_text(value)
        if isinstance(text, Rejection):
            return text
        if not text.strip(SPACE):
            return Rejection(Reason.MISSING_REQUIRED, "empty")
        try:
            found, more = split(text)
        except NotCsv as error:
            return Rejection(Reason.MALFORMED, str(error))
        if more or len(found) > len(self.flat.fields):
            return Rejection(Reason.TRAILING_DATA, f"one line of {len(self.flat.fields)} fields, and more")
        return self._read(found)

    def _read(self, found: Sequence[str]) -> Row | Rejection:
        reader = Reader()
        given = {known.name: scalar(node, text) for (known, node), text in zip(self.flat.fields, found)}
        row = reader.struct(self.flat.plan, given, "$")
        return reader.worst() or row


@dataclass(frozen=True)
class CsvColumns:
    """Many records: those without quotes are split in Python, and read as whole columns."""

    flat: Flat
    years: tuple[int, int]

    def __call__(self, values: pa.Array) -> Fast:
        rows = dict(self._plain(texts(values).to_pylist()))
        written = list(zip(*rows.values())) or [()] * len(self.flat.fields)
        columns = [self._column(node, column) for (_, node), column in zip(self.flat.fields, written)]
        nulls = [
            rows_where(found.array.is_null()) for (known, _), found in zip(self.flat.fields, columns) if known.required
        ]
        records, bad = list(rows), merged(*(column.bad for column in columns), *nulls)
        return Fast([column.array for column in columns], records, frozenset(records[row] for row in bad))

    def _plain(self, given: list[str | None]) -> Iterator[tuple[int, list[str]]]:
        """Records that need no careful look at their quotes, split."""
        for record, text in enumerate(given):
            if text is not None and not text.isspace() and not any(sign in text for sign in (BOM, NUL, '"')):
                line = text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")
                row = line.split(",")
                if len(row) == len(self.flat.fields) and line and "\n" not in line and "\r" not in line:
                    yield record, row

    def _column(self, node: Scalar, written: Sequence[str]) -> Column:
        """Text that is not written as the type has to be is null, and bad."""
        given = Column(pa.array([text or None for text in written], pa.string()), [])
        if shape := pattern(node):
            given = decode_columns.shaped(given.array, shape)
        found = self._typed(node, given.array)
        return Column(found.array, merged(given.bad, found.bad))

    def _typed(self, node: Scalar, given: pa.Array) -> Column:
        if node.times == "epoch_ms":
            numbers = cast(given, pa.int64())
            found = decode_columns.epoch_millis(numbers.array, self.years)
            return Column(found.array, merged(numbers.bad, found.bad))
        if node.times:
            read = decode_columns.moments if node.times == "rfc3339" else decode_columns.epoch_seconds
            return read(given, self.years)
        if pa.types.is_date(node.arrow):
            return decode_columns.dates(given, self.years)
        if pa.types.is_decimal(node.arrow):
            return decode_columns.decimals(given, node.arrow)
        if pa.types.is_binary(node.arrow):
            return Column(pa.nulls(len(given), node.arrow), rows_where(given.is_valid()))  # base64: one by one
        found = cast(given, node.arrow)
        unfit = decode_columns.finite(found.array).bad if pa.types.is_floating(node.arrow) else []
        return Column(found.array, merged(found.bad, unfit))


def pattern(node: Scalar) -> str | None:
    """How a column is written, where Arrow would read more."""
    if node.times == "epoch_ms" or pa.types.is_integer(node.arrow):
        return WHOLE
    if node.times == "epoch_s" or pa.types.is_floating(node.arrow):
        return WRITTEN_NUMBER
    return BOOLEAN if pa.types.is_boolean(node.arrow) else None


@dataclass(frozen=True)
class RawReader:
    """One record, carefully."""

    only: Field

    def __call__(self, value: bytes) -> Row | Rejection:
        if self.only.required and not value.strip(SPACE.encode()):
            return Rejection(Reason.MISSING_REQUIRED, f"$.{self.only.name}: empty")
        found = value if pa.types.is_binary(self.only.node.arrow) else as_text(value)
        return found if isinstance(found, Rejection) else {self.only.name: found}


@dataclass(frozen=True)
class RawColumn:
    """Many records: they are the column."""

    only: Field

    def __call__(self, values: pa.Array) -> Fast:
        blank = rows_where(pc.match_substring_regex(values, BLANK)) if self.only.required else []
        if pa.types.is_binary(self.only.node.arrow):
            return Fast([values], list(range(len(values))), frozenset(blank))
        found = texts(values)
        unfit = rows_where(pc.or_kleene(found.is_null(), pc.match_substring(found, NUL)))
        return Fast([found], list(range(len(values))), frozenset(merged(blank, unfit)))
