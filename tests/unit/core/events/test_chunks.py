from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from _outgoing import event, us
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.core.events.chunks import Batch, Chunks, Span
from jobs.core.events.envelope import EVENT
from jobs.core.events.outgoing import IN_ORDER, OUTGOING, rendered, timed

Rows = Callable[..., DataFrame]
LATE = (event("b", 1, 3), event("a", 2, 1.5), event("a", 1, 0.5), event("c", 1, 1.75), event("a", 3, -9))


@pytest.fixture
def chunks(spark: SparkSession, tmp_path: Path) -> Chunks:
    return Chunks(spark, f"{tmp_path}/chunks")


def test_events_are_there_in_the_order_in_which_they_are_due(chunks: Chunks, rows: Rows) -> None:
    log = rows(EVENT, *LATE)
    chunks.write(log, "short", each=10)
    (span,) = chunks.spans()
    assert span.all == Batch(us(0.5), us(3), 5)
    found = chunks.between(span.chunk, None, us(3))
    expected = rendered(timed(log), "short").orderBy(*IN_ORDER)
    assert_df_equality(found, expected, ignore_nullable=True)
    assert [row["event_id"] for row in found.collect()] == ["a-1", "a-2", "a-3", "c-1", "b-1"]


def test_a_part_of_a_chunk_is_what_is_due_after_one_moment_up_to_another_one(chunks: Chunks, rows: Rows) -> None:
    chunks.write(rows(EVENT, *LATE), "short", each=10)
    (span,) = chunks.spans()
    found = chunks.between(span.chunk, us(0.5), us(1.75)).select("event_id", "due_us")
    wanted = [("a-2", us(1.5)), ("a-3", us(1.5)), ("c-1", us(1.75))]
    assert_df_equality(found, rows("event_id STRING, due_us BIGINT", *wanted), ignore_nullable=True)


def test_what_goes_out_together_is_known_without_what_is_empty(chunks: Chunks, rows: Rows) -> None:
    chunks.write(rows(EVENT, *LATE), "short", each=10)
    (span,) = chunks.spans()
    whole = [Batch(us(0.5), us(0.5), 1), Batch(us(1.5), us(1.75), 3), Batch(us(3), us(3), 1)]
    assert chunks.batches(span, None, 1_000_000) == whole
    assert chunks.batches(span, us(1.5), 1_000_000) == [Batch(us(1.75), us(1.75), 1), whole[-1]]
    assert chunks.batches(span, us(0.5), 1_000_000_000) == [Batch(us(1.5), us(3), 4)]
    assert chunks.batches(span, us(3), 1_000_000) == []
    assert chunks.batches(span, None, float("inf")) == [Batch(us(0.5), us(3), 5)]


def test_many_are_cut_into_chunks_that_follow_one_another(chunks: Chunks, rows: Rows) -> None:
    """A stream whose events are all due at once is cut, too, at a version."""
    chunks.write(rows(EVENT, *(event("a", version + 1, 7) for version in range(50))), "short", each=10)
    spans = chunks.spans()
    assert len(spans) > 3 and sum(span.all.events for span in spans) == 50
    assert [span.chunk for span in spans] == sorted(span.chunk for span in spans)
    versions = [row["stream_version"] for span in spans for row in chunks.between(span.chunk, None, us(7)).collect()]
    assert versions == [*range(1, 51)]


def test_a_build_is_made_over_what_another_one_left(chunks: Chunks, rows: Rows) -> None:
    chunks.write(rows(EVENT, *(event("a", version + 1, version) for version in range(50))), "short", each=10)
    chunks.write(rows(EVENT, event("a", 1, 7)), "short", each=10)
    assert chunks.spans() == [Span(0, Batch(us(7), us(7), 1))]
    chunks.write(rows(EVENT), "short", each=10)
    assert chunks.spans() == []


def test_an_outgoing_event_is_what_it_says(chunks: Chunks, rows: Rows, spark: SparkSession) -> None:
    chunks.write(rows(EVENT, event("a", 1)), "envelope", each=1)
    assert chunks.between(0, None, us(0)).schema == spark.createDataFrame([], OUTGOING).schema
