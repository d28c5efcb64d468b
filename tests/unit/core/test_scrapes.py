"""What two scrapes say of a lookup, and what is read of one."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app

from jobs.core.breaker import State
from jobs.core.clock import utc_now
from jobs.core.health import Server
from jobs.core.ledger import Counts, Entry
from jobs.core.metrics import Metrics
from jobs.core.scrapes import Asked, asked, scrape, value, waiting
from jobs.core.watched import LookupStatus, Watched

NONE = dict.fromkeys(("fresh", "cached", "stale", "missed", "unfit", "failed"), 0)
BEFORE = LookupStatus("closed", {"fresh": 3}, 3, 0.5, 0.0)


def metrics(**lookups: LookupStatus) -> CollectorRegistry:
    made = Metrics("orders", utc_now)
    made.watch(Watched(lookups={name: lambda status=status: status for name, status in lookups.items()}))  # type: ignore[misc]
    return made.registry


def text(**lookups: LookupStatus) -> str:
    return generate_latest(metrics(**lookups)).decode()


@pytest.mark.parametrize("breaker", ["closed", "half_open", "open"])
def test_of_counts_the_difference_is_told_and_of_the_breaker_how_it_is_now(breaker: State) -> None:
    after = LookupStatus(breaker, {"fresh": 5, "cached": 6, "failed": 1}, 7, 1.5, 9.0)
    found = asked(text(rate=BEFORE, customer=BEFORE), text(rate=after, customer=BEFORE), "rate")
    assert found == Asked({**NONE, "fresh": 2, "cached": 6, "failed": 1}, 4, 1.0, breaker)


def test_a_lookup_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match="patterns_lookup_keys_total.*'lookup': 'rates'"):
        asked(text(rate=BEFORE), text(rate=BEFORE), "rates")


def test_a_series_is_known_by_some_of_its_labels() -> None:
    scraped = text(rate=BEFORE)
    assert value(scraped, "patterns_lookup_keys_total", state="fresh") == 3
    assert value(scraped, "patterns_lookup_keys_total", state="stale") == 0


def test_a_call_has_a_mean_time_and_a_state_a_share_of_the_keys() -> None:
    one = Asked({"cached": 3, "fresh": 1}, 4, 0.5, "closed")
    assert (one.call_ms, one.percent("cached"), one.percent("stale")) == (125.0, 75.0, 0.0)


def test_without_calls_and_keys_there_is_no_time_and_no_share() -> None:
    one = Asked({}, 0, 0.0, "open")
    assert (one.call_ms, one.percent("cached")) == (0.0, 0.0)


def test_what_was_released_waits_no_more() -> None:
    made = Metrics("orders", utc_now)
    assert waiting(generate_latest(made.registry).decode()) == 0
    for kind, parked in (("batch", 5), ("release", -2)):
        made.batch(Entry(kind, "orders", "q", 0, "[null]", "[null]", Counts(parked=parked), "2026-01-01"))
    assert waiting(generate_latest(made.registry).decode()) == 3


def test_a_scrape_is_what_is_served() -> None:
    server = Server("127.0.0.1", 0, make_wsgi_app(metrics(rate=BEFORE)))
    try:
        assert value(scrape(server.url), "patterns_lookup_calls_total", lookup="rate") == 3
    finally:
        server.close()
