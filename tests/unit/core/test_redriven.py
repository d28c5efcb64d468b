"""What comes again by the redrive topic: whose headers are believed, what is a duplicate, and what a repeat may count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.core.files import Folder
from jobs.core.redriven import Again, Redrive, first_coordinates
from jobs.core.sinks import Mark
from jobs.core.sinks.tables import DeltaTableSink
from jobs.core.sinks.views import MemorySink

Rows = Callable[..., DataFrame]
Headers = list[tuple[str, bytes | None]]
HEADERS = "ARRAY<STRUCT<key: STRING, value: BINARY>>"
PLACE = "_topic STRING, _partition INT, _offset BIGINT"
DECODED = f"id INT, {PLACE}, _timestamp TIMESTAMP, _reason STRING, _headers {HEADERS}"
RECORDS = f"partition INT, offset BIGINT, headers {HEADERS}"
MARK = Mark("join", "q1", 4, '[{"orders": {"0": 9}, "again": {"0": 0}}]', '[{"orders": {"0": 9}, "again": {"0": 5}}]')
OWN: Headers = [("trace", b"\xff"), ("kafka_dlt-original-topic", b"elsewhere"), ("none", None)]


def ours(offset: int = 7, attempt: bytes = b"2", **changed: bytes | None) -> Headers:
    """The headers that a redrive adds."""
    given = {
        "topic": b"orders",
        "partition": (3).to_bytes(4, "big"),
        "offset": offset.to_bytes(8, "big"),
        "timestamp": (1767323045000).to_bytes(8, "big"),
        "job": b"join",
        "attempt": attempt,
    } | changed
    names = dict.fromkeys(("job", "attempt"), "patterns-")
    return [(names.get(name, "kafka_dlt-original-") + name, value) for name, value in given.items()]


def record(number: int, offset: int, headers: Headers | None, topic: str = "again") -> tuple[Any, ...]:
    return (number, topic, 0, offset, None, None, headers)


def placed(rows: Rows, *records: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """id, topic, partition, offset, attempt of each."""
    found = first_coordinates(rows(DECODED, *records), "again", "join")
    return sorted(tuple(row) for row in found.select("id", "_topic", "_partition", "_offset", "_attempt").collect())


def test_a_redriven_record_is_as_it_was_when_it_was_first_read(rows: Rows) -> None:
    found = first_coordinates(rows(DECODED, record(1, 0, [*OWN, *ours()])), "again", "join").drop("_order")
    expected = rows(DECODED + ", _attempt INT").sparkSession.createDataFrame(
        [(1, "orders", 3, 7, None, None, OWN, 2)], DECODED + ", _attempt INT"
    )
    assert_df_equality(found.drop("_timestamp"), expected.drop("_timestamp"), ignore_nullable=True)
    assert [row.at for row in found.selectExpr("unix_millis(_timestamp) AS at").collect()] == [1767323045000]


def test_headers_are_believed_in_the_redrive_topic_alone(rows: Rows) -> None:
    assert placed(rows, record(1, 5, ours(), "orders")) == [(1, "orders", 0, 5, 1)]


@pytest.mark.parametrize(
    "headers",
    [
        None,
        [],
        OWN,
        [("patterns-attempt", b"2"), ("patterns-job", b"join")],
        ours(topic=None),
        ours(partition=b"\x00"),
        ours(partition=b"\xff" * 4),
        ours(offset=-1 % (1 << 64)),
        ours(offset=(1 << 64) - 1),
        ours(timestamp=b"\x7f" * 8),
        ours(attempt=b"two"),
        ours(attempt=b"1"),
        ours(attempt=b"99999999999"),
        ours(attempt=b"\xff"),
        ours(job=b"another"),
    ],
)
def test_a_record_without_whole_headers_keeps_its_own_coordinates(rows: Rows, headers: Headers | None) -> None:
    assert placed(rows, record(1, 5, headers)) == [(1, "again", 0, 5, 1)]


@pytest.fixture
def made(spark: SparkSession, rows: Rows, tmp_path: Path) -> Redrive:
    return Redrive("join", "again", Folder(spark, str(tmp_path / "notes")), lambda: rows(RECORDS))


@pytest.fixture
def sink(spark: SparkSession, rows: Rows, tmp_path: Path) -> DeltaTableSink:
    """It holds one record, orders 3 7."""
    made = DeltaTableSink(spark, str(tmp_path / "sink"))
    made.append(rows(PLACE, ("orders", 3, 7)), MARK)
    return made


def ids(again: Again) -> list[int]:
    return sorted(row["id"] for row in again.rows.collect())


def judged(again: Again) -> list[int]:
    """Offsets, each once."""
    return sorted({row["_offset"] for row in again.judged.collect()})


def test_what_is_there_or_comes_twice_is_a_duplicate(made: Redrive, sink: DeltaTableSink, rows: Rows) -> None:
    decoded = rows(
        DECODED,
        record(1, 0, ours(7)),
        record(2, 1, ours(8)),
        record(3, 2, ours(8)),
        record(4, 3, ours(8, b"3")),
        record(5, 4, None),
        (6, "orders", 3, 9, None, None, None),
        record(7, 5, ours(9)),
    )
    with made.sorted(decoded, MARK, sink) as again:
        assert (ids(again), again.duplicate, again.already) == ([4, 5, 6], 4, 0)
        assert again.taken and sorted(map(tuple, again.taken.collect())) == [("orders", 3, 8, 3)]
        assert judged(again) == [4, 7, 8, 9], "what the sink holds has passed"


def test_a_repeat_knows_what_the_attempt_before_it_has_written(made: Redrive, sink: DeltaTableSink, rows: Rows) -> None:
    decoded = rows(DECODED, record(1, 0, ours(7)), record(2, 1, ours(8)), record(3, 2, ours(9)))
    with made.sorted(decoded, MARK, sink) as again:
        assert (ids(again), again.duplicate, again.already) == ([2, 3], 1, 0)
        sink.append(rows(PLACE, ("orders", 3, 8), ("orders", 3, 9)), MARK)
    with made.sorted(decoded, MARK, sink) as again:
        assert (ids(again), again.duplicate, again.already) == ([], 1, 2)
    later = Mark("join", "q1", 5, MARK.end, MARK.end)
    with made.sorted(decoded, later, sink) as again:
        assert (ids(again), again.duplicate, again.already) == ([], 3, 0)
    assert [info.name for info in made.notes.list()] == ["q1-5"], "one note is enough"


def test_where_a_sink_cannot_say_the_topic_tells_what_came_before(
    made: Redrive, spark: SparkSession, rows: Rows
) -> None:
    """Of the same attempt: one that was rejected meanwhile comes again with the next."""
    topic = rows(RECORDS, (0, 0, ours(7)), (0, 1, ours(8)), (0, 2, ours(9)), (1, 0, ours(9)), (0, 1, None))
    decoded = rows(DECODED, record(1, 2, ours(7)), record(2, 3, ours(8, b"3")), record(3, 4, ours(9)))
    mark = Mark("join", "q1", 4, '[{"again": {"0": 2}}]', '[{"again": {"0": 5, "1": 1}}]')
    with replace(made, records=lambda: topic).sorted(decoded, mark, MemorySink(spark, "none")) as again:
        assert (ids(again), again.duplicate, again.already) == ([2, 3], 1, 0)
        assert judged(again) == [8, 9], "7 may have been rejected since"


def test_what_came_again_does_not_wait(made: Redrive, sink: DeltaTableSink, rows: Rows) -> None:
    decoded = rows(DECODED, record(1, 0, ours(8)), record(2, 1, None))
    decoded = decoded.unionByName(rows(DECODED, record(3, 2, ours(9))))
    instead = "CASE WHEN id = 3 THEN 'NO_ANSWER' END AS _instead"
    waiting = decoded.selectExpr("id", "'WAITING' AS _reason", instead)
    with made.sorted(decoded, MARK, sink) as again:
        outcome = again.tried(
            first_coordinates(decoded, "again", "join").drop("_attempt", "_order", "_reason").join(waiting, "id")
        )
        found = sorted(tuple(row) for row in outcome.select("id", "_reason", "_attempt").collect())
    assert found == [(1, "NO_REFERENCE", 2), (2, "WAITING", 1), (3, "NO_ANSWER", 2)]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ('{"again": {"0": 3, "1": 0}}', '{"again": {"0": 3, "1": 1}}', True),
        ('{"orders": {"0": 0}}', '{"orders": {"0": 1}, "again": {"0": 2}}', True),
        ('{"orders": {"0": 0}, "again": {"0": 2}}', '{"orders": {"0": 1}, "again": {"0": 2}}', False),
        ("null", '{"orders": {"0": 1}, "again": {"0": 0}}', False),
    ],
    ids=["one partition", "a new topic", "nothing new", "empty"],
)
def test_offsets_say_whether_anything_came_again(made: Redrive, start: str, end: str, expected: bool) -> None:
    assert made.within(Mark("join", "q", 1, f"[{start}]", f"[{end}]")) is expected
