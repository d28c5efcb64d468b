"""Lookups by key against one call an event, and against a broadcast join of the same rates; each run a process of its own.

cold   the job, which asks for each key of a batch anew: what it kept is too old by then
warm   the job, which keeps what it asked for
one    as cold, by a GET for each key
naive  a call for each event, as many at once: what a careful engineer writes first; of fewer events, as its rate is what counts
join   jobs/stream_table_join.py, which has all rates at hand

The service counts its calls, which have to be those that the orders in the sink account for: of each part of a batch's keys,
those that are not kept / keys a call. All programs have to end with the same rows and the same sum of rates.
"""

from __future__ import annotations

import contextlib
import json
import random
import statistics
import zlib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

import psycopg2
from _lib.rates import told
from _orders import order
from _rates import rate
from _setup import ROOT
from psycopg2.extras import execute_values
from rich.table import Table

if TYPE_CHECKING:  # it is there already
    from _stack import Stack

KEYS, BATCH, NAIVE_BATCH = 10_000, 200_000, 4_000
BATCHES = 3  # of programs that are slow: two to become warm, one that counts
SERVICE = {"mode": "well", "delay_ms": 5}
CUSTOMERS = 1_000
RATE = "rate DECIMAL(18,8)"
Found = dict[str, Any]


class Runs(Protocol):
    """What the bench has: topics, and runs against them."""

    def topic(self, name: str, values: Iterator[bytes | None]) -> str: ...

    def run(
        self,
        program: str,
        topic: str,
        batch: int,
        more: Mapping[str, object] | None,
        job: str,
        config: Mapping[str, Any],
    ) -> Found: ...


class Contest:
    """The topics, the service and the table of rates that all programs have."""

    def __init__(self, bench: Runs, stack: Stack, events: int) -> None:
        self._bench, self._url = bench, stack.rates_url
        counts = {"cold": events, "one": BATCHES * BATCH, "naive": BATCHES * NAIVE_BATCH}
        topics = {name: (bench.topic(f"orders-{name}", orders(count)), count) for name, count in counts.items()}
        self._topics = {**topics, "warm": topics["cold"], "join": topics["cold"]}
        _reference(stack)

    def run(self, name: str) -> Found:
        """One program to the end of its orders. Raises SystemExit where rows, rates or calls are not what they have to be."""
        topic, count = self._topics[name]
        told(self._url, SERVICE)
        program = "bare" if name == "naive" else "job"
        batch, more = NAIVE_BATCH if name == "naive" else BATCH, {"spark": json.dumps({"spark.master": "local[2]"})}
        job = "stream_table_join" if name == "join" else "stream_enrichment"
        found = self._bench.run(program, topic, batch, more, job, _config(name, self._url))
        counted = told(self._url)
        calls = count if name == "naive" else 0
        wanted = found.get("wanted", {"calls": calls, "keys": calls})
        _same(name, {key: counted[key] for key in wanted}, wanted)
        _same(name, [found["rows"], found["rates"]], [count, f"{_sum(count):.8f}"])
        return {**found, "calls": counted["calls"], "events": count}


def enrichment(bench: Runs, stack: Stack, events: int, rounds: int) -> Table:
    """So many rounds of all programs, in turns; medians, and medians of the ratios within a round."""
    contest = Contest(bench, stack, events)
    names = ["naive", "cold", "join", "warm", "one"]
    found = []
    for number in range(rounds):
        turn = names if number % 2 == 0 else names[::-1]
        found.append({name: contest.run(name) for name in turn})
    shown = Table("program", "events/s", "of naive", "of the join", "CPU s/million", "ms a batch", "calls, as expected")
    for name in names:
        shown.add_row(name, *_cells(name, found))
    return shown


def _cells(name: str, rounds: Sequence[Mapping[str, Found]]) -> list[str]:
    rates = [{program: found["events_per_s"] for program, found in each.items()} for each in rounds]
    cells = [f"{statistics.median(each[name] for each in rates):,.0f}"]
    cells += [f"{statistics.median(each[name] / each[other] for each in rates):.2f}" for other in ("naive", "join")]
    cpu = statistics.median(each[name]["warm_cpu_s"] / each[name]["warm_events"] * 1e6 for each in rounds)
    took = statistics.median(statistics.median(each[name]["batch_ms"]) for each in rounds)
    calls, events = rounds[0][name]["calls"], rounds[0][name]["events"]
    return [*cells, f"{cpu:,.1f}", f"{took:,.0f}", f"{calls:,} for {events:,}"]


def orders(count: int) -> Iterator[bytes | None]:
    """In made-up currencies, as many of one as of another, more or less."""
    pick = random.Random(7)
    for number in range(count):
        yield json.dumps({**order(number, CUSTOMERS, pick), "currency": _currency(number)}).encode()


def _currency(number: int) -> str:
    return f"K{zlib.crc32(str(number).encode()) % KEYS}"


def _rates() -> dict[str, Decimal]:
    known = map(rate, (f"K{key}" for key in range(KEYS)))
    return {found["currency"]: Decimal(str(found["rate"])) for found in known if found}


def _sum(count: int) -> Decimal:
    known = _rates()
    return sum((known[_currency(number)] for number in range(count)), Decimal())


def _same(name: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise SystemExit(f"{name}: {found} where {wanted} has to be")


def _reference(stack: Stack) -> None:
    """The same rates as a table."""
    connected = contextlib.closing(psycopg2.connect(**stack.dsn()))
    with connected as connection, connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE rates (currency text PRIMARY KEY, rate numeric(18,8))")
        execute_values(cursor, "INSERT INTO rates VALUES %s", list(_rates().items()), page_size=KEYS)


def _config(name: str, url: str) -> dict[str, Any]:
    """The same orders, to the same sink, with the rate of their currency."""
    shared = {"job": "bench", "source": _source(), "sink": {"delta": {"partition_by": ["order_date"]}}}
    on = {"currency": "currency"}
    if name == "join":
        postgres = {"password": "${POSTGRES_PASSWORD}"}
        reference = {"jdbc": {"table": "rates", "key": "currency", "columns": ["rate"]}, "refresh": {"every": "1h"}}
        return {**shared, "postgres": postgres, "reference": reference, "join": {"on": on}}
    many = {"url": f"{url}/rates", "method": "POST", "answers": "rates"}
    one = {"url": f"{url}/rates/{{currency}}"}
    http = {"key": "currency", "schema": RATE, **(many if name in ("cold", "warm") else one)}
    lookup = {"http": http, "cache": {"ttl": "1h" if name == "warm" else "1ms"}}
    return {**shared, "enrich": {"rate": {"lookup": lookup, "on": on, "on_miss": "dead_letter"}}}


def _source() -> dict[str, Any]:
    return {
        "kafka": {"starting_offsets": "earliest"},
        "schema": (ROOT / "conf" / "schemas" / "order.ddl").read_text(),
        "required": ["order_id", "currency"],
        "event_time": "ordered_at",
    }
