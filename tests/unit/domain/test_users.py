from __future__ import annotations

from datetime import datetime, timezone

import pytest

from jobs.domain import users
from jobs.domain.decider import Event
from jobs.domain.testing import specification
from jobs.domain.users import CreateUser, UpdateUser

given = specification(users)
NOON = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)
CREATED = Event("user_created", {"user_id": "u1", "name": "Ann", "email": "a@x"})


def test_a_user_is_created_once() -> None:
    ann = CreateUser("u1", NOON, {"name": "Ann", "email": "a@x"})
    given().when(ann).then(CREATED)
    given(CREATED).when(ann).refused("USER_EXISTS", user_id="u1")


def test_an_event_happened_when_the_command_says() -> None:
    assert [event.occurred_at for event in given().when(CreateUser("u1", NOON)).happened] == [NOON]
    assert [event.occurred_at for event in given(CREATED).when(UpdateUser("u1", NOON, {"a": 1})).happened] == [NOON]


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({"name": "Bo"}, {"name": "Bo"}),
        ({"name": "Ann", "email": None}, {"email": None}),
        ({"new": None}, {"new": None}),
    ],
)
def test_an_update_says_what_changes(fields: dict[str, object], changed: dict[str, object]) -> None:
    given(CREATED).when(UpdateUser("u1", NOON, fields)).then(Event("user_updated", {"user_id": "u1", **changed}))


def test_an_update_that_changes_nothing_is_nothing() -> None:
    given(CREATED).when(UpdateUser("u1", NOON, {"name": "Ann"})).nothing()
    given(CREATED).when(UpdateUser("u1", NOON, {})).nothing()


def test_only_a_user_that_exists_is_updated() -> None:
    given().when(UpdateUser("u1", NOON, {"name": "Bo"})).refused("USER_UNKNOWN", user_id="u1")


def test_a_user_keeps_its_id() -> None:
    changed = {"user_id": "u2"}
    given(CREATED).when(UpdateUser("u1", NOON, changed)).refused("USER_ID_CHANGED", user_id="u1", given="u2")
    given().when(CreateUser("u1", NOON, changed)).refused("USER_ID_CHANGED", user_id="u1", given="u2")


def test_creation_sets_and_an_update_merges() -> None:
    updated = Event("user_updated", {"user_id": "u1", "email": None, "age": 7})
    merged = {"user_id": "u1", "name": "Ann", "email": None, "age": 7}
    given(CREATED, updated).then_state(merged)
    given(CREATED, updated, Event("user_created", {"user_id": "u1"})).then_state({"user_id": "u1"})


def test_an_update_before_its_creation_makes_a_user_of_what_it_gives() -> None:
    given(Event("user_updated", {"user_id": "u1", "age": 7})).then_state({"user_id": "u1", "age": 7})
    given(Event("user_updated", {})).then_state({})
