"""Each step on literal rows: what it adds, and where a row goes that it has nothing for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal as D
from typing import Any

import pytest
from _http import Handler, Server
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from jobs.core.breaker import CircuitBreaker
from jobs.core.connections import Breaker, Retry
from jobs.core.decode_plan import DecodeSettings
from jobs.core.enrichment import lookups
from jobs.core.enrichment.asking import Asking, Limits
from jobs.core.enrichment.chain import Chain
from jobs.core.enrichment.http_service import HttpService
from jobs.core.enrichment.lookups import FromLookup
from jobs.core.enrichment.settings import Step
from jobs.core.errors import ConfigError, LookupFailed
from jobs.core.failures import Away

Rows = Callable[..., DataFrame]
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
EVENT = "id INT, currency STRING, _reason STRING, _detail STRING"
RATED = "id INT, currency STRING, rate DECIMAL(9,4), _enrichment STRING, _reason STRING, _detail STRING"
KNOWN = {"EUR": b'{"rate": 1.5}', "ODD": b'{"rate": "x"}', "BARE": b'{"text": "?"}'}


def knows(handler: Handler, _: str) -> None:
    found = KNOWN.get(handler.path[1:])
    handler.say(200 if found else 404, found or b"")


def is_away(handler: Handler, _: str) -> None:
    handler.say(503)


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    started.replies(knows)
    yield started
    started.stop()


def lookup(server: Server, schema: str = "rate DECIMAL(9,4)", rate: str = "rate", **more: Any) -> FromLookup:
    columns = {"rate": rate, **more.pop("columns", {})}
    http = {"url": f"{server.url}/{{currency}}", "key": "currency", "schema": schema, "columns": columns}
    given = {"http": http, "parallel": 1, "on_failure": more.pop("on_failure", "stand"), "cache": more.pop("cache", {})}
    bounds = {"ttl": 0, "negative_ttl": 0, "max_stale": 0, "keys": 10, "batch": 1, **more.pop("limits", {})}
    breaker = Breaker.model_validate({"min_calls": 1, "open_for": "1h", **more.pop("breaker", {})})
    step = Step.model_validate({"lookup": given, "on": {"currency": "currency"}, **more})
    retry = Retry.model_validate({"attempts": 1})
    answer = StructType.fromDDL(schema)
    assert isinstance(answer, StructType)
    service = HttpService("rate", http["url"], ("currency",))
    asking = Asking("rate", service, DecodeSettings("json", answer), Limits(**bounds), retry, breaker, 0.0)
    return FromLookup("rate", step, asking, CircuitBreaker("rate", breaker))


def enriched(step: FromLookup, events: DataFrame) -> DataFrame:
    chain = Chain([step])
    chain.prepare(NOON)
    found = chain(events)
    return found.selectExpr("id", "currency", "rate", "to_json(_enrichment) AS _enrichment", "_reason", "_detail")


def expect(found: DataFrame, rows: Rows, *expected: tuple[Any, ...]) -> None:
    assert_df_equality(found, rows(RATED, *expected), ignore_row_order=True, ignore_nullable=True, ignore_metadata=True)


@pytest.mark.parametrize(("most", "join"), [(13, "BroadcastHashJoin"), (12, "ShuffledHashJoin")])
def test_long_answers_are_not_broadcast(
    server: Server, rows: Rows, monkeypatch: pytest.MonkeyPatch, most: int, join: str
) -> None:
    monkeypatch.setattr(lookups, "BROADCAST_MAX_BYTES", most)  # an answer has 13
    events = rows(EVENT, (1, "EUR", None, None), (2, "XXX", None, None))
    found = enriched(lookup(server), events)
    assert join in found._jdf.queryExecution().executedPlan().toString()
    fresh, missed = '{"rate":"fresh"}', '{"rate":"missed"}'
    expect(found, rows, (1, "EUR", D("1.5"), fresh, None, None), (2, "XXX", None, missed, None, None))


def test_known_unknown_null_and_rejected_rows(server: Server, rows: Rows) -> None:
    events = rows(
        EVENT, (1, "EUR", None, None), (2, "XXX", None, None), (3, None, None, None), (4, "EUR", "FUTURE", "d")
    )
    fresh, missed = '{"rate":"fresh"}', '{"rate":"missed"}'
    expect(
        enriched(lookup(server), events),
        rows,
        (1, "EUR", D("1.5"), fresh, None, None),
        (2, "XXX", None, missed, None, None),
        (3, None, None, missed, None, None),
        (4, "EUR", None, missed, "FUTURE", "d"),
    )


def test_a_miss_and_what_is_no_answer_have_reasons_where_that_is_said(server: Server, rows: Rows) -> None:
    events = rows(EVENT, (1, "XXX", None, None), (2, "ODD", None, None))
    missed = '{"rate":"missed"}'
    unknown, odd = enriched(lookup(server, on_miss="dead_letter"), events).orderBy("id").collect()
    assert tuple(unknown) == (1, "XXX", None, missed, "NO_REFERENCE", "rate: no row for currency")
    assert (odd["_enrichment"], odd["_reason"]) == (missed, "NO_ANSWER")
    assert odd["_detail"].startswith("rate: WRONG_TYPE: ")


def test_defaults_stand_in_for_any_answer_that_is_not_there(server: Server, rows: Rows) -> None:
    events = rows(EVENT, (1, "XXX", None, None), (2, "ODD", None, None))
    step, default = lookup(server, default={"rate": "id * 2"}, on_failure="keep"), '{"rate":"default"}'
    expect(enriched(step, events), rows, (1, "XXX", D(2), default, None, None), (2, "ODD", D(4), default, None, None))


def test_an_answer_without_what_it_has_to_have_is_none_and_no_answer_is_null(server: Server, rows: Rows) -> None:
    events = rows(EVENT, (1, "EUR", None, None), (2, "BARE", None, None), (3, "XXX", None, None))
    doubled = "CAST(rate * 2 AS DECIMAL(9,4))"
    step = lookup(server, "rate DECIMAL(9,4) NOT NULL", doubled, on_failure="dead_letter")
    missed, said = '{"rate":"missed"}', "rate: MISSING_REQUIRED: $.rate: missing"
    expect(
        enriched(step, events),
        rows,
        (1, "EUR", D(3), '{"rate":"fresh"}', None, None),
        (2, "BARE", None, missed, "NO_ANSWER", said),
        (3, "XXX", None, missed, None, None),
    )


def test_while_the_service_is_away_the_batch_stands_and_the_breaker_opens(server: Server, rows: Rows) -> None:
    step = lookup(server)
    server.replies(is_away)
    events = rows(EVENT, (1, "EUR", None, None))
    for _ in range(2):
        with pytest.raises(Away, match="rate: 1 keys have no answer: "):
            enriched(step, events)
        assert step.breaker.state == "open"
    server.replies(knows)
    with pytest.raises(Away, match="it failed too often"):
        enriched(step, events)


@pytest.mark.parametrize(("policy", "reason"), [("keep", None), ("dead_letter", "NO_ANSWER"), ("wait", "WAITING")])
def test_without_an_answer_a_row_goes_where_the_step_says(
    server: Server, rows: Rows, policy: str, reason: str | None
) -> None:
    server.replies(is_away)
    (row,) = enriched(lookup(server, on_failure=policy), rows(EVENT, (1, "EUR", None, None))).collect()
    assert (row["rate"], row["_enrichment"], row["_reason"]) == (None, '{"rate":"missed"}', reason)


def test_all_passes_over_a_batch_see_one_answer_and_the_next_batch_another(server: Server, rows: Rows) -> None:
    step, events = lookup(server, on_failure="keep"), rows(EVENT, (1, "EUR", None, None))
    step.asking = replace(step.asking, limits=replace(step.asking.limits, ttl=-1))  # what is kept is of no use
    chain = Chain([step])
    chain.prepare(NOON)
    first = chain(events)
    server.replies(is_away)
    assert [row["rate"] is not None for frame in (first, chain(events)) for row in frame.collect()] == [True, True]
    chain.prepare(NOON + timedelta(seconds=1))
    assert [row["rate"] for row in chain(events).collect()] == [None]


def test_a_key_that_cannot_be_cast_is_not_asked_for(server: Server, rows: Rows) -> None:
    step = lookup(server, cast={"currency": "DATE"}, on_miss="dead_letter")
    (row,) = enriched(step, rows(EVENT, (1, "EUR", None, None))).collect()
    assert (row["_reason"], server.asked) == ("NO_REFERENCE", [])


def test_a_lookup_looks_ahead(server: Server, spark: SparkSession) -> None:
    assert Chain([lookup(server)]).looks_ahead


def test_a_column_that_is_there_already_is_not_replaced(server: Server, rows: Rows, spark: SparkSession) -> None:
    events = rows(f"rate STRING, {EVENT}", ("own", 1, "EUR", None, None))
    chain = Chain([lookup(server)])
    chain.prepare(NOON)
    assert [(row["rate"], float(row["ref_rate"])) for row in chain(events).collect()] == [("own", 1.5)]


def test_a_service_that_refuses_ends_the_job_in_its_own_words(server: Server, rows: Rows) -> None:
    server.replies(lambda handler, _: handler.say(401))
    with pytest.raises(LookupFailed) as failure:
        enriched(lookup(server, on_failure="keep"), rows(EVENT, (1, "EUR", None, None)))
    assert str(failure.value).startswith("lookup rate failed: ")
    assert str(failure.value).endswith("ServiceRefused: the service answers 401")


def test_a_lookup_counts_keys_by_state_and_calls(server: Server, rows: Rows) -> None:
    step = lookup(server, on_failure="keep")
    events = rows(EVENT, (1, "EUR", None, None), (2, "EUR", None, None), (3, "XXX", None, None), (4, "ODD", None, None))
    for now in (NOON, NOON + timedelta(hours=1)):
        step.prepare(now)
        step(events)
    server.replies(is_away)
    step.prepare(NOON + timedelta(hours=2))
    step(events.limit(1))
    found = step.status()
    assert {state: count for state, count in found.keys.items() if count} == {
        "fresh": 2,
        "missed": 2,
        "unfit": 2,
        "failed": 1,
    }
    assert (found.calls, found.calls_s > 0) == (7, True)


def test_a_waiting_row_says_what_it_will_be_if_it_waits_in_vain(server: Server, rows: Rows) -> None:
    server.replies(lambda handler, _: handler.say({"/EUR": 200, "/XXX": 404, "/SEK": 503}[handler.path], KNOWN["EUR"]))
    step = lookup(server, on_failure="wait", on_miss="wait")
    step.prepare(NOON)
    found = step(rows(EVENT, (1, "EUR", None, None), (2, "XXX", None, None), (3, "SEK", None, None)))
    expected = rows(
        "id INT, _reason STRING, _instead STRING",
        (1, None, None),
        (2, "WAITING", "NO_REFERENCE"),
        (3, "WAITING", "NO_ANSWER"),
    )
    assert_df_equality(found.select("id", "_reason", "_instead"), expected, ignore_row_order=True, ignore_nullable=True)


def test_what_was_rejected_before_says_nothing_of_waiting(server: Server, rows: Rows) -> None:
    step = lookup(server, on_failure="wait", on_miss="wait")
    step.prepare(NOON)
    (found,) = step(rows(EVENT, (1, "EUR", "NO_ANSWER", "other: away"))).select("_reason", "_instead").collect()
    assert tuple(found) == ("NO_ANSWER", None)


def test_the_breaker_hears_of_calls_that_failed_though_stale_answers_stand_in(server: Server, rows: Rows) -> None:
    step = lookup(server, limits={"max_stale": 1e9})
    events, seen = rows(EVENT, (1, "EUR", None, None)), []
    for hours, reply in enumerate((knows, is_away, knows)):
        server.replies(reply)
        step.prepare(NOON + timedelta(hours=hours))
        states = [row["_state"] for row in step(events).collect()]
        seen.append((states, step.breaker.state, len(server.asked)))
    assert seen == [(["fresh"], "closed", 1), (["stale"], "open", 2), (["stale"], "open", 2)]


def test_an_answer_that_is_none_opens_no_breaker_though_an_older_one_stands_in(server: Server, rows: Rows) -> None:
    step = lookup(server, limits={"max_stale": 1e9})
    events, seen = rows(EVENT, (1, "EUR", None, None)), []
    for hours, reply in enumerate((knows, lambda handler, _: handler.say(200, b"[]"))):
        server.replies(reply)
        step.prepare(NOON + timedelta(hours=hours))
        seen.append(([row["_state"] for row in step(events).collect()], step.breaker.state))
    assert seen == [(["fresh"], "closed"), (["stale"], "closed")]


def test_a_default_is_for_a_column_of_the_step_as_it_is_called_there(server: Server, rows: Rows) -> None:
    events = rows(f"{EVENT}, rate INT", (1, "XXX", None, None, 7))
    (found,) = lookup(server, default={"ref_rate": "0"})(events).select("rate", "ref_rate").collect()
    assert tuple(found) == (7, D(0))
    with pytest.raises(ConfigError, match=r"enrich\.rate\.default\.rate.*one of ref_rate"):
        lookup(server, default={"rate": "0"})(events)


def test_a_column_may_be_too_old_in_an_answer_that_serves(server: Server, rows: Rows) -> None:
    cache = {"max_stale": "1h", "columns": {"rate": {"max_stale": "10m"}}}
    step = lookup(
        server,
        schema="rate DECIMAL(9,4), text STRING",
        columns={"text": "text", "other": "text"},
        cache=cache,
        default={"rate": "-1", "other": "'?'"},
        on_failure="keep",
        limits={"max_stale": 3600},
    )
    events, seen = rows(EVENT, (1, "BOTH", None, None)), []
    server.replies(lambda handler, _: handler.say(200, b'{"rate": 1.5, "text": "t"}'))
    for minutes in (0, 10, 11, 61):
        step.prepare(NOON + timedelta(minutes=minutes))
        (row,) = step(events).select("rate", "text", "other", "_state").collect()
        seen.append(tuple(row))
        server.replies(is_away)
    assert seen == [
        (D("1.5"), "t", "t", "fresh"),
        (D("1.5"), "t", "t", "stale"),
        (D("-1"), "t", "t", "stale"),
        (D("-1"), None, "?", "default"),
    ]


def test_a_batch_of_which_all_is_kept_says_nothing_of_the_service(server: Server, rows: Rows) -> None:
    step = lookup(server, limits={"ttl": 60, "max_stale": 1e9}, breaker={"min_calls": 2, "failure_rate": 0.6})
    events = rows(EVENT, (1, "EUR", None, None))
    for reply, minutes in ((is_away, 0), (knows, 2), (knows, 2), (is_away, 4)):
        server.replies(reply)
        step.prepare(NOON + timedelta(minutes=minutes))
        with contextlib.suppress(Away):
            step(events)
    assert step.breaker.state == "open", "of three calls two failed"
