"""A batch that a sink refuses for its data is written again without the rows at fault; any other failure is left alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.core import poison
from jobs.core.classify import Transform
from jobs.core.errors import RowsRefused, SinkFailed
from jobs.core.failures import SinkFailure
from jobs.core.sinks import Refusal

Rows = Callable[..., DataFrame]
DECODED = "id INT, _topic STRING, _partition INT, _offset BIGINT, _reason STRING, _detail STRING"


def test_refused_rows_get_a_reason_and_a_row_that_has_one_keeps_it(rows: Rows) -> None:
    good, other = (0, "t", 0, 0, None, None), (3, "u", 0, 2, None, None)
    bad, waiting = (1, "t", 0, 1, None, None), (2, "t", 0, 2, "WAITING", "no customer")
    refused = [Refusal("t", 0, 1, "first"), Refusal("t", 0, 1, "second"), Refusal("t", 0, 2, "third")]
    found = poison.marked(rows(DECODED, good, bad, waiting, other), refused)
    expected = rows(DECODED, good, (1, "t", 0, 1, "SINK_REJECTED", "first"), waiting, other)
    assert_df_equality(found, expected, ignore_row_order=True)


class Strict:
    """A sink that refuses ids; what it was given is kept."""

    def __init__(self, rows: DataFrame, *bad: int) -> None:
        self.rows, self.bad = rows, bad
        self.asked: list[int] = []
        self.written: list[list[int]] = []

    def good(self, transform: Transform) -> DataFrame:
        return transform(self.rows).filter("_reason IS NULL")

    def write(self, transform: Transform) -> None:
        self.written.append(sorted(row.id for row in self.good(transform).collect()))
        if set(self.written[-1]) & set(self.bad):
            raise SinkFailure("23514", "CheckViolation: no")

    def ask(self, transform: Transform, most: int) -> list[Refusal]:
        """One row at a time, as if another change made the next one bad."""
        self.asked.append(most)
        found = self.good(transform).filter(F.col("id").isin(*self.bad)).orderBy("id").limit(1).collect()
        return [Refusal("t", 0, row._offset, "no") for row in found]


@pytest.fixture
def strict(rows: Rows) -> Callable[..., Strict]:
    decoded = rows(DECODED, *((number, "t", 0, number, None, None) for number in range(5)))
    return lambda *bad: Strict(decoded, *bad)


def run(sink: Strict, allowed: int) -> None:
    poison.until_taken(lambda events: events, sink.write, sink.ask, allowed, 7)


def test_a_clean_batch_is_written_once_and_nothing_is_asked(strict: Callable[..., Strict]) -> None:
    sink = strict()
    run(sink, 1)
    assert (sink.written, sink.asked) == ([[0, 1, 2, 3, 4]], [])


def test_it_is_written_until_no_row_is_refused(strict: Callable[..., Strict]) -> None:
    sink = strict(1, 3)
    run(sink, 2)
    assert (sink.written, sink.asked) == ([[0, 1, 2, 3, 4], [0, 2, 3, 4], [0, 2, 4]], [2, 1])


@pytest.mark.parametrize(
    ("allowed", "said"),
    [
        (
            1,
            r"more than 1 of its rows are refused \(sink.max_refused\), one of them: topic t, partition 0, offset 1: no",
        ),
        (0, "without dead_letters a refused row has no place to go to: topic t, partition 0, offset 1: no"),
    ],
)
def test_more_than_are_allowed_end_it(strict: Callable[..., Strict], allowed: int, said: str) -> None:
    with pytest.raises(RowsRefused, match=f"the sink did not take batch 7: {said}"):
        run(strict(1, 3), allowed)


def test_where_no_row_is_at_fault_the_failure_is_told(strict: Callable[..., Strict]) -> None:
    sink = strict(1)
    sink.ask = lambda transform, most: []  # type: ignore[method-assign]
    with pytest.raises(SinkFailed, match=r"the sink did not take batch 7: \[sqlstate 23514\] CheckViolation: no"):
        run(sink, 1)


def test_a_failure_that_is_not_the_datas_is_not_asked_about(strict: Callable[..., Strict]) -> None:
    sink = strict()

    def gone(transform: Transform) -> None:
        raise SinkFailure("08006", "gone")

    sink.write = gone  # type: ignore[method-assign]
    with pytest.raises(SinkFailure):
        run(sink, 1)
    assert sink.asked == []
