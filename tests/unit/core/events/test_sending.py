from __future__ import annotations

from collections.abc import Callable

from _outgoing import us
from chispa import assert_df_equality
from pyspark.sql import DataFrame

from jobs.core.events.outgoing import OUTGOING
from jobs.core.events.sending import ordered, sent
from jobs.core.sinks.messages import SENT

Rows = Callable[..., DataFrame]


def test_a_record_has_its_stream_as_key_and_its_id_as_header(rows: Rows) -> None:
    found = sent(rows(OUTGOING, ("ü", 3, "id-3", us(0), '{"a":"ä"}')), "t")
    header = [("event_id", b"id-3")]
    expected = rows(SENT, ("t", "ü".encode(), '{"a":"ä"}'.encode(), header))
    assert_df_equality(found, expected, ignore_nullable=True)


def test_columns_may_be_kept_behind(rows: Rows) -> None:
    kept = sent(rows(OUTGOING, ("u", 3, "id-3", us(0), "{}")), "t", "stream_version", "event_id")
    assert [tuple(row)[-2:] for row in kept.collect()] == [(3, "id-3")]


def test_a_stream_is_in_one_part_and_each_part_in_order(rows: Rows) -> None:
    given = [(f"s{n % 7}", n, f"id-{n}", us(n // 10), "{}") for n in range(100, 0, -1)]
    parts = ordered(rows(OUTGOING, *given).repartition(5), 3).rdd.glom().collect()
    assert len(parts) == 3
    found = [(row["due_us"], row["stream_id"], row["stream_version"]) for part in parts for row in part]
    assert sorted(found) == sorted((due, stream, version) for stream, version, _, due, _ in given)
    for part in parts:
        keys = [(row["due_us"], row["stream_id"], row["stream_version"]) for row in part]
        assert keys == sorted(keys)
    streams = [{row["stream_id"] for row in part} for part in parts]
    assert sum(map(len, streams)) == 7
