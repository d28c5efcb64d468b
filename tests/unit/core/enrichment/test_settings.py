"""What `enrich` may say, and what a wrong step is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.core.enrichment.settings import EnrichConfig
from jobs.core.errors import ConfigError
from jobs.core.layers import load

TABLE = {"table": "customers", "key": "customer_id", "columns": ["name"]}
HTTP = {"url": "https://rates.example/rates/{currency}", "key": "currency", "schema": "rate DECIMAL(9,4)"}
CUSTOMER = {"lookup": {"postgres": TABLE}, "on": {"customer_id": "customer_id"}}
RATE = {"lookup": {"http": HTTP}, "on": {"currency": "currency"}}
HISTORY = {"delta": {"path": "data/prices", "key": "currency", "columns": ["rate"]}, "valid_from": "since", "at": "at"}
PRICE = {"as_of": HISTORY, "on": {"currency": "currency"}}
SQL = {"expressions": {"euros": "amount / rate"}}
VALID: dict[str, Any] = {
    "job": "enrichment",
    "kafka": {"bootstrap_servers": "localhost:9092"},
    "postgres": {"url": "jdbc:postgresql://localhost/db", "user": "reader"},
    "source": {"kafka": {"topic": "orders"}, "schema": "customer_id STRING, currency STRING, amount DECIMAL(9,2)"},
    "enrich": {"customer": CUSTOMER, "rate": RATE, "converted": SQL},
    "sink": {"delta": {"path": "data/enriched"}},
    "dead_letters": {"kafka": {"topic": "orders.dead"}},
    "checkpoint": "data/checkpoint",
}
WAITING = {"wait_for": "1h", "parked": "data/parked"}


def config(folder: Path, steps: Any = None, **more: Any) -> EnrichConfig:
    whole = {**VALID, **({"enrich": steps} if steps else {}), **more}
    (folder / "job.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
    return load(
        EnrichConfig,
        folder / "job.yaml",
        None,
        (),
        {"TOKEN": "s3cret-canary", "LINE": "s3cret-canary\nx", "END": "s3cret-canary "},
        folder,
    ).config


def http(**more: Any) -> dict[str, Any]:
    return {**RATE, "lookup": {"http": {**HTTP, **more}}}


def test_a_whole_config(tmp_path: Path) -> None:
    found = config(
        tmp_path, {"customer": {**CUSTOMER, "on_miss": "wait"}, "rate": RATE, "converted": SQL}, waiting=WAITING
    )
    waits = {name: step.waits for name, step in found.enrich.items()}
    assert list(waits.items()) == [("customer", True), ("rate", False), ("converted", False)], "in their order"
    assert (found.parked, found.enrich["rate"].lookup and found.enrich["rate"].lookup.keys) == (
        "data/parked",
        ["currency"],
    )


@pytest.mark.parametrize(("on_failure", "serves"), [("keep", 3600), ("wait", 300), ("stand", 300)])
def test_a_column_may_have_ages_of_its_own(tmp_path: Path, on_failure: str, serves: float) -> None:
    """A row that is not kept without an answer needs all of it."""
    ages = {"ttl": "5m", "max_stale": "1h", "columns": {"name": {"max_stale": "10s"}, "segment": {"ttl": "1m"}}}
    asked = {"postgres": {**TABLE, "columns": ["name", "segment"]}, "cache": ages, "on_failure": on_failure}
    more = {"waiting": WAITING} if on_failure == "wait" else {}
    lookup = config(tmp_path, {"customer": {**CUSTOMER, "lookup": asked}}, **more).enrich["customer"].lookup
    assert lookup and (lookup.columns, lookup.ttl_s, lookup.max_stale_s) == (["name", "segment"], 60, serves)
    found = {name: (lookup.cache.ttl_s(name), lookup.cache.max_stale_s(name)) for name in lookup.columns}
    assert found == {"name": (300, 300), "segment": (60, 3600)}, "within its ttl a column always serves"


def test_a_secret_header_is_masked(tmp_path: Path) -> None:
    found = config(tmp_path, {"rate": http(headers={"Authorization": "${TOKEN}"})})
    assert "s3cret-canary" not in str(found) + repr(found)


@pytest.mark.parametrize(
    ("step", "path", "hint"),
    [
        ({"on": {}}, "enrich.x", "exactly one of table, as_of, lookup, stream, expressions (none is given)"),
        (
            {**CUSTOMER, "expressions": {"a": "1"}},
            "enrich.x",
            "exactly one of table, as_of, lookup, stream, expressions",
        ),
        ({**CUSTOMER, "on": {"customer_id": "id"}}, "enrich.x.on", "each key column once: customer_id"),
        ({**CUSTOMER, "cast": {"amount": "INT"}}, "enrich.x.cast.amount", "a column of on: customer_id"),
        ({**CUSTOMER, "cast": {"customer_id": "MAP<INT, INT>"}}, "enrich.x.cast.customer_id", "a type without parts"),
        ({**CUSTOMER, "on_miss": "drop"}, "enrich.x.on_miss", "'keep', 'dead_letter' or 'wait'"),
        ({**CUSTOMER, "on_miss": "wait"}, "waiting", "required for step x: waiting.wait_for and waiting.parked"),
        ({**SQL, "on": {"a": "b"}}, "enrich.x.on", "only with table, as_of, lookup or stream"),
        ({**SQL, "on_miss": "dead_letter"}, "enrich.x.on_miss", "only with table, as_of, lookup or stream"),
        (
            {**CUSTOMER, "default": {"name": "'-'"}, "on_miss": "dead_letter"},
            "enrich.x.default",
            "only with on_miss: keep",
        ),
        ({**CUSTOMER, "lookup": {}}, "enrich.x.lookup", "exactly one of postgres, http (none is given)"),
        (
            {**CUSTOMER, "lookup": {"postgres": {**TABLE, "columns": []}}},
            "enrich.x.lookup.postgres.columns",
            "at least 1",
        ),
        (
            {**RATE, "lookup": {"http": HTTP, "cache": {"columns": {"price": {"ttl": "1s"}}}}},
            "enrich.x.lookup.cache.columns.price",
            "one of the lookup's columns: rate",
        ),
        ({**PRICE, "on": {"currency": "code"}}, "enrich.x.on", "each key column once: currency"),
        ({**PRICE, "as_of": {**HISTORY, "at": None}}, "enrich.x.as_of.at", "the column of an event's time"),
        (
            {**PRICE, "as_of": {**HISTORY, "delta": None}},
            "enrich.x.as_of",
            "exactly one of jdbc, delta (none is given)",
        ),
        (
            {**PRICE, "as_of": {**HISTORY, "broadcast_max_rows": 5}},
            "enrich.x.as_of.broadcast_max_rows",
            "unknown key here",
        ),
        (
            {**PRICE, "as_of": {**HISTORY, "max_staleness": "1s"}},
            "enrich.x.as_of.max_staleness",
            "at least refresh.every",
        ),
        (http(url="https://h/rates"), "enrich.x.lookup.http.url", "with each column of the key: {currency}"),
        (http(url="https://{currency}/"), "enrich.x.lookup.http.url", "with columns of the key behind the host alone"),
        (http(url="https://a:b@h/{currency}"), "enrich.x.lookup.http.url", "a URL without user and password"),
        (http(url="https://h/{currency}/{x"), "enrich.x.lookup.http.url", "braces only around a column of the key"),
        (http(url="file:///etc/{currency}"), "enrich.x.lookup.http.url", "a URL like https://host/"),
        (http(url="http://h/{currency}"), "enrich.x.lookup.http.url", "https, or plain: true"),
        (http(url="https://h/", method="POST", answers=None, key="k"), "enrich.x.on", "each key column once: k"),
        (http(answers="rows"), "enrich.x.lookup.http.answers", "only with method: POST"),
        (
            http(url="https://h/", method="POST", missing=[404]),
            "enrich.x.lookup.http.missing",
            "only with method: GET; to a POST",
        ),
        (http(columns={"_offset": "rate"}), "enrich.x.lookup.http.columns._offset", "those that begin with _ are ours"),
        (
            {**CUSTOMER, "lookup": {"postgres": {**TABLE, "columns": ["_state"]}}},
            "enrich.x.lookup.postgres.columns._state",
            "those that begin with _ are ours",
        ),
        ({"expressions": {"_offset": "1"}}, "enrich.x.expressions._offset", "those that begin with _ are ours"),
        ({**RATE, "default": {"price": "1"}}, "enrich.x.default.price", "one of the lookup's columns: rate"),
        (http(schema="rate NUMBERS"), "enrich.x.lookup.http.schema", "line 1, column 6"),
        (http(headers={"a b": "${TOKEN}"}), "enrich.x.lookup.http.headers.a b", "the name of an HTTP header"),
        (http(headers={"Authorization": "literal"}), "enrich.x.lookup.http.headers.Authorization", "${"),
        (
            http(headers={"Authorization": "${LINE}"}),
            "enrich.x.lookup.http.headers.Authorization",
            "without a line feed",
        ),
        (
            http(headers={"Authorization": "${END}"}),
            "enrich.x.lookup.http.headers.Authorization",
            "a space at an end",
        ),
        (http(missing=[500]), "enrich.x.lookup.http.missing.0", "at most 499"),
    ],
)
def test_a_wrong_step_is_told_what_would_be_right(tmp_path: Path, step: Any, path: str, hint: str) -> None:
    with pytest.raises(ConfigError) as failure:
        config(tmp_path, {"x": step})
    told = {problem.path: problem.allowed for problem in failure.value.problems}
    assert path in told and hint in told[path], told
    assert "s3cret-canary" not in str(failure.value)


def test_its_tables_are_those_that_migrate_grants(tmp_path: Path) -> None:
    price = {**PRICE, "as_of": {**HISTORY, "delta": None, "jdbc": {"table": "prices", "key": "currency"}}}
    made = config(tmp_path, {"customer": CUSTOMER, "rate": RATE, "price": price})
    assert made.tables_read() == ["prices", "customers"]


def test_steps_have_names_and_what_they_rely_on(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as failure:
        config(tmp_path, {"customer": CUSTOMER, "rate": RATE}, postgres=None, waiting=WAITING)
    assert {problem.path: problem.allowed for problem in failure.value.problems} == {
        "postgres": "required for step customer: postgres.url and postgres.user",
        "waiting": "only where a step says wait",
    }
    waits, file = {"customer": {**CUSTOMER, "on_miss": "wait"}}, {"file": {"path": "data/in"}, "schema": "a STRING"}
    with pytest.raises(ConfigError, match="only with a kafka source, whose records have keys"):
        config(tmp_path, waits, waiting={**WAITING, "key_order": True}, source=file)
    with pytest.raises(ConfigError, match="a name of up to 63"):
        config(tmp_path, {"a b": RATE})


def test_rows_are_corrected_in_a_delta_table_with_the_events_own_columns(tmp_path: Path) -> None:
    steps = {
        "price": {**PRICE, "as_of": {**HISTORY, "on_late": "re_emit"}},
        "cut": {"expressions": {"amount": "1", "rate": "2", "more": "3"}},
    }
    with pytest.raises(ConfigError) as failure:
        config(tmp_path, steps, sink={"kafka": {"topic": "out"}})
    assert {problem.path: problem.allowed.split(":")[0] for problem in failure.value.problems} == {
        "corrections": "required for step price",
        "enrich.price.as_of.on_late": "keep",
        "enrich.cut.expressions.amount": "another name",
        "enrich.cut.expressions.rate": "another name",
    }
    with pytest.raises(ConfigError, match="corrections.*only where a step says on_late: re_emit"):
        config(tmp_path, {"price": PRICE}, corrections={"within": "1d"})


PAYMENTS = {
    "kafka": {"topic": "payments"},
    "schema": "order_id STRING, paid_at TIMESTAMP",
    "event_time": "paid_at",
    "key": "order_id",
    "after": "1h",
}
PAID = {"stream": PAYMENTS, "on": {"order_id": "order_id"}}
TIMED = {
    "kafka": {"topic": "orders"},
    "schema": "order_id STRING, at TIMESTAMP",
    "event_time": "at",
    "late": {"max_lateness": "1m", "to": {"kafka": {"topic": "orders.late"}}},
}


def test_a_stream_has_a_bound_on_each_side(tmp_path: Path) -> None:
    found = config(tmp_path, {"paid": PAID}, source=TIMED)
    stream = found.enrich["paid"].stream
    assert found.keeps_state and stream and (stream.before_s, stream.after_s, stream.bound_s) == (0, 3600, 3600)


@pytest.mark.parametrize(
    ("step", "more", "path", "hint"),
    [
        ({**PAYMENTS, "after": None}, {}, "enrich.paid.stream", "before, after, or both"),
        ({**PAYMENTS, "event_time": None}, {}, "enrich.paid.stream.event_time", "required: the column"),
        ({**PAYMENTS, "kafka": {"topic": "orders"}}, {}, "enrich.paid.stream.kafka", "apart from source.kafka.topic"),
        (
            {**PAYMENTS, "kafka": {"topic": "orders.late"}},
            {},
            "enrich.paid.stream.kafka",
            "apart from source.late.to.kafka.topic",
        ),
        (PAYMENTS, {"source": {**TIMED, "late": None}}, "source.late", "required for step paid"),
        (
            PAYMENTS,
            {"source": {**TIMED, "schema": "at TIMESTAMP"}},
            "enrich.paid.on.order_id",
            "a column of the source",
        ),
        (PAYMENTS, {"waiting": WAITING}, "waiting", "not with step paid"),
        (
            PAYMENTS,
            {"dead_letters": {"kafka": {"topic": "d"}, "redrive": {"topic": "again", "parking_topic": "over"}}},
            "dead_letters.redrive",
            "not with step paid",
        ),
    ],
)
def test_a_stream_that_cannot_be_joined_is_told_why(tmp_path: Path, step: Any, more: Any, path: str, hint: str) -> None:
    with pytest.raises(ConfigError) as failure:
        config(tmp_path, {"paid": {**PAID, "stream": step}}, **{"source": TIMED, **more})
    told = {problem.path: problem.allowed for problem in failure.value.problems}
    assert path in told and hint in told[path], told


def test_one_stream_is_joined_at_most(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="enrich.again.stream.*one stream a job, and paid has one"):
        config(tmp_path, {"paid": PAID, "again": json.loads(json.dumps(PAID))}, source=TIMED)


def test_its_folders_are_apart(tmp_path: Path) -> None:
    table = {"table": {"delta": {"path": "data/enriched/c", "key": "id"}}, "on": {"customer_id": "id"}}
    price = {**PRICE, "as_of": {**HISTORY, "delta": {"path": "data/enriched/p", "key": "currency"}}}
    with pytest.raises(ConfigError) as failure:
        config(
            tmp_path,
            {"c": table, "p": price, "rate": {**RATE, "on_miss": "wait"}},
            waiting={**WAITING, "parked": "data/checkpoint/p"},
        )
    assert sorted(problem.path for problem in failure.value.problems) == [
        "checkpoint",
        "enrich.c.table.delta.path",
        "enrich.p.as_of.delta.path",
    ]


@pytest.mark.parametrize(
    "more", [{"url": "http://rates/{currency}", "plain": True}, {"url": "http://127.0.0.1/{currency}"}]
)
def test_http_in_the_open_has_to_be_asked_for_unless_it_stays_on_this_machine(tmp_path: Path, more: Any) -> None:
    found = config(tmp_path, {"rate": http(**more)}).enrich["rate"].lookup
    assert found and found.http and found.http.url == more["url"]
