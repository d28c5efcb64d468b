"""A sequence of events, and the lines that Prometheus gets to read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from typing import get_args

import pytest
from prometheus_client import generate_latest

from jobs.core.breaker import State
from jobs.core.ledger import Counts, Entry
from jobs.core.metrics import BREAKER, Metrics
from jobs.core.reference import Status
from jobs.core.watched import STATES, LookupStatus, Watched

AT = datetime(2026, 1, 1, tzinfo=timezone.utc)
BATCH = Entry(
    "batch",
    "join",
    "q1",
    3,
    "[null]",
    '[{"orders": {"0": 7}}]',
    Counts(7, 3, 1, 2, 1),
    "",
    {"FUTURE": 1, "TOO_DEEP": 1},
)
RELEASE = Entry("release", "join", "q1", 3, "release", "release", Counts(0, 4, 0, 1, -5), "")


def at(*seconds: float) -> Callable[[], datetime]:
    """A clock that shows these times, one a look, seconds after AT."""
    times = iter(seconds)
    return lambda: datetime.fromtimestamp(AT.timestamp() + next(times), timezone.utc)


def shown(metrics: Metrics, *names: str) -> list[str]:
    """Series of these metrics, without those that are still 0."""
    text = generate_latest(metrics.registry).decode().splitlines()
    return [line for line in text if line.startswith(names) and not line.endswith(" 0.0")]


def test_a_batch_is_counted_by_outcome_and_reason() -> None:
    metrics = Metrics("join", at(0, 5))
    metrics.batch(BATCH)
    assert shown(metrics, "patterns_") == [
        'patterns_ledger_offset{job="join",partition="0",topic="orders"} 7.0',
        'patterns_records_total{job="join",outcome="read"} 7.0',
        'patterns_records_total{job="join",outcome="written"} 3.0',
        'patterns_records_total{job="join",outcome="filtered"} 1.0',
        'patterns_records_total{job="join",outcome="dead_letters"} 2.0',
        'patterns_records_total{job="join",outcome="parked"} 1.0',
        'patterns_dead_letters_total{job="join",reason="TOO_DEEP"} 1.0',
        'patterns_dead_letters_total{job="join",reason="FUTURE"} 1.0',
        'patterns_batches_total{job="join"} 1.0',
        'patterns_last_progress_timestamp_seconds{job="join"} 1.767225605e+09',
    ]


def test_dead_letters_count_as_they_are_sent_though_redriven_ones_leave_the_ledger_s_sum() -> None:
    metrics = Metrics("join", at(0, 5))
    counts = Counts(9, 4, 0, dead_letters=-2, duplicate=2, redriven=4, rejected_again=1)
    metrics.batch(replace(BATCH, counts=counts, reasons={"FUTURE": 3}))
    assert counts.balanced()
    assert shown(metrics, "patterns_records_total", "patterns_dead_letters_total") == [
        'patterns_records_total{job="join",outcome="read"} 9.0',
        'patterns_records_total{job="join",outcome="written"} 4.0',
        'patterns_records_total{job="join",outcome="dead_letters"} 3.0',
        'patterns_records_total{job="join",outcome="duplicate"} 2.0',
        'patterns_records_total{job="join",outcome="redriven"} 4.0',
        'patterns_records_total{job="join",outcome="rejected_again"} 1.0',
        'patterns_dead_letters_total{job="join",reason="FUTURE"} 3.0',
    ]


def test_a_release_is_no_batch_and_moves_no_offset() -> None:
    metrics = Metrics("join", at(0))
    metrics.batch(RELEASE)
    assert shown(metrics, "patterns_records", "patterns_batches", "patterns_ledger") == [
        'patterns_records_total{job="join",outcome="written"} 4.0',
        'patterns_records_total{job="join",outcome="dead_letters"} 1.0',
        'patterns_records_total{job="join",outcome="released"} 5.0',
    ]


def test_what_an_earlier_process_wrote_is_an_offset_and_no_count() -> None:
    metrics = Metrics("join", at(0))
    metrics.resumed(BATCH)
    assert shown(metrics, "patterns_records", "patterns_batches", "patterns_ledger") == [
        'patterns_ledger_offset{job="join",partition="0",topic="orders"} 7.0'
    ]


def test_every_outcome_and_reason_is_there_at_0_before_it_happens() -> None:
    text = generate_latest(Metrics("join", at(0)).registry).decode()
    for series in ('records_total{job="join",outcome="parked"}', 'dead_letters_total{job="join",reason="MALFORMED"}'):
        assert f"\npatterns_{series} 0.0\n" in text
    assert "_created" not in text


def test_spark_tells_milliseconds_and_prometheus_gets_seconds() -> None:
    metrics = Metrics("join", at(0, 7))
    metrics.progress({"addBatch": 290, "walCommit": 4})
    with pytest.raises(ZeroDivisionError), metrics.phase("write", iter([10.0, 12.0]).__next__):
        1 / 0  # noqa: B018
    found = shown(metrics, "patterns_batch_duration_seconds_sum", "patterns_last_progress")
    assert found == [
        'patterns_batch_duration_seconds_sum{job="join",phase="addBatch"} 0.29',
        'patterns_batch_duration_seconds_sum{job="join",phase="walCommit"} 0.004',
        'patterns_batch_duration_seconds_sum{job="join",phase="write"} 2.0',
        'patterns_last_progress_timestamp_seconds{job="join"} 1.767225607e+09',
    ]
    assert (
        'patterns_batch_duration_seconds_bucket{job="join",le="0.25",phase="addBatch"} 0.0'
        in generate_latest(metrics.registry).decode().splitlines()
    )
    assert 'patterns_batch_duration_seconds_bucket{job="join",le="0.5",phase="addBatch"} 1.0' in shown(
        metrics, "patterns_"
    )


def test_an_idle_query_makes_progress() -> None:
    metrics = Metrics("join", at(0, 9))
    metrics.idle()
    assert metrics.progress_at.timestamp() - AT.timestamp() == 9
    assert shown(metrics, "patterns_last") == ['patterns_last_progress_timestamp_seconds{job="join"} 1.767225609e+09']


def test_retries_and_breakers_by_dependency() -> None:
    metrics = Metrics("join", at(0))
    metrics.retried("postgres")
    metrics.retried("postgres")
    for dependency, states in {
        "postgres": ["open", "half_open"],
        "kafka": ["open"],
        "http": ["open", "closed"],
    }.items():
        for state in states:
            metrics.breaker(dependency, state)  # type: ignore[arg-type]
    assert metrics.open_breakers == ["kafka"]
    text = generate_latest(metrics.registry).decode()
    for line in (
        'patterns_retries_total{dependency="postgres",job="join"} 2.0',
        "# HELP patterns_breaker_state Circuit breaker: 0 closed, 1 half-open, 2 open.",
        'patterns_breaker_state{dependency="postgres",job="join"} 1.0',
        'patterns_breaker_state{dependency="kafka",job="join"} 2.0',
        'patterns_breaker_state{dependency="http",job="join"} 0.0',
    ):
        assert line in text.splitlines()


def test_an_error_budget_is_spent_or_not() -> None:
    metrics = Metrics("join", at(0))
    assert 'patterns_error_budget_spent{job="join"}' not in generate_latest(metrics.registry).decode()
    for is_spent in (True, False):
        metrics.budget(is_spent)
        assert shown(metrics, "patterns_error_budget") == ['patterns_error_budget_spent{job="join"} 1.0'] * is_spent


def test_a_reference_table_is_asked_at_each_scrape() -> None:
    metrics, known = Metrics("join", at(0)), [Status("v2", 0.5, 60.0, 1, "open"), Status("v1", 2.5, 60.0, 0)]
    assert shown(metrics, "patterns_reference") == []
    metrics.watch(Watched({"reference": lambda: known[-1]}))
    assert shown(metrics, "patterns_reference") == [
        'patterns_reference_version_info{job="join",table="reference",version="v1"} 1.0',
        'patterns_reference_age_seconds{job="join",table="reference"} 2.5',
    ]
    breaker = 'patterns_breaker_state{dependency="reference",job="join"}'
    assert (metrics.open_breakers, f"{breaker} 0.0" in generate_latest(metrics.registry).decode()) == ([], True)
    known.pop()
    assert shown(metrics, "patterns_reference") == [
        'patterns_reference_version_info{job="join",table="reference",version="v2"} 1.0',
        'patterns_reference_age_seconds{job="join",table="reference"} 0.5',
        'patterns_reference_rejected_total{job="join",table="reference"} 1.0',
    ]
    assert metrics.open_breakers == ["reference"]
    assert f"{breaker} 2.0" in generate_latest(metrics.registry).decode()


def test_each_job_has_a_registry_of_its_own() -> None:
    first, second = Metrics("a", at(0)), Metrics("b", at(0))
    first.retried("kafka")
    assert shown(second, "patterns_retries") == []


def test_a_lookup_is_asked_at_each_scrape() -> None:
    metrics, known = Metrics("enrich", lambda: AT), [LookupStatus("closed", {"fresh": 3, "cached": 7}, 2, 0.25, 4.5)]
    metrics.watch(Watched(lookups={"rate": lambda: known[-1]}))
    assert shown(metrics, "patterns_lookup") == [
        'patterns_lookup_keys_total{job="enrich",lookup="rate",state="fresh"} 3.0',
        'patterns_lookup_keys_total{job="enrich",lookup="rate",state="cached"} 7.0',
        'patterns_lookup_calls_total{job="enrich",lookup="rate"} 2.0',
        'patterns_lookup_calls_seconds_total{job="enrich",lookup="rate"} 0.25',
        'patterns_lookup_age_seconds{job="enrich",lookup="rate"} 4.5',
    ]
    assert generate_latest(metrics.registry).decode().count("patterns_lookup_keys_total{") == len(STATES)


@pytest.mark.parametrize("batches", get_args(State))
@pytest.mark.parametrize("own", get_args(State))
def test_of_two_breakers_of_a_dependency_the_worse_one_is_shown(batches: State, own: State) -> None:
    metrics = Metrics("enrich", lambda: AT)
    metrics.watch(Watched(lookups={"rate": lambda: LookupStatus(own, {}, 0, 0.0, 0.0)}))
    metrics.breaker("rate", batches)
    worse = max(BREAKER[batches], BREAKER[own])
    line = f'patterns_breaker_state{{dependency="rate",job="enrich"}} {worse}.0'
    assert shown(metrics, "patterns_breaker_state") == ([line] if worse else [])
    assert metrics.open_breakers == (["rate"] if "open" in (batches, own) else [])


def test_what_comes_out_of_a_joins_state_is_counted_by_itself() -> None:
    metrics = Metrics("enrich", lambda: AT)
    for counts in (Counts(5, 2, joining=3), Counts(1, 3, joining=-2)):
        metrics.batch(replace(BATCH, counts=counts, reasons={}))
    lines = [line for line in shown(metrics, "patterns_records_total") if "join" in line.partition("outcome")[2]]
    assert [line.partition("outcome=")[2] for line in lines] == ['"joining"} 3.0', '"joined"} 2.0']
