from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import MappingProxyType

import pytest

from jobs.core.events.envelope import Envelope
from jobs.core.events.rendering import envelope, moment, short

AT = datetime(2026, 1, 5, 10, 0, 0, 123_456, tzinfo=timezone.utc)
EVENT = Envelope("u1", "user_created", {"user_id": "u1", "name": "Zoë", "age": None}, AT)


def test_the_short_shape_has_type_data_and_time() -> None:
    data = '{"user_id":"u1","name":"Zoë","age":null}'
    assert short(EVENT).decode() == f'{{"event_type":"user_created","data":{data},"timestamp":1767607200.123456}}'


def test_an_envelope_has_all_that_is_known() -> None:
    few = Envelope("u1", "user_created", {}, AT)
    assert envelope(few).decode() == (
        '{"stream_id":"u1","event_type":"user_created","schema_version":1,"data":{},'
        '"occurred_at":"2026-01-05T10:00:00.123456Z"}'
    )
    whole = Envelope("u1", "user_created", {}, AT, "e1", 2, MappingProxyType({"correlation_id": "c1"}), 3, 0)
    assert envelope(whole).decode() == (
        '{"stream_id":"u1","event_type":"user_created","schema_version":2,"data":{},'
        '"occurred_at":"2026-01-05T10:00:00.123456Z","event_id":"e1","stream_version":3,"expected_version":0,'
        '"metadata":{"correlation_id":"c1"}}'
    )


def test_a_time_is_in_utc_whatever_its_zone_was() -> None:
    assert moment(AT.astimezone(timezone(timedelta(hours=5, minutes=30)))) == "2026-01-05T10:00:00.123456Z"
    assert moment(datetime(2026, 1, 5, tzinfo=timezone.utc)) == "2026-01-05T00:00:00.000000Z"


@pytest.mark.parametrize("render", [short, envelope])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"x", {1}, "\ud800", "\x00", {"x": ["\x00"]}])
def test_data_that_no_reader_takes_is_not_written(render: object, value: object) -> None:
    with pytest.raises(ValueError, match="user_created: "):
        render(Envelope("u1", "user_created", {"x": value}, AT))  # type: ignore[operator]


def test_a_backslash_and_a_zero_are_no_nul() -> None:
    with pytest.raises(ValueError, match="U"):
        short(Envelope("u1", "e", {"x": "\x00"}, AT))
    assert short(Envelope("u1", "e", {"x": "\\u0000"}, AT)).count(b"\\\\u0000") == 1
