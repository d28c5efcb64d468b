"""Orders and customers for the demo, the tests and the bench: made from a seed, about one order in a hundred bad."""

from __future__ import annotations

import datetime
import json
import random
from collections.abc import Iterator

TOPIC = {"max.message.bytes": str(4 << 20)}  # one of the bad records is larger than a broker takes by default
SEGMENTS = ("bronze", "silver", "gold")
COUNTRIES = ("DE", "FR", "IT", "NL", "PL", "SE")
RATES = {"EUR": 1.0, "SEK": 11.02, "PLN": 4.27}  # of a euro
CURRENCIES = tuple(RATES)
DAY = datetime.datetime(2026, 1, 5, tzinfo=datetime.timezone.utc)


def customer(number: int) -> tuple[str, str, str, str]:
    """customer_id, name, segment, country."""
    return (f"c{number}", f"Customer {number}", SEGMENTS[number % 3], COUNTRIES[number % 6])


def order(number: int, customers: int, pick: random.Random) -> dict[str, object]:
    """A good order; one in fifty is of a customer that nobody knows."""
    at = DAY + datetime.timedelta(milliseconds=100 * number)
    known = pick.random() >= 0.02
    return {
        "order_id": f"o{number}",
        "customer_id": f"c{pick.randrange(customers)}" if known else f"x{pick.randrange(1000)}",
        "amount": round(pick.uniform(1, 999), 2),
        "currency": pick.choice(CURRENCIES),
        "quantity": pick.randint(1, 9),
        "ordered_at": at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z",
        "order_date": at.date().isoformat(),
    }


def orders(
    count: int, customers: int, bad_share: float = 0.01, seed: int = 7, first: int = 0
) -> Iterator[bytes | None]:
    """Record values; the bad ones go through all the ways of being bad in turn."""
    pick = random.Random(seed + first)
    bad = _bad_in_turn()
    for number in range(first, first + count):
        yield next(bad)[1] if pick.random() < bad_share else json.dumps(order(number, customers, pick)).encode()


def _bad_in_turn() -> Iterator[tuple[str, bytes | None]]:
    while True:
        yield from bad_records()


def bad_records() -> list[tuple[str, bytes | None]]:
    """(reason, value): every way of being bad that a record of this schema can have."""
    good = json.dumps(order(0, 1, random.Random(0)))
    fields = json.loads(good)

    def with_(**changed: object) -> bytes:
        return json.dumps({**fields, **changed}).encode()

    def raw(old: str, new: str) -> bytes:
        assert old in good, old
        return good.replace(old, new).encode()

    without = {name: value for name, value in fields.items() if name != "customer_id"}
    amount = f'"amount": {fields["amount"]}'
    return [
        ("TOMBSTONE", None),
        ("MISSING_REQUIRED", b""),
        ("MISSING_REQUIRED", b"   "),
        ("MISSING_REQUIRED", b"{}"),
        ("MISSING_REQUIRED", with_(customer_id=None)),
        ("MISSING_REQUIRED", json.dumps(without).encode()),
        ("MISSING_REQUIRED", raw('"customer_id"', '"Customer_Id"')),
        ("NOT_OBJECT", b"null"),
        ("NOT_OBJECT", b"5"),
        ("NOT_OBJECT", b"[]"),
        ("NOT_OBJECT", b'"x"'),
        ("MALFORMED", good[:-9].encode()),
        ("MALFORMED", b"\xef\xbb\xbf" + good.encode()),
        ("MALFORMED", b"not json at all"),
        ("TRAILING_DATA", good.encode() + b" x"),
        ("TRAILING_DATA", good.encode() + good.encode()),
        ("DUPLICATE_KEY", raw('{"order_id"', '{"order_id": "o0", "order_id"')),
        ("INVALID_TEXT", with_(note="?").replace(b'"?"', b'"\xff\xfe"')),
        ("INVALID_TEXT", with_(note="?").replace(b'"?"', b'"\\ud800"')),
        ("INVALID_TEXT", with_(note="?").replace(b'"?"', b'"\\u0000"')),
        ("WRONG_TYPE", with_(order_id={"id": 1})),
        ("WRONG_TYPE", with_(order_id=[1])),
        ("WRONG_TYPE", with_(quantity="7")),
        ("WRONG_TYPE", with_(quantity=1.5)),
        ("WRONG_TYPE", with_(currency=5)),
        ("OUT_OF_RANGE", with_(quantity=2**40)),
        ("OUT_OF_RANGE", with_(amount=10**12)),
        ("OUT_OF_RANGE", raw(amount, '"amount": 1.239')),
        ("OUT_OF_RANGE", raw(amount, '"amount": NaN')),
        ("WRONG_TYPE", with_(order_date="2026-02-30")),
        ("WRONG_TYPE", with_(ordered_at=1700000000)),
        ("WRONG_TYPE", with_(ordered_at="2026-11-24T10:00:00")),
        ("OUT_OF_RANGE", with_(ordered_at="0001-01-01T00:00:00Z")),
        ("FUTURE", with_(ordered_at="2099-01-01T00:00:00Z")),
        ("TOO_DEEP", with_(extra="?").replace(b'"?"', b"[" * 65 + b"]" * 65)),
        ("TOO_LARGE", with_(note="x" * (1 << 20))),
        ("CONSTRAINT", with_(amount=0)),
    ]
