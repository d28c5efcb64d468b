"""A real table asked by key: each type as its column has it, keys of any text, and what is no single row."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import pytest
from _proxy import Proxy
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.clock import utc_now
from jobs.core.config import Postgres
from jobs.core.enrichment.asking import Given, NoAnswer
from jobs.core.enrichment.chain import chain
from jobs.core.enrichment.postgres_table import TWO_ROWS, postgres_table
from jobs.core.enrichment.settings import EnrichConfig
from jobs.core.errors import DependencyMissing
from jobs.core.failures import SinkFailure
from jobs.core.postgres import Database

Rows = Callable[..., DataFrame]
EVENT = "id STRING, _reason STRING, _detail STRING"
TYPES = {
    "small": ("smallint", "-32768", "SMALLINT"),
    "big": ("bigint", "9223372036854775807", "BIGINT"),
    "exact": ("numeric(20,4)", "1234567890123456.7891", "DECIMAL(20,4)"),
    "near": ("double precision", "0.1", "DOUBLE"),
    "flag": ("boolean", "true", "BOOLEAN"),
    "words": ("text", "'it''s \"so\"\\\n'", "STRING"),
    "fixed": ("char(3)", "'ab'", "STRING"),
    "day": ("date", "'2026-02-28'", "DATE"),
    "at": ("timestamptz", "'2026-01-01 12:00:00.123456+02'", "TIMESTAMP"),
    "plain": ("timestamp", "'2026-01-01 12:00:00.5'", "TIMESTAMP"),
    "rounded": ("timestamp(3)", "'2026-01-01 12:00:00.1234'", "TIMESTAMP"),
    "raw": ("bytea", "'\\x00ff80'", "BINARY"),
    "doc": ("jsonb", """'{"a": [1, "b"]}'""", "STRING"),
    "many": ("text[]", "'{a,NULL,c}'", "ARRAY<STRING>"),
    "none": ("int", "NULL", "INT"),
}


@pytest.fixture
def postgres(stack: Any) -> Postgres:
    return Postgres.model_validate({"url": stack.jdbc_url, "user": stack.user, "password": stack.password})


def asked(postgres: Postgres, table: str, key: list[str], columns: list[str], *keys: Mapping[str, Any]) -> Given:
    with postgres_table(Database(postgres), table, key, columns).open() as ask:
        return ask([json.dumps(one) for one in keys])


def test_every_type_is_as_its_column_has_it(
    spark: SparkSession, rows: Rows, table: Any, database: Any, postgres: Postgres
) -> None:
    name = table(", ".join(["id text PRIMARY KEY", *(f"{column} {kind}" for column, (kind, *_) in TYPES.items())]), [])
    values = ", ".join(value for _, value, _ in TYPES.values())
    database.cursor().execute(f"INSERT INTO {name} VALUES ('x', {values})")
    lookup = {"postgres": {"table": name, "key": "id", "columns": list(TYPES)}}
    config = EnrichConfig.model_validate(
        {
            "job": "types",
            "postgres": postgres.model_dump() | {"password": postgres.password},
            "source": {"rate": {}},
            "enrich": {"all": {"lookup": lookup, "on": {"id": "id"}}},
            "sink": {"console": {}},
            "checkpoint": "data/cp",
        }
    )
    steps = chain(spark, config, utc_now)
    steps.prepare(utc_now())
    found = steps(rows(EVENT, ("x", None, None))).select(*TYPES)
    casts = [F.expr(f"CAST({text} AS {kind})").alias(name) for name, (text, kind) in SPARK.items()]
    assert_df_equality(found, spark.range(1).select(*casts), ignore_nullable=True, ignore_metadata=True)


SPARK = {
    **{name: (TYPES[name][1], TYPES[name][2]) for name in ("small", "big", "exact", "near", "flag", "day", "none")},
    "words": ("'it\\'s \"so\"\\\\\\n'", "STRING"),
    "fixed": ("'ab '", "STRING"),
    "at": ("'2026-01-01 10:00:00.123456Z'", "TIMESTAMP"),
    "plain": ("'2026-01-01 12:00:00.5Z'", "TIMESTAMP"),
    "rounded": ("'2026-01-01 12:00:00.123Z'", "TIMESTAMP"),
    "raw": ("X'00ff80'", "BINARY"),
    "doc": ("""'{"a": [1, "b"]}'""", "STRING"),
    "many": ("array('a', NULL, 'c')", "ARRAY<STRING>"),
}
SPARK = {name: SPARK[name] for name in TYPES}


def test_keys_of_any_text_and_of_several_columns(table: Any, postgres: Postgres) -> None:
    odd = ["'; DROP TABLE x; --", '"', "\\", "../..", "a\nb", "%s", "ключ", "", "http://evil/"]
    name = table("of text, n int, v int", [(text, 1, number) for number, text in enumerate(odd)])
    keys = [{"of": text, "n": 1} for text in odd]
    found = asked(postgres, name, ["of", "n"], ["v"], *keys, {"of": "'", "n": 1}, {"of": "", "n": 2})
    assert [value and json.loads(value) for value in found.values()] == [
        *({"v": number} for number in range(len(odd))),  # type: ignore[arg-type]
        None,
        None,
    ]


def test_a_key_with_two_rows_has_no_answer_and_the_others_have(table: Any, postgres: Postgres) -> None:
    name = table("id int, v int", [(1, 1), (1, 2), (1, 3), (2, 4)])
    found = asked(postgres, name, ["id"], ["v"], {"id": 1}, {"id": 2}, {"id": 3})
    assert [value if isinstance(value, NoAnswer) else value and json.loads(value) for value in found.values()] == [
        TWO_ROWS,
        {"v": 4},
        None,
    ]


@pytest.mark.parametrize(
    ("kind", "good", "odd", "why"),
    [
        ("int", 3, 1 << 40, "NumericValueOutOfRange"),
        ("int", 3, "three", "InvalidTextRepresentation"),
        ("uuid", "00000000-0000-0000-0000-000000000001", "'; --", "InvalidTextRepresentation"),
    ],
)
def test_a_key_that_the_tables_type_does_not_have_is_none_and_the_others_are_asked_for(
    table: Any, postgres: Postgres, kind: str, good: Any, odd: Any, why: str
) -> None:
    name = table(f"id {kind}, v int", [(good, 1)])
    keys = [{"id": good}, *({"id": odd, "n": number} for number in range(2)), {"id": good, "n": 2}]
    found = list(asked(postgres, name, ["id"], ["v"], *keys).values())
    assert found == [b'{"v" : 1}', *[NoAnswer(f"the table takes no such key ({why})")] * 2, b'{"v" : 1}']


@pytest.mark.parametrize(
    ("kind", "good", "odd"),
    [("varchar(2)", "de", "de "), ("numeric(12)", 1, 1.4), ("timestamp(0)", "2026-01-01", "2026-01-01 00:00:00.4")],
)
def test_a_key_is_compared_as_it_is(table: Any, postgres: Postgres, kind: str, good: Any, odd: Any) -> None:
    """And not as a column of that length would keep it."""
    name = table(f"id {kind}, v int", [(good, 1)])
    assert list(asked(postgres, name, ["id"], ["v"], {"id": odd}, {"id": good}).values()) == [None, b'{"v" : 1}']


def test_a_key_that_a_domain_does_not_take_has_no_row(table: Any, database: Any, postgres: Postgres) -> None:
    cursor, domain = database.cursor(), f"code_{uuid.uuid4().hex[:8]}"
    cursor.execute(f"CREATE DOMAIN {domain}_any AS varchar(9)")
    cursor.execute(f"CREATE DOMAIN {domain} AS {domain}_any CHECK (VALUE ~ '^[A-Z]+$')")
    cursor.execute(f"CREATE DOMAIN {domain}_at AS timestamp(0)")
    name = table(f"id {domain}, at {domain}_at", [("EUR", "2026-01-01 12:00:00")])
    found = asked(postgres, name, ["id"], ["at"], {"id": "EUR"}, {"id": "eur"})
    assert list(found.values()) == [b'{"at" : "2026-01-01T12:00:00+00:00"}', None]


@pytest.mark.parametrize(
    ("name", "columns", "why"),
    [
        ("nowhere", ["v"], "the database has no such table"),
        (None, ["w"], "it has no column w"),
        (None, ["id", "at"], "at is timestamp without time zone\\[\\], which is not looked up"),
    ],
)
def test_what_is_not_there_is_said_at_the_start(
    table: Any, postgres: Postgres, name: str | None, columns: list[str], why: str
) -> None:
    with pytest.raises(DependencyMissing, match=why):
        postgres_table(Database(postgres), name or table("id int, v int, at timestamp(3)[]", []), ["id"], columns)


def test_a_server_that_stands_still_is_not_waited_for(table: Any, stack: Any, postgres: Postgres) -> None:
    """Neither in a call nor to connect, though what is sent arrives at its machine."""
    name = table("id int, v int", [(1, 2)])
    place = stack.dsn()
    with closing(Proxy(place["port"])) as wire:
        url = f"jdbc:postgresql://127.0.0.1:{wire.port}/{place['dbname']}"
        caller = postgres_table(Database(postgres.model_copy(update={"url": url})), name, ["id"], ["v"], timeout_s=0.3)
        with caller.open() as ask:
            assert ask(['{"id": 1}']) == {'{"id": 1}': b'{"v" : 2}'}
            wire.hold()
            with pytest.raises(TimeoutError, match="no answer within 0.3 s"):
                ask(['{"id": 1}'])
        with pytest.raises(TimeoutError, match="no answer within 0.3 s"), caller.open():
            pass
        wire.flow()
        with caller.open() as ask:
            assert ask(['{"id": 1}']) == {'{"id": 1}': b'{"v" : 2}'}


def test_a_statement_that_takes_too_long_ends_on_the_server(table: Any, database: Any, postgres: Postgres) -> None:
    name = table("id int, v int", [(1, 2)])
    cursor = database.cursor()
    cursor.execute(f"CREATE VIEW {name}_slow AS SELECT id, v, pg_sleep(60)::text AS slept FROM {name}")
    caller = postgres_table(Database(postgres), f"{name}_slow", ["id"], ["slept"], timeout_s=0.5)
    with pytest.raises((SinkFailure, TimeoutError), match="57014|no answer"), caller.open() as ask:
        ask(['{"id": 1}'])
    active = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
    for _ in range(100):
        cursor.execute(f"{active} AND strpos(query, %s) > 0", (f"{name}_slow",))
        if cursor.fetchone() == (0,):
            return
        time.sleep(0.05)
    pytest.fail("the statement goes on without its caller")


def test_a_failure_carries_its_code(table: Any, database: Any, postgres: Postgres) -> None:
    name = table("id int, v int", [])
    caller = postgres_table(Database(postgres), name, ["id"], ["v"])
    database.cursor().execute(f"DROP TABLE {name}")
    with caller.open() as ask, pytest.raises(SinkFailure, match="42P01"):
        ask(['{"id": 1}'])
    assert "password" not in repr(caller)
