"""Bad rows among many: found by halves, in order, and within a bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg2 import errors

from jobs.core.sinks.search import search, tried


class Table:
    """Takes a range of rows or nothing of it; `bad` says of a row, and of what is there beside it, whether it may not be."""

    def __init__(self, bad: Callable[[int, set[int]], bool]) -> None:
        self.bad, self.rows, self.trials = bad, set[int](), 0

    def trial(self, first: int, after: int) -> str | None:
        self.trials += 1
        whole = self.rows | set(range(first, after))
        wrong = [row for row in range(first, after) if self.bad(row, whole)]
        if not wrong:
            self.rows = whole
        return f"bad: {wrong[0]}" if wrong else None


@given(count=st.integers(0, 300), bad=st.sets(st.integers(0, 299), max_size=40))
def test_all_bad_rows_are_found_and_all_others_are_taken(count: int, bad: set[int]) -> None:
    table = Table(lambda row, _: row in bad)
    wrong = {row for row in bad if row < count}
    assert search(count, table.trial, most=300) == {row: f"bad: {row}" for row in wrong}
    assert table.rows == set(range(count)) - wrong


def test_a_clean_range_is_one_trial_and_a_bad_row_costs_the_logarithm() -> None:
    clean, one = Table(lambda *_: False), Table(lambda row, _: row == 70_000)
    assert search(100_000, clean.trial, most=10) == {} and clean.trials == 1
    assert list(search(100_000, one.trial, most=10)) == [70_000] and one.trials <= 2 * 17 + 2


@given(groups=st.lists(st.integers(0, 20), max_size=200))
def test_of_rows_that_exclude_each_other_the_first_is_taken(groups: list[int]) -> None:
    table = Table(lambda row, rows: any(groups[other] == groups[row] for other in rows - {row}))
    first = {groups.index(group) for group in groups}
    assert set(search(len(groups), table.trial, most=200)) == set(range(len(groups))) - first


def test_a_row_that_needs_a_later_one_is_tried_once_more() -> None:
    """2 is bad, which parts 1 from 3; 0 needs 1, which needs 3."""
    needs = {0: 1, 1: 3}
    table = Table(lambda row, rows: row == 2 or needs.get(row, row) not in rows)
    assert list(search(4, table.trial, most=4)) == [2]
    assert table.rows == {0, 1, 3}


def test_where_all_are_bad_the_search_ends_past_the_bound() -> None:
    table = Table(lambda *_: True)
    assert list(search(100_000, table.trial, most=3)) == [0, 1, 2, 3]
    assert table.trials < 50


class Cursor:
    def __init__(self) -> None:
        self.said: list[str] = []

    def execute(self, statement: str) -> None:
        self.said.append(statement)


def failing(failure: Exception) -> Callable[[], None]:
    def act() -> None:
        raise failure

    return act


def test_what_is_done_stays_and_what_the_data_forbids_is_undone() -> None:
    cursor: Any = Cursor()
    assert tried(cursor, lambda: None) is None
    assert cursor.said == ["SAVEPOINT tried", "RELEASE SAVEPOINT tried"]
    assert tried(cursor, failing(psycopg2.IntegrityError("duplicate key"))) == "IntegrityError: duplicate key"
    assert cursor.said[2:] == ["SAVEPOINT tried", "ROLLBACK TO SAVEPOINT tried; RELEASE SAVEPOINT tried"]


def test_a_failure_that_is_not_the_datas_is_no_answer() -> None:
    with pytest.raises(errors.ConnectionFailure):
        tried(Cursor(), failing(errors.ConnectionFailure("gone")))  # type: ignore[arg-type]
