"""Rows as Kafka records: every type as text, ids that stay, topics that are known, and the way back."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from chispa import assert_df_equality
from pyspark.sql import DataFrame

from jobs.core.config import KafkaSink
from jobs.core.sinks.messages import NAMESPACE, SENT, coordinates, event_id, routed, sent

Rows = Callable[..., DataFrame]
PLACE = "_topic STRING, _partition INT, _offset BIGINT"
ORDER = f"id STRING, amount DECIMAL(12,8), at TIMESTAMP, raw BINARY, tags ARRAY<STRUCT<n: INT, at: TIMESTAMP>>, {PLACE}"
AT = datetime(2026, 1, 2, 3, 4, 5, 678900)
FULL = ("ö1", Decimal("0.00000010"), AT, b"\xff\x00", [(None, AT)], "orders", 3, 258)
EMPTY = (None, None, None, None, None, "orders", 3, 259)


def own(offset: int) -> list[tuple[str, bytes | None]]:
    identity = str(uuid.uuid5(NAMESPACE, f"join/orders/3/{offset}")).encode()
    places = [("patterns-topic", b"orders"), ("patterns-partition", b"3"), ("patterns-offset", b"%d" % offset)]
    return [("event_id", identity), *places, ("patterns-job", b"join")]


def target(**settings: Any) -> KafkaSink:
    return KafkaSink.model_validate({"topic": "out", **settings})


def expect(rows: Rows, given: tuple[tuple[Any, ...], ...], settings: dict[str, Any], *records: tuple[Any, ...]) -> None:
    found = sent(rows(ORDER, *given), "join", target(**settings))
    assert_df_equality(found, rows(SENT, *records), ignore_nullable=True)


def test_without_settings_a_record_is_json_of_all_columns(rows: Rows) -> None:
    full = (
        '{"id":"ö1","amount":1.0E-7,"at":"2026-01-02T03:04:05.678900Z","raw":"/wA=",'
        '"tags":[{"n":null,"at":"2026-01-02T03:04:05.678900Z"}]}'
    )
    empty = b'{"id":null,"amount":null,"at":null,"raw":null,"tags":null}'
    expect(rows, (FULL, EMPTY), {}, ("out", None, full.encode(), own(258)), ("out", None, empty, own(259)))


def test_a_column_alone_is_its_text_or_its_bytes(rows: Rows) -> None:
    settings = {"key": ["id"], "value": "raw", "headers": {"at": "at", "amount": "amount", "tags": "tags"}}
    at = b"2026-01-02T03:04:05.678900Z"
    headers = [("at", at), ("amount", b"1.0E-7"), ("tags", b'[{"n":null,"at":"' + at + b'"}]'), *own(258)]
    nulls = [("at", None), ("amount", None), ("tags", None), *own(259)]
    full, empty = ("out", "ö1".encode(), b"\xff\x00", headers), ("out", None, None, nulls)
    expect(rows, (FULL, EMPTY), settings, full, empty)


def test_a_key_of_several_columns_is_an_object_in_their_order(rows: Rows) -> None:
    settings = {"key": ["raw", "id"], "value": "id"}
    expect(rows, (FULL,), settings, ("out", '{"raw":"/wA=","id":"ö1"}'.encode(), "ö1".encode(), own(258)))


def test_scalars_are_written_as_in_json(rows: Rows) -> None:
    schema = f"n BIGINT, ok BOOLEAN, day DATE, share DOUBLE, {PLACE}"
    given = rows(schema, (-(2**63), True, date(2026, 2, 3), 0.1, "orders", 3, 258))
    headers = [("n", b"-9223372036854775808"), ("ok", b"true"), ("day", b"2026-02-03"), ("share", b"0.1")]
    settings = target(topic=None, topic_column="day", topics=["x"], key=["n"], headers={k: k for k, _ in headers})
    value = b'{"n":-9223372036854775808,"ok":true,"day":"2026-02-03","share":0.1}'
    expected = rows(SENT, ("2026-02-03", b"-9223372036854775808", value, [*headers, *own(258)]))
    assert_df_equality(sent(given, "join", settings), expected, ignore_nullable=True)


def test_an_event_id_is_that_of_job_and_coordinates(rows: Rows) -> None:
    places = [
        ("orders", 0, 1),
        ("orders", 1, 0),
        ("/in/a b.jsonl", 0, 2**60),
        ("o/0", 1, 0),
        *(("t", 0, n) for n in range(40)),
    ]
    found = [row[0] for row in rows(PLACE, *places).select(event_id("join")).collect()]
    assert found == [str(uuid.uuid5(NAMESPACE, "/".join(map(str, ("join", *place))))) for place in places]
    assert rows(PLACE, places[0]).select(event_id("other")).first() != (found[0],)


ROUTED = "to STRING, _reason STRING, _detail STRING"


def test_a_row_for_no_known_topic_gets_a_reason_and_others_keep_theirs(rows: Rows) -> None:
    settings = target(topic=None, topic_column="to", topics=["a", "b.c"])
    given = [("a", None, None), ("b.c", None, None), ("A", None, None), (None, None, None), ("x", "NO_REFERENCE", "k")]
    detail = "to names none of sink.kafka.topics"
    strays = [("A", "NO_TOPIC", detail), (None, "NO_TOPIC", detail), given[4]]
    assert_df_equality(routed(rows(ROUTED, *given), settings), rows(ROUTED, *given[:2], *strays), ignore_nullable=True)


def test_with_one_topic_nothing_is_looked_at(rows: Rows) -> None:
    given = rows(ROUTED, ("x", None, None))
    assert routed(given, target()) is given


def test_coordinates_are_read_back_and_strangers_have_none(rows: Rows) -> None:
    written = sent(rows(ORDER, FULL), "join", target(headers={"patterns": "id"}))
    stranger = ("out", None, None, [("patterns-topic", b"t"), ("patterns-offset", b"x"), ("patterns-offset", b"1")])
    found = written.unionByName(rows(SENT, stranger, ("out", None, None, None))).select(*coordinates())
    expected = rows(PLACE, ("orders", 3, 258), ("t", None, None), (None, None, None))
    assert_df_equality(found, expected, ignore_nullable=True)
