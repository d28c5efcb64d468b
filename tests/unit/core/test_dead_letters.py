from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from pyspark.sql import DataFrame

from jobs.core.dead_letters import DEAD_LETTER, spring_headers

AT = datetime(2026, 1, 2, 3, 4, 5)


def headers(
    rows: Callable[..., DataFrame], own: list[tuple[str, bytes | None]] | None
) -> list[tuple[str, bytes | None]]:
    letter = ("orders", 3, 258, AT, b"k", b"v", own, "FUTURE", None, "join", 1, AT)
    row = rows(DEAD_LETTER, letter).select(spring_headers().alias("headers")).first()
    assert row is not None
    return [(h["key"], h["value"] if h["value"] is None else bytes(h["value"])) for h in row["headers"]]


ADDED = [
    ("kafka_dlt-original-topic", b"orders"),
    ("kafka_dlt-original-partition", b"\x00\x00\x00\x03"),
    ("kafka_dlt-original-offset", b"\x00\x00\x00\x00\x00\x00\x01\x02"),
    ("kafka_dlt-original-timestamp", (1767323045000).to_bytes(8, "big")),
    ("kafka_dlt-original-timestamp-type", b"CreateTime"),
    ("kafka_dlt-exception-fqcn", b"jobs.core.reasons.FUTURE"),
    ("kafka_dlt-exception-message", b"FUTURE"),
    ("patterns-reason", b"FUTURE"),
    ("patterns-job", b"join"),
    ("patterns-attempt", b"1"),
]


def test_spring_s_headers_say_where_it_came_from(rows: Callable[..., DataFrame]) -> None:
    assert headers(rows, None) == ADDED


def test_the_record_s_own_headers_come_first_untouched(rows: Callable[..., DataFrame]) -> None:
    own = [("trace", b"\xff\x00"), ("trace", None)]
    assert headers(rows, own) == [*own, *ADDED]
