from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from jobs.domain import users
from jobs.domain.decider import CommandRefused, Event, Happened
from jobs.domain.testing import specification, stored
from jobs.domain.users import CreateUser, UpdateUser

NOON = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)
CREATED = Event("user_created", {"user_id": "u1"})
given = specification(users)


@pytest.mark.parametrize(
    ("claim", "told"),
    [
        (lambda: given().when(CreateUser("u1", NOON)).nothing(), r"expected that \(\) happens\n   found Event\(.*u1"),
        (lambda: given().when(CreateUser("u2", NOON)).then(CREATED), r"u1.* happens\n   found Event\(.*u2"),
        (
            lambda: given(CREATED).when(CreateUser("u1", NOON)).then(CREATED),
            r"found CommandRefused\(.USER_EXISTS \(user_id",
        ),
        (lambda: given(CREATED).when(CreateUser("u1", NOON)).nothing(), "found CommandRefused"),
        (lambda: given().when(CreateUser("u1", NOON)).refused("USER_EXISTS"), "a refusal by USER_EXISTS\n   found Ev"),
        (lambda: given().when(UpdateUser("u1", NOON, {})).refused("USER_EXISTS"), "found 'USER_UNKNOWN'"),
        (
            lambda: given().when(UpdateUser("u1", NOON, {})).refused("USER_UNKNOWN", user_id="u2"),
            "'u2'} is refused by\n   found 'USER_UNKNOWN'\n         {'user_id': 'u1'}",
        ),
        (lambda: given(CREATED).then_state(None), r"expected that None is the state\n   found {'user_id': 'u1'}"),
        (lambda: given().when(CreateUser("u1", NOON)).then_state(None), r"found {'user_id': 'u1'}"),
    ],
)
def test_a_claim_that_does_not_hold_fails_and_shows_both_sides(claim: Callable[[], None], told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        claim()


@pytest.mark.parametrize("value", [NOON, {1, 2}, float("nan"), b"x"])
def test_data_that_json_cannot_hold_fails(value: object) -> None:
    with pytest.raises(AssertionError, match="user_updated: JSON cannot hold its data"):
        stored([Event("user_updated", {"x": value})])


@pytest.mark.parametrize("value", [(1, 2), {1: 2}])
def test_data_that_json_changes_fails(value: object) -> None:
    with pytest.raises(AssertionError, match="is in user_updated after JSON"):
        given(Event("user_updated", {"x": value})).then_state({"x": value})


class Deaf:
    """Says what it does not understand."""

    def decide(self, command: str, state: int) -> list[Event]:
        if command == "no":
            raise CommandRefused("NO")
        return [Event(command, {"n": 1})]

    def evolve(self, state: int, event: Happened) -> int:
        return state + int({"one": event.data["n"]}[event.event_type])

    def initial_state(self) -> int:
        return 0


def test_what_happens_has_to_be_understood_too() -> None:
    one: Any = specification(Deaf())
    one(Event("one", {"n": 2})).when("one").then_state(3)
    with pytest.raises(KeyError, match="two"):
        one().when("two")


def test_a_refusal_leaves_the_state_as_it_was() -> None:
    outcome = specification(Deaf())(Event("one", {"n": 2})).when("no")
    outcome.then_state(2)
    assert outcome.happened == ()
