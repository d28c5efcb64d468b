from __future__ import annotations

import pytest
from _replays import LOG, USERS, event
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.events import history
from jobs.core.events.envelope import EVENT

AGAIN = event("u2", 3, "created", {"user_id": "u2", "name": "Bob"}, 6)


@pytest.fixture
def events(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame([*LOG, AGAIN], EVENT)


def of(events: DataFrame, stream: str) -> DataFrame:
    return events.filter(F.col("stream_id") == stream)


def test_the_newest_by_coordinates_and_the_oldest_by_stream(events: DataFrame) -> None:
    assert [row["event_id"] for row in history.newest(events, 3)] == ["u2-2", "u3-1", "u2-3"]
    assert [row["event_id"] for row in history.oldest(events, 3)] == ["u1-1", "u1-2", "u2-1"]
    assert history.newest(events, 0) == []


@pytest.mark.parametrize("last", [3, 9])
def test_what_each_event_changed(events: DataFrame, last: int) -> None:
    found = history.of_stream(of(events, "u2"), USERS, last)
    assert [(one.event["event_id"], one.changed, one.has_state) for one in found] == [
        ("u2-1", {"user_id": (None, "u2"), "name": (None, "Bo")}, True),
        ("u2-2", {"user_id": ("u2", None), "name": ("Bo", None)}, False),
        ("u2-3", {"user_id": (None, "u2"), "name": (None, "Bob")}, True),
    ]


def test_the_last_events_go_on_from_all_before(events: DataFrame) -> None:
    (found,) = history.of_stream(of(events, "u1"), USERS, 1)
    assert (found.event["event_id"], found.changed) == ("u1-2", {"name": ("Ann", "Anna")})
    assert history.of_stream(of(events, "nobody"), USERS, 5) == []


@pytest.mark.parametrize(
    ("stream", "kind", "wanted"),
    [
        (None, None, ["u1-1", "u1-2", "u2-1", "u2-2", "u2-3", "u3-1"]),
        ("u2", None, ["u2-1", "u2-2", "u2-3"]),
        (None, "user_updated", ["u1-2"]),
        ("u2", "user_created", ["u2-1", "u2-3"]),
    ],
)
def test_events_of_a_stream_of_a_type_or_of_both(
    events: DataFrame, stream: str | None, kind: str | None, wanted: list[str]
) -> None:
    assert sorted(row["event_id"] for row in events.filter(history.within(stream, kind)).collect()) == wanted
