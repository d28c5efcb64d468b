from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from jobs.core.decode_plan import Rejection
from jobs.core.events import reading
from jobs.core.events.personal import Split
from jobs.core.reasons import Reason

Given = dict[str, Any]


@pytest.mark.parametrize(
    ("split", "data", "rest", "personal", "subject"),
    [
        (Split(None, ("name",)), '{"id": 1, "name": "Zoë"}', '{"id":1}', '{"name":"Zoë"}', "s"),
        (Split("of", ("name",)), '{"name":"A","of":17,"n":1.50}', '{"of":17,"n":1.50}', '{"name":"A"}', "17"),
        (Split("of", ("name", "mail")), '{"of": "u1", "x": {"name": 1}}', '{"of": "u1", "x": {"name": 1}}', None, "u1"),
        (Split("of", ("of",)), '{"of":"u1","a":[1, 2]}', '{"a":[1, 2]}', '{"of":"u1"}', "u1"),
        (Split(None, ()), '{"b": 1,\t"a": null}', "{}", '{"b": 1,\t"a": null}', "s"),
        (Split(None, ("a", "b")), '{"b": 1, "a": null}', "{}", '{"b": 1, "a": null}', "s"),
        (Split(None, ()), "{ }", "{ }", None, "s"),
        (Split("of", ()), '{"of": true, "a": 1}', "{}", '{"of": true, "a": 1}', None),
        (Split("of", ("a",)), '{"a": 1}', "{}", '{"a": 1}', None),
    ],
)
def test_personal_fields_are_split_off_as_they_were_written(
    split: Split, data: str, rest: str, personal: str | None, subject: str | None
) -> None:
    found = split(pa.array([data]), pa.array(["s"]))
    assert [found[name].to_pylist() for name in ("data", "personal", "subject")] == [[rest], [personal], [subject]]


def test_no_events_are_none() -> None:
    found = Split("of", ("a",))(pa.array([], pa.string()), pa.array([], pa.string()))
    assert {name: len(column) for name, column in found.items()} == {"data": 0, "personal": 0, "subject": 0}


def decoded(split: Split | None, *events: Given) -> Any:
    settings = replace(reading.settings("user_id"), schema=reading.incoming("user_id", split))
    found = reading.decoder(settings)(pa.array([json.dumps(event).encode() for event in events], pa.binary()))
    rows = zip(*(column.to_pylist() for column in found.columns))
    return [dict(zip(settings.schema.fieldNames(), row)) for row in rows], found


def event(**data: Any) -> Given:
    return {"event_type": "e", "data": data, "timestamp": 1767607200}


def test_an_event_comes_with_its_subject_and_what_is_personal() -> None:
    rows, _ = decoded(Split("of", ("name",)), event(user_id="u1", of=5, name="A"), event(user_id="u2"))
    shown = [{name: row[name] for name in ("stream_id", "data", "subject", "personal")} for row in rows]
    assert shown == [
        {"stream_id": "u1", "data": '{"user_id":"u1","of":5}', "subject": "5", "personal": '{"name":"A"}'},
        {"stream_id": "u2", "data": '{"user_id": "u2"}', "subject": None, "personal": None},
    ]


def test_personal_fields_of_nobody_are_rejected() -> None:
    _, found = decoded(Split("of", ("name",)), event(user_id="u1", name="A"), event(user_id="u1", of="", name="A"))
    why = "$.data.of: no text, no integer, and there are personal fields"
    assert found.rejected == {number: Rejection(Reason.MISSING_REQUIRED, why) for number in (0, 1)}


def test_without_a_split_there_are_no_more_columns() -> None:
    rows, _ = decoded(None, event(user_id="u1", name="A"))
    assert list(rows[0]) == list(reading.INCOMING)
    assert rows[0]["data"] == '{"user_id": "u1", "name": "A"}'
