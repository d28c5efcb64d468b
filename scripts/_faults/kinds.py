"""What a case runs: a job, its sink, and how the rows that come of it are read; and what such a job's config says.

| kind | job | sink |
| --- | --- | --- |
| delta, postgres | the table join | as it is called |
| staged | the same | PostgreSQL, without its short way for small batches |
| enriching | the enrichment: the customer from a reference table, the rate from a service | Delta |
| asking | the enrichment: both are looked up by key, and an order waits for its rate | Delta |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from _rates import rate

from _faults.verdict import Rates, unrated
from jobs import stream_enrichment, stream_table_join

Settings = dict[str, Any]
ROW = "order_id text, customer_id text, segment text, _reference_version text, _topic text, _partition int, _offset bigint"
ORDER = "order_id STRING, customer_id STRING"
ON = {"customer_id": "customer_id"}


@dataclass(frozen=True)
class Places:
    """Of one case."""

    customers: str  # a table
    rates: str  # the service's URL
    parked: str  # the folder of orders that wait


@dataclass(frozen=True)
class Kind:
    """Of rows: SQL over a sink's columns for what a verdict's Row has after its place."""

    job: Any
    sink: str
    schema: str
    row: Sequence[str]
    noted: str  # under which a batch's record has the version of the customers
    named: bool  # whether rows have that version; else they have the edition of the table
    joined: Callable[..., Settings]
    rates: Rates = unrated


def joining(at: Places, on_miss: str = "keep", wait_for: str = "1h", **reference: Any) -> Settings:
    waits = {"wait_for": wait_for, "parked": at.parked} if on_miss == "wait" else {}
    return {
        "reference": _table(at, ["segment"], reference),
        "join": {"on": ON, "on_miss": on_miss, **waits},
    }


def enriching(at: Places, on_miss: str = "keep", wait_for: str = "1h", **reference: Any) -> Settings:
    table = _table(at, ["segment", "edition"], reference)
    steps = {"customer": {"table": table, "on": ON, "on_miss": on_miss}, "rate": _service(at, "stand")}
    return {"enrich": steps, **({"waiting": _waiting(at, wait_for)} if on_miss == "wait" else {})}


def asking(at: Places) -> Settings:
    """A customer is asked for with each batch, as nothing is kept."""
    table = {"table": at.customers, "key": "customer_id", "columns": ["segment", "edition"]}
    customer = {"lookup": {"postgres": table, "cache": {"ttl": "1ms", "negative_ttl": "1ms"}}, "on": ON}
    return {"enrich": {"customer": customer, "rate": _service(at, "wait")}, "waiting": _waiting(at, "1h")}


def _table(at: Places, columns: list[str], more: Mapping[str, Any]) -> Settings:
    table = {"table": at.customers, "key": "customer_id", "columns": columns}
    return {"jdbc": table, "refresh": {"every": "500ms", "watermark": "updated_at"}, **more}


def _service(at: Places, on_failure: str) -> Settings:
    url, schema = f"{at.rates}/rates/{{currency}}", "rate DOUBLE NOT NULL"
    service = {"url": url, "key": "currency", "schema": schema, "timeout": "500ms"}
    return {"lookup": {"http": service, "on_failure": on_failure}, "on": {"currency": "currency"}}


def _waiting(at: Places, wait_for: str) -> Settings:
    return {"wait_for": wait_for, "parked": at.parked}


def _rate(currency: str) -> float | None:
    """The rate that the service has, when it is well."""
    found = rate(currency)
    return found["rate"] if found else None


JOIN = Kind(
    stream_table_join,
    "delta",
    ORDER,
    ["order_id", "customer_id", "segment", "_reference_version"],
    "reference_version",
    True,
    joining,
)
ENRICHMENT = Kind(
    stream_enrichment,
    "delta",
    f"{ORDER}, currency STRING",
    ["order_id", "customer_id", "segment", "CAST(edition AS STRING)", "rate"],
    "reference_version.customer",
    False,
    enriching,
    _rate,
)
KINDS = {
    "delta": JOIN,
    "postgres": replace(JOIN, sink="postgres"),
    "staged": replace(JOIN, sink="postgres"),
    "enriching": ENRICHMENT,
    "asking": replace(ENRICHMENT, joined=asking),
}
