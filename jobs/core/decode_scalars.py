"""One scalar as it was written -> a value of a Spark type, or why it does not fit.

These functions say what is accepted; the fast paths may only accept what they accept, with the same value. A scalar is
a str, a bool or a Number (as it was written); dates come back as days, timestamps as microseconds since 1970.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Callable
from datetime import date, datetime, timezone
from decimal import Decimal, InvalidOperation

from jobs.core.reasons import Reason

Read = Callable[[object], object]  # raises Unfit

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
NOT_FINITE = ("NaN", "Infinity", "-Infinity")
RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
ISO_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
EPOCH_DAY = date(1970, 1, 1).toordinal()
SECOND = 1_000_000
DAY = 86_400 * SECOND
CYCLE = 146_097  # days in 400 years: `date` has no year 0, but its months are those of the year 400
DOUBLE_DIGITS = 17  # a double is written with no more
MAX_ADJUSTED = 20  # powers of ten beyond which no epoch lies


class Number(str):
    """A number as it was written."""

    __slots__ = ()


class Unfit(Exception):
    """The scalar does not fit: WRONG_TYPE or OUT_OF_RANGE."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def wrong() -> Unfit:
    return Unfit(Reason.WRONG_TYPE)


def beyond() -> Unfit:
    return Unfit(Reason.OUT_OF_RANGE)


def number(scalar: object) -> Number:
    """A finite number. Raises Unfit."""
    if not isinstance(scalar, Number):
        raise wrong()
    if scalar in NOT_FINITE:
        raise beyond()
    return scalar


def string(scalar: object) -> str:
    if type(scalar) is not str:
        raise wrong()
    return scalar


def boolean(scalar: object) -> bool:
    if not isinstance(scalar, bool):
        raise wrong()
    return scalar


def binary(scalar: object) -> bytes:
    text = string(scalar)
    if not BASE64.fullmatch(text):
        raise wrong()
    return base64.b64decode(text)


def whole(low: int, high: int) -> Callable[[object], int]:
    """Digits alone: `1.0` and `1e3` are no integers."""

    def read(scalar: object) -> int:
        digits = number(scalar)
        if not digits.lstrip("-").isdigit():
            raise wrong()
        if len(digits) > 20 or not low <= int(digits) <= high:
            raise beyond()
        return int(digits)

    return read


def double(scalar: object) -> float:
    value = float(number(scalar))
    if math.isinf(value):
        raise beyond()
    return value


def single(scalar: object) -> float:
    value = double(scalar)
    try:
        struct.pack("<f", value)
    except OverflowError:
        raise beyond() from None
    return value


def exact(digits: Number) -> Decimal:
    try:
        return Decimal(digits)
    except InvalidOperation:
        raise beyond() from None


def decimal(precision: int, scale: int) -> Read:
    """Exactly the number written: nothing is rounded, `1.50` is 1.5."""

    def read(scalar: object) -> Decimal:
        value = exact(number(scalar))
        if not value:
            return Decimal(0)
        sign, digits, exponent = value.as_tuple()
        zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
        if int(exponent) + zeros < -scale or value.adjusted() >= precision - scale:
            raise beyond()
        return Decimal((sign, digits[: len(digits) - zeros], int(exponent) + zeros))

    return read


def day(min_year: int, max_year: int) -> Read:
    def read(scalar: object) -> int:
        found = ISO_DATE.fullmatch(string(scalar))
        if not found:
            raise wrong()
        return _day(found[1], found[2], found[3], min_year, max_year)

    return read


def _day(year: str, month: str, day_of_month: str, min_year: int, max_year: int) -> int:
    """Days since 1970; an impossible date is a wrong type, a year outside the bounds is out of range."""
    try:
        ordinal = date(int(year) or 400, int(month), int(day_of_month)).toordinal()
    except ValueError:
        raise wrong() from None
    if not min_year <= int(year) <= max_year:
        raise beyond()
    return ordinal - EPOCH_DAY - (0 if int(year) else CYCLE)


def bounds(min_year: int, max_year: int) -> tuple[int, int]:
    """Microseconds since 1970: of the first moment allowed, and of the first one no longer allowed."""
    first = date(min_year, 1, 1).toordinal() - EPOCH_DAY
    last = date(max_year, 12, 31).toordinal() - EPOCH_DAY
    return first * DAY, (last + 1) * DAY


def moment(times: str, min_year: int, max_year: int) -> Read:
    """Microseconds since 1970 from `rfc3339`, `epoch_s` or `epoch_ms`."""
    low, high = bounds(min_year, max_year)
    micros = {"rfc3339": rfc3339, "epoch_s": epoch_s, "epoch_ms": epoch_ms}[times]

    def read(scalar: object) -> int:
        value = micros(scalar)
        if not low <= value < high:
            raise beyond()
        return value

    return read


def rfc3339(scalar: object) -> int:
    """A zone is required; digits after the sixth decimal have to be zeros."""
    found = RFC3339.fullmatch(string(scalar))
    if not found:
        raise wrong()
    days = _day(found[1], found[2], found[3], 0, 9999)
    hour, minute, second = int(found[4]), int(found[5]), int(found[6])
    if hour > 23 or minute > 59 or second > 59:
        raise wrong()
    fraction = (found[7] or "").rstrip("0")
    if len(fraction) > 6:
        raise beyond()
    offset = int(f"{found[8]}1") * (int(found[9]) * 60 + int(found[10])) if found[8] else 0
    return days * DAY + ((hour * 60 + minute - offset) * 60 + second) * SECOND + int(fraction.ljust(6, "0"))


def epoch_s(scalar: object) -> int:
    """Exact to the microsecond; more decimals only where the number is no longer than a double: then to the nearest."""
    value = exact(number(scalar))
    if not value:
        return 0
    if value.adjusted() > MAX_ADJUSTED:
        raise beyond()
    _, digits, exponent = value.as_tuple()
    extra = -int(exponent) - 6
    if extra <= 0 or not any(digits[-extra:]):
        return int(value * SECOND)
    if len(digits) > DOUBLE_DIGITS:
        raise beyond()
    return round(float(value) * SECOND)


_long = whole(-(2**63), 2**63 - 1)


def epoch_ms(scalar: object) -> int:
    return _long(scalar) * 1000


def now_micros(now: datetime) -> int:
    """Microseconds since 1970; a time without a zone is UTC."""
    aware = now if now.tzinfo else now.replace(tzinfo=timezone.utc)
    since = aware - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds
