from __future__ import annotations

from collections.abc import Callable

from chispa import assert_df_equality
from pyspark.sql import DataFrame

from jobs.core.events.envelope import EVENT, NAMESPACE, event_id, event_id_at
from jobs.core.events.reading import INCOMING


def test_an_event_without_an_id_has_one_by_its_coordinates(rows: Callable[..., DataFrame]) -> None:
    places = [("events", 0, 0), ("events", 0, 1), ("events", 1, 0), ("other", 0, 0)]
    found = rows("_topic STRING, _partition INT, _offset BIGINT", *places).select(event_id().alias("event_id"))
    expected = rows("event_id STRING", *((event_id_at(*place),) for place in places))
    assert_df_equality(found, expected, ignore_nullable=True)
    assert found.distinct().count() == len(places)


def test_the_log_s_columns_are_those_that_are_read_a_version_a_time_and_coordinates(
    rows: Callable[..., DataFrame],
) -> None:
    log = {field.name: field.dataType for field in rows(EVENT).schema}
    read = {name: kind for name, kind in INCOMING.items() if name != "expected_version"}
    assert {name: log[name] for name in read} == read
    assert [name for name in log if name not in read] == ["recorded_at", "_topic", "_partition", "_offset"]


def test_such_ids_never_change() -> None:
    assert str(NAMESPACE) == "206ae61e-b87c-48ec-81d5-b02976e1f5e4"
    assert event_id_at("events", 3, 7) == "13298e02-829b-5208-a3d2-1d6133b800d3"
