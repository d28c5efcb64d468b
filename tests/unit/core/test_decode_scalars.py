from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.core import decode_scalars as scalars
from jobs.core.decode_scalars import Number, Read, Unfit

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def outcome(read: Read, scalar: Any) -> Any:
    try:
        return read(scalar)
    except Unfit as unfit:
        return unfit.reason.value


@pytest.mark.parametrize(
    ("read", "scalar", "wanted"),
    [
        (scalars.string, "x", "x"),
        (scalars.string, Number("1"), "WRONG_TYPE"),
        (scalars.boolean, True, True),
        (scalars.boolean, "true", "WRONG_TYPE"),
        (scalars.binary, "AA==", b"\x00"),
        (scalars.binary, "AA", "WRONG_TYPE"),
        (scalars.whole(-5, 5), Number("-5"), -5),
        (scalars.whole(-5, 5), Number("6"), "OUT_OF_RANGE"),
        (scalars.whole(-5, 5), Number("9" * 10_000), "OUT_OF_RANGE"),
        (scalars.whole(-5, 5), Number("1e0"), "WRONG_TYPE"),
        (scalars.whole(-5, 5), True, "WRONG_TYPE"),
        (scalars.whole(-5, 5), Number("NaN"), "OUT_OF_RANGE"),
        (scalars.double, Number("1e400"), "OUT_OF_RANGE"),
        (scalars.single, Number("3.5e38"), "OUT_OF_RANGE"),
        (scalars.single, Number("3.4e38"), 3.4e38),
        (scalars.decimal(3, 1), Number("99.90"), Decimal("99.9")),
        (scalars.decimal(3, 1), Number("99.95"), "OUT_OF_RANGE"),
        (scalars.decimal(3, 1), Number("100"), "OUT_OF_RANGE"),
        (scalars.decimal(3, 1), Number("1e1"), Decimal(10)),
        (scalars.decimal(3, 1), "1", "WRONG_TYPE"),
        (scalars.day(1970, 2200), "1970-01-02", 1),
        (scalars.day(1, 9999), "0001-01-01", -719162),
        (scalars.day(1, 9999), "0000-02-29", "OUT_OF_RANGE"),
        (scalars.day(1, 9999), "0000-02-30", "WRONG_TYPE"),
        (scalars.rfc3339, "1970-01-01T00:00:01.5Z", 1_500_000),
        (scalars.rfc3339, "1970-01-01T01:00:00+01:00", 0),
        (scalars.rfc3339, "0000-12-31T23:59:59Z", -62135596801_000_000),
        (scalars.epoch_s, Number("1.000001"), 1_000_001),
        (scalars.epoch_s, Number("-1.5"), -1_500_000),
        (scalars.epoch_s, Number("1e30"), "OUT_OF_RANGE"),
        (scalars.epoch_s, Number("1e-7"), 0),
        (scalars.epoch_s, Number("0.00000010000000000000001"), 0),
        (scalars.epoch_s, Number("0.000000100000000000000001"), "OUT_OF_RANGE"),
        (scalars.epoch_ms, Number("-1"), -1000),
        (scalars.epoch_ms, "1", "WRONG_TYPE"),
        (scalars.moment("epoch_ms", 1970, 1970), Number("31535999999"), 31535999999_000),
        (scalars.moment("epoch_ms", 1970, 1970), Number("31536000000"), "OUT_OF_RANGE"),
        (scalars.moment("epoch_ms", 1970, 1970), Number("-1"), "OUT_OF_RANGE"),
    ],
)
def test_a_scalar_is_its_value_or_the_reason_why_not(read: Read, scalar: Any, wanted: Any) -> None:
    assert outcome(read, scalar) == wanted


@given(st.datetimes(datetime(1970, 1, 2), datetime(2105, 1, 1)))
def test_every_microsecond_survives_each_way_of_writing_it(at: datetime) -> None:
    aware = at.replace(tzinfo=timezone.utc)
    micros = scalars.now_micros(aware)
    seconds = f"{micros // 1_000_000}.{micros % 1_000_000:06d}"
    assert scalars.rfc3339(aware.isoformat()) == micros
    assert scalars.epoch_s(Number(seconds)) == micros
    assert scalars.epoch_s(Number(repr(aware.timestamp()))) == micros


def test_the_time_of_a_clock_without_a_zone_is_utc() -> None:
    assert scalars.now_micros(datetime(1970, 1, 1, 0, 0, 1, 5)) == 1_000_005
