"""Text columns -> typed Arrow columns, many rows a call; rows that do not fit are named, not raised.

Each function accepts only what `decode_scalars` accepts, with the same value. What it leaves out, the slow path judges.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from jobs.core.decode_scalars import DAY, DOUBLE_DIGITS, SECOND, bounds

MICROS = pa.timestamp("us", "UTC")
UTC_SUFFIX, SHORTEST_UTC = "Z", len("2026-11-24T10:00:00Z")
_DATE = (
    r"(\d{4}-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8]))"
    r"|(\d\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)"
)
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?"
ISO_DATE = rf"^{_DATE}$"
RFC3339 = rf"^{_DATE}[T ]{_TIME}(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$"
SHORT_NUMBER = r"^-?\d{1,17}(\.\d{1,17})?$"
FEW = 64  # rows worth a closer look together
MAX_DIGITS = 38  # of a decimal of 128 bits
MAX_EPOCH_S = 2**32  # up to here a double times a million is off by less than half a microsecond


class Column(NamedTuple):
    array: pa.Array
    bad: list[int]  # rows that the slow path has to look at


def cast(texts: pa.Array, target: pa.DataType, shape: str | None = None) -> Column:
    """Null where the text is none of the type. Halves what fails, down to few rows; those that do not have the `shape`
    are told from the others at once, and only what has the shape and still fails is halved to the end."""
    try:
        return Column(texts.cast(target), [])
    except pa.ArrowInvalid:
        if len(texts) == 1:
            return Column(pa.nulls(1, target), [0])
    if shape is None or len(texts) > FEW:
        return _halves(texts, target, shape)
    bad = [row for row, given in enumerate(texts.to_pylist()) if given is not None and not python(shape).match(given)]
    rest = cast(without(texts, bad), target)
    return Column(rest.array, merged(bad, rest.bad))


@lru_cache(maxsize=64)
def python(shape: str) -> re.Pattern[str]:
    """The shape for Python, which is faster for a few rows: Arrow compiles its patterns at every call."""
    return re.compile(shape.replace("$", r"\Z"), re.ASCII)


def _halves(texts: pa.Array, target: pa.DataType, shape: str | None) -> Column:
    half = len(texts) // 2
    left, right = cast(texts[:half], target, shape), cast(texts[half:], target, shape)
    return Column(pa.concat_arrays([left.array, right.array]), left.bad + [half + row for row in right.bad])


def shaped(texts: pa.Array, shape: str) -> Column:
    """Null where the text does not have the shape."""
    fits = pc.match_substring_regex(texts, shape)
    unfit = rows_where(pc.invert(fits))
    return Column(pc.if_else(fits, texts, None) if unfit else texts, unfit)


def unlike(texts: pa.Array, rows: list[int], shape: str) -> list[int]:
    """Those of the rows that do not have the shape."""
    if not rows:
        return []
    fits = pc.match_substring_regex(texts.take(pa.array(rows)), shape).to_pylist()
    return [row for row, fit in zip(rows, fits) if not fit]


def without(texts: pa.Array, rows: list[int]) -> pa.Array:
    """Null in those rows."""
    if not rows:
        return texts
    gone = {*rows}
    return pc.if_else(pa.array([row in gone for row in range(len(texts))], pa.bool_()), None, texts)


def rows_where(condition: pa.Array) -> list[int]:
    found: list[int] = pc.indices_nonzero(pc.fill_null(condition, False)).to_pylist()
    return found


def texts(values: pa.Array) -> pa.Array:
    """Bytes as text, null where they are not UTF-8."""
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        if len(values) <= FEW:
            return pa.array([text(value) for value in values.to_pylist()], pa.string())
    half = len(values) // 2
    return pa.concat_arrays([texts(values[:half]), texts(values[half:])])


def text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def decimals(numbers: pa.Array, target: pa.Decimal128Type) -> Column:
    """From JSON numbers as they were written; quotes and other signs do not cast.

    Arrow's own cast overflows in silence: long numbers wrap around, and 3.5e38 becomes a DECIMAL(38,0). So it only ever sees
    what fits into 38 digits; exponents are left to the slow path where a column has any.
    """
    whole, scale = target.precision - target.scale, target.scale
    digits = rf"[1-9]\d{{0,{whole - 1}}}|0" if whole else "0"
    shape = rf"^-?({digits})(\.\d{{1,{scale}}})?$" if scale else rf"^-?({digits})$"
    if (pc.max(pc.binary_length(numbers)).as_py() or 0) <= MAX_DIGITS - scale and not has_exponent(numbers):
        return cast(numbers, target, shape)
    given = shaped(numbers, shape)
    return Column(given.array.cast(target), given.bad)


def has_exponent(numbers: pa.Array) -> bool:
    """Looks at the bytes of them all at once, those of `null`s and of neighbours of a slice too."""
    data = numbers.buffers()[2]
    return data is not None and any(sign in data.to_pybytes() for sign in (b"e", b"E"))


def dates(texts: pa.Array, years: tuple[int, int]) -> Column:
    """From YYYY-MM-DD."""
    found = cast(texts, pa.date32(), ISO_DATE)
    low, high = bounds(*years)
    return _within(found, found.array.cast(pa.int32()), low // DAY, high // DAY)


def moments(texts: pa.Array, years: tuple[int, int]) -> Column:
    """From RFC 3339. Arrow also reads less (no seconds, `+02`), which the shape stops."""
    in_utc = pc.and_(pc.ends_with(texts, UTC_SUFFIX), pc.greater_equal(pc.binary_length(texts), SHORTEST_UTC))
    unfit = unlike(texts, rows_where(pc.invert(in_utc)), RFC3339)
    found = cast(without(texts, unfit), MICROS, RFC3339)
    return within_years(Column(found.array, merged(unfit, found.bad)), years)


def epoch_seconds(numbers: pa.Array, years: tuple[int, int]) -> Column:
    """From numbers no longer than a double's, up to the year 2106."""
    short = pc.less_equal(pc.binary_length(numbers), DOUBLE_DIGITS + 1)
    found = cast(pc.if_else(short, numbers, ""), pa.float64(), SHORT_NUMBER)
    near = pc.less(pc.abs(found.array), float(MAX_EPOCH_S))
    seconds = pc.if_else(near, found.array, None)
    micros = pc.round(pc.multiply(seconds, float(SECOND)), round_mode="half_to_even").cast(pa.int64()).cast(MICROS)
    return within_years(Column(micros, merged(found.bad, rows_where(pc.invert(near)))), years)


def epoch_millis(numbers: pa.Array, years: tuple[int, int]) -> Column:
    """From 64-bit integers."""
    low, high = (micros // 1000 for micros in bounds(*years))
    found = _within(Column(numbers, []), numbers, low, high)
    return Column(pc.multiply(found.array, 1000).cast(MICROS), found.bad)


def within_years(found: Column, years: tuple[int, int]) -> Column:
    return _within(found, found.array.cast(pa.int64()), *bounds(*years))


def finite(found: pa.Array) -> Column:
    return Column(found, rows_where(pc.invert(pc.is_finite(found))))


def _within(found: Column, numbers: pa.Array, low: int, high: int) -> Column:
    """The rows outside [low, high) are bad too, and null."""
    ends = pc.min_max(numbers)
    if not ends["min"].is_valid or (ends["min"].as_py() >= low and ends["max"].as_py() < high):
        return found
    inside = pc.and_(pc.greater_equal(numbers, low), pc.less(numbers, high))
    return Column(pc.if_else(inside, found.array, None), merged(found.bad, rows_where(pc.invert(inside))))


def merged(*rows: Iterable[int]) -> list[int]:
    """In order, each once."""
    return sorted({row for some in rows for row in some})
