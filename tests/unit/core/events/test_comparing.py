from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import DataFrame
from rich.console import Console

from jobs.core.events.comparing import Difference, Row, as_text, difference

STATE = "stream_id STRING, stream_version BIGINT, name STRING, tags ARRAY<STRING>, more MAP<STRING, INT>"
LIVE = (
    ("a", 1, "Ann", ["x"], {"k": 1}),
    ("b", 2, "Bo", None, None),
    ("c", 1, None, ["x", None], None),
    ("d", 1, "Di", None, None),
)
REPLAY = (
    ("a", 1, "Ann", ["x"], {"k": 1}),
    ("b", 3, "[b]Bob", None, None),
    ("c", 1, "null", ["x"], None),
    ("e", 1, "Ed", [], None),
)


def printed(found: Difference) -> str:
    console = Console(width=100, force_terminal=False)
    with console.capture() as captured:
        console.print(as_text(found, "the replay", "data/users"))
    return captured.get()


def test_each_stream_that_differs_is_told_with_its_columns(rows: Callable[..., DataFrame]) -> None:
    found = difference(rows(STATE, *REPLAY), rows(STATE, *LIVE))
    assert found.counts == {"here": 1, "there": 1, "changed": 2}
    assert found.rows == (
        Row("b", "changed", (("stream_version", "3", "2"), ("name", '"[b]Bob"', '"Bo"'))),
        Row("c", "changed", (("name", '"null"', None), ("tags", '["x"]', '["x",null]'))),
        Row("d", "there", (("stream_version", None, "1"), ("name", None, '"Di"'))),
        Row("e", "here", (("stream_version", "1", None), ("name", '"Ed"', None), ("tags", "[]", None))),
    )
    assert not found.is_none


def test_the_difference_is_a_table_for_people(rows: Callable[..., DataFrame]) -> None:
    shown = printed(difference(rows(STATE, *REPLAY), rows(STATE, *LIVE)))
    lines = [" ".join(line.replace("│", " ").replace("┃", " ").split()) for line in shown.splitlines()]
    assert lines[:4] == [
        "streams only in the replay: 1",
        "streams only in the live table: 1",
        "streams changed: 2",
        "the replay against data/users",
    ]
    assert "b changed stream_version 3 2" in lines
    assert 'name "[b]Bob" "Bo"' in lines
    assert 'c changed name "null" null' in lines


def test_times_are_compared_to_the_microsecond(rows: Callable[..., DataFrame]) -> None:
    at = "'2026-01-05 10:00:00.00000"
    here, there = (
        rows("stream_id STRING", ("a",)).selectExpr("stream_id", f"struct(TIMESTAMP {at}{digit}Z' AS at) AS own")
        for digit in (1, 2)
    )
    (found,) = difference(here, there).rows
    assert found.columns == (("own", '{"at":"2026-01-05T10:00:00.000001Z"}', '{"at":"2026-01-05T10:00:00.000002Z"}'),)


def test_equal_tables_are_equal_and_an_empty_one_is_like_none(rows: Callable[..., DataFrame]) -> None:
    found = difference(rows(STATE, *LIVE), rows(STATE, *reversed(LIVE)))
    assert found.is_none
    assert printed(found) == "the replay and data/users are equal\n"
    assert difference(rows(STATE), None).is_none
    assert difference(rows(STATE, *LIVE[:1]), None).counts == {"here": 1}


def test_columns_that_only_one_has_are_named_and_the_others_are_compared(rows: Callable[..., DataFrame]) -> None:
    here = rows("stream_id STRING, stream_version BIGINT, name STRING, age BIGINT", ("a", 1, "Ann", 1))
    there = rows("stream_id STRING, stream_version INT, name STRING, mail STRING", ("a", 1, "An", "x"))
    found = difference(here, there)
    assert found.columns == ("stream_version", "age", "mail")
    assert found.rows == (Row("a", "changed", (("name", '"Ann"', '"An"'),)),)
    assert "columns that differ: stream_version, age, mail" in printed(found)


def test_of_many_the_first_twenty_are_shown(rows: Callable[..., DataFrame]) -> None:
    found = difference(rows(STATE, *((f"s{number:03}", 1, "x", None, None) for number in range(25))), None)
    assert (found.counts, len(found.rows), found.rows[19].stream_id) == ({"here": 25}, 20, "s019")
    assert printed(found).endswith("... and 5 streams more\n")
