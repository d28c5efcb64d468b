from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from jobs.core import decode_columns as columns
from jobs.core.decode_columns import Column

YEARS = (1970, 2200)
MICROS = pa.timestamp("us", "UTC")


def read(found: Column) -> tuple[list[Any], list[int]]:
    kind = found.array.type
    plain = pa.int64() if pa.types.is_timestamp(kind) else pa.int32() if pa.types.is_date(kind) else kind
    return found.array.cast(plain).to_pylist(), found.bad


def texts(*given: str | None) -> pa.Array:
    return pa.array(given, pa.string())


def test_a_cast_names_the_rows_that_fail_and_keeps_the_others() -> None:
    given = texts(*("1", "x", "3", None, "5", "6", "y"))
    assert read(columns.cast(given, pa.int64())) == ([1, None, 3, None, 5, 6, None], [1, 6])
    assert read(columns.cast(given, pa.int64(), "^[0-9]$")) == ([1, None, 3, None, 5, 6, None], [1, 6])


def test_text_that_is_not_utf8_is_null() -> None:
    assert columns.texts(pa.array([b"a", b"\xff", "é".encode()])).to_pylist() == ["a", None, "é"]


@pytest.mark.parametrize("others", [[], ["1e1"], ["0.5" + "0" * 40]])
def test_decimals_are_exact_or_bad(others: list[str]) -> None:
    given = ["9.5", "-0.05", None, "9.555", "99999999.99", "100000000", '"1"', "true", *others]
    money = [Decimal("9.50"), Decimal("-0.05"), None, None, Decimal("99999999.99"), None, None, None]
    found = read(columns.decimals(texts(*given), pa.decimal128(10, 2)))
    assert found == (money + [None] * len(others), [3, 5, 6, 7, *range(8, 8 + len(others))])


def test_long_numbers_that_arrow_would_wrap_around_are_bad() -> None:
    given = texts("1" + "0" * 400, "340282366920938463463374607431768211457", "12345678901234567890")
    assert read(columns.decimals(given, pa.decimal128(38, 20))) == ([None] * 3, [0, 1, 2])
    assert read(columns.decimals(given, pa.decimal128(38, 18)))[1] == [0, 1]


def test_dates_have_to_exist_within_the_years() -> None:
    given = texts("1970-01-01", "2024-02-29", "2023-02-29", "1969-12-31", "2026-11-3", None)
    assert read(columns.dates(given, YEARS)) == ([0, 19782, None, None, None, None], [2, 3, 4])


def test_moments_have_seconds_and_a_zone() -> None:
    given = texts("1970-01-01T00:00:01Z", "1970-01-01T01:00:00.5+01:00", "1970-01-01T00Z", "1970-01-01T00:00:00", None)
    assert read(columns.moments(given, YEARS)) == ([1_000_000, 500_000, None, None, None], [2, 3])


@pytest.mark.parametrize("bad", ["1970-01-01T00:00+00:00", "1970-01-01T00:00:00+01", "1970-01-01T00:00:00+0100", "00Z"])
def test_what_arrow_reads_beyond_rfc3339_is_bad(bad: str) -> None:
    assert read(columns.moments(texts("1970-01-01T00:00:00Z", bad), YEARS)) == ([0, None], [1])


def test_epoch_seconds_up_to_the_length_and_size_of_a_double() -> None:
    given = texts("1.5", "1700000000.123456", "1700000000.12345678", "4294967296", "1e400", "x", "-1", None)
    seconds = [1_500_000, 1700000000_123456, None, None, None, None, None, None]
    assert read(columns.epoch_seconds(given, YEARS)) == (seconds, [2, 3, 4, 5, 6])


def test_epoch_millis_are_bounded_before_they_are_multiplied() -> None:
    given = pa.array([1, -1, 2**62, None], pa.int64())
    assert read(columns.epoch_millis(given, YEARS)) == ([1000, None, None, None], [1, 2])


def test_floats_are_finite() -> None:
    assert columns.finite(pa.array([1.0, float("inf"), None])).bad == [1]


def test_nothing_is_a_column_too() -> None:
    found = [columns.dates(texts(), YEARS), columns.moments(texts(None), YEARS), columns.epoch_seconds(texts(), YEARS)]
    assert [column.bad for column in found] == [[], [], []]
