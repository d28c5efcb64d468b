from __future__ import annotations

import pickle

import pytest

from jobs.domain import orders, users
from jobs.domain.decider import CommandRefused, Event, UnknownEvent, folded


def test_a_history_is_folded_from_the_initial_state() -> None:
    history = [Event("user_created", {"user_id": "u1", "name": "Ann"}), Event("user_updated", {"name": "Bo"})]
    assert folded(users, history) == {"user_id": "u1", "name": "Bo"}
    assert folded(users, []) is None


@pytest.mark.parametrize(("domain", "name"), [(users, "users"), (orders, "orders")])
def test_an_unknown_event_is_an_error_that_names_its_type_and_travels(domain: object, name: str) -> None:
    with pytest.raises(UnknownEvent, match=f"{name} has no event user_renamed; it has {name[:-1]}_") as failure:
        domain.evolve(None, Event("user_renamed", {}))  # type: ignore[attr-defined]
    again = pickle.loads(pickle.dumps(failure.value))
    assert (str(again), again.event_type) == (str(failure.value), "user_renamed")


def test_a_refusal_shows_its_rule_and_its_facts() -> None:
    refusal = CommandRefused("WRONG_AMOUNT", given=1, due=2)
    assert str(refusal) == "WRONG_AMOUNT (given=1, due=2)"
    assert str(CommandRefused("ORDER_UNKNOWN")) == "ORDER_UNKNOWN"
    assert (refusal.rule, refusal.facts) == ("WRONG_AMOUNT", {"given": 1, "due": 2})


def test_events_are_the_same_whenever_they_happened() -> None:
    assert Event("a", {}, None) == Event("a", {})
    assert Event("a", {}) != Event("a", {"x": 1})
