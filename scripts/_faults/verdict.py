"""The invariant, apart from the job's own audit: the expected result is made from the input again, by other code.

Fails on rows that are missing, on rows too many, and on wrong values; the same for dead letters, byte for byte. Only records
that the ledger covers are judged, so a running job can be, too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Coordinates = tuple[str, int, int]  # topic, partition, offset
Customers = Mapping[str, set[str]]  # customer: every segment that it ever had
Rates = Callable[[str], float | None]  # of a currency
SHOWN = 5


@dataclass(frozen=True)
class Record:
    """One record of a topic."""

    topic: str
    partition: int
    offset: int
    value: bytes | None
    headers: dict[str, bytes] = field(default_factory=dict)

    @property
    def place(self) -> Coordinates:
        return self.topic, self.partition, self.offset


@dataclass(frozen=True)
class Row:
    """One row of a sink."""

    place: Coordinates
    order_id: str
    customer_id: str | None
    segment: str | None
    version: str | None
    rate: float | None = None


def unrated(currency: str) -> None:
    """Of a job that asks for no rates."""


def problems(
    sent: Iterable[Record],
    rows: Sequence[Row],
    letters: Iterable[Record],
    customers: Customers,
    end: Mapping[str, int],
    rates: Rates = unrated,
) -> list[str]:
    """What does not hold, of the records before `end`, an offset a partition; nothing where all is well."""
    whole = {record.place: record for record in sent if record.offset < end.get(str(record.partition), 0)}
    good = {place: order for place, record in whole.items() if (order := _order(record.value))}
    found = Counter(row.place for row in rows if _covered(row.place, end))
    dead = {original(letter): letter.value for letter in letters if _covered(original(letter), end)}
    bad = {place: record.value for place, record in whole.items() if place not in good}
    wrong = [row.place for row in rows if row.place in good and not _right(row, good[row.place], customers, rates)]
    told = {
        "missing in the sink": good.keys() - found.keys(),
        "more than once in the sink": [place for place, times in found.items() if times > 1],
        "in the sink, and should not be": found.keys() - good.keys(),
        "with wrong values in the sink": wrong,
        "missing in the dead letters": bad.keys() - dead.keys(),
        "in the dead letters, and should not be": dead.keys() - bad.keys(),
        "with other bytes in the dead letters": [
            place for place in bad.keys() & dead.keys() if bad[place] != dead[place]
        ],
    }
    return [f"{len(list(places))} records {what}: {_some(places)}" for what, places in told.items() if places]


def original(letter: Record) -> Coordinates:
    """Where a dead letter came from, by its headers."""
    place = {name: letter.headers[f"kafka_dlt-original-{name}"] for name in ("topic", "partition", "offset")}
    return place["topic"].decode(), int.from_bytes(place["partition"], "big"), int.from_bytes(place["offset"], "big")


def _order(value: bytes | None) -> dict[str, str] | None:
    """A good order, or None."""
    try:
        found = json.loads(value or b"")
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("order_id"), str) else None


def _right(row: Row, order: Mapping[str, str], customers: Customers, rates: Rates) -> bool:
    currency = order.get("currency")
    expected = (order["order_id"], order["customer_id"], rates(currency) if currency else None)
    segments = customers.get(order["customer_id"], {None})
    return (row.order_id, row.customer_id, row.rate) == expected and row.segment in segments


def _covered(place: Coordinates, end: Mapping[str, int]) -> bool:
    return place[2] < end.get(str(place[1]), 0)


def _some(places: Iterable[Coordinates]) -> str:
    return ", ".join(f"{partition}/{offset}" for _, partition, offset in sorted(places)[:SHOWN])
