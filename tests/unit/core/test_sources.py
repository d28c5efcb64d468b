from __future__ import annotations

from datetime import datetime, timezone

import pyarrow as pa
import pytest

from jobs.core.config import KafkaSource
from jobs.core.sources import split_lines, subscription

AT = datetime(2026, 1, 1, tzinfo=timezone.utc)


def lines(content: bytes) -> list[tuple[bytes, int]]:
    batch = pa.RecordBatch.from_pydict({"path": ["f"], "content": [content], "modificationTime": [AT]})
    (split,) = split_lines(iter([batch]))
    assert {(row["topic"], row["partition"], row["timestamp"]) for row in split.to_pylist()} <= {("f", 0, AT)}
    return [(row["value"], row["offset"]) for row in split.to_pylist()]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"a", [(b"a", 0)]),
        (b"a\nbc\n", [(b"a", 0), (b"bc", 2)]),
        (b"a\r\nb", [(b"a", 0), (b"b", 3)]),
        (b"\n\xff\n", [(b"", 0), (b"\xff", 1)]),
    ],
)
def test_a_file_is_split_into_lines_at_their_byte_offsets(content: bytes, expected: list[tuple[bytes, int]]) -> None:
    assert lines(content) == expected


@pytest.mark.parametrize(
    ("source", "again", "expected"),
    [
        ({"topic": ["a", "b"]}, [], ("subscribe", "a,b")),
        ({"topic": "a"}, ["a.again"], ("subscribe", "a,a.again")),
        ({"topic_pattern": "a|b"}, [], ("subscribePattern", "a|b")),
        ({"topic_pattern": "a|b"}, ["a.again"], ("subscribePattern", r"a|b|a\.again")),
    ],
)
def test_the_redrive_topic_is_read_beside_the_source(
    source: dict[str, object], again: list[str], expected: tuple[str, str]
) -> None:
    assert subscription(KafkaSource.model_validate(source), again) == expected
