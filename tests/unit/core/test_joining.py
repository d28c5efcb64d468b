"""Events and the rows of their keys: what is matched, what the columns are called, which types may be compared."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame

from jobs.core import joining
from jobs.core.errors import ConfigError

Rows = Callable[..., DataFrame]
EVENT, ROW = "id INT, of STRING, name STRING", "key INT, of STRING, name STRING, more INT"
ON = {"id": "key", "of": "of"}


def test_every_event_is_there_once_and_null_keys_match_nothing(rows: Rows) -> None:
    events = rows(EVENT, (1, "a", "x"), (1, "b", "x"), (None, "a", "x"), (2, None, "x"))
    found = joining.matched(events, rows(ROW, (1, "a", "y", 7), (None, "a", "z", 8), (2, None, "z", 9)), ON, {})
    expected = rows(
        f"{EVENT}, ref_name STRING, more INT, _matched BOOLEAN",
        (1, "a", "x", "y", 7, True),
        (1, "b", "x", None, None, None),
        (None, "a", "x", None, None, None),
        (2, None, "x", None, None, None),
    )
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)


def test_a_key_is_compared_as_it_is_cast_and_what_cannot_be_cast_matches_nothing(rows: Rows) -> None:
    events = rows("id STRING", ("1",), ("one",))
    found = joining.matched(events, rows("key INT, v INT", (1, 7)), {"id": "key"}, {"id": "INT"})
    expected = rows("id STRING, v INT, _matched BOOLEAN", ("1", 7, True), ("one", None, None))
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)


def test_types_that_differ_are_told_with_the_cast_that_would_do(rows: Rows) -> None:
    left, right = rows("id STRING").schema, rows("key INT").schema
    joining.check_types(left, right, {"id": "key"}, {"id": "int"}, "join")
    with pytest.raises(ConfigError, match=r"join.on.id = key: id is string, key is int: say join.cast: {id: int}"):
        joining.check_types(left, right, {"id": "key"}, {}, "join")


def test_too_many_rows_are_not_broadcast(rows: Rows) -> None:
    events, known = rows("id INT", (1,)), rows("id INT, v INT", (1, 7))
    plans = [
        events.join(joining.hinted(known, 2, most), "id")._jdf.queryExecution().executedPlan().toString()
        for most in (2, 1)
    ]
    assert ["BroadcastHashJoin" in plan for plan in plans] == [True, False]
    assert "ShuffledHashJoin" in plans[1]
