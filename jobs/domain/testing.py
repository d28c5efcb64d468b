"""Given these events, when this is asked for, then that happens: tests of a decider that read as sentences.

    given = specification(orders)

    def test_a_paid_order_is_shipped():
        given(PLACED, PAID).when(ShipOrder("o1", NOON, "t1")).then(SHIPPED)

    def test_an_unpaid_one_is_not():
        given(PLACED).when(ShipOrder("o1", NOON, "t1")).refused("WRONG_STATUS", status="placed")

Every event goes through JSON on its way, as it would through the log: what JSON cannot hold, or gives back as something
else, fails the test. What happens is also evolved: an event that `decide` makes and `evolve` does not know fails, too.
A failure is an AssertionError that shows both sides; nothing here needs pytest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from jobs.domain.decider import CommandRefused, Decider, Event, folded

C = TypeVar("C")
S = TypeVar("S")


@dataclass(frozen=True)
class Outcome(Generic[S]):
    """What came of a command."""

    happened: tuple[Event, ...]
    refusal: CommandRefused | None
    state: S  # with what happened in it

    def then(self, *expected: Event) -> None:
        """Just these events happen, in this order."""
        _same("happens", expected, self.refusal or self.happened)

    def nothing(self) -> None:
        """The command is fine, and there is nothing to do."""
        self.then()

    def refused(self, rule: str, **facts: Any) -> None:
        """The domain says no by this rule, and at least these facts are with it."""
        if self.refusal is None:
            raise AssertionError(f"expected a refusal by {rule}\n   found {_shown(self.happened)}")
        found = {name: self.refusal.facts.get(name) for name in facts}
        _same("is refused by", (rule, facts), (self.refusal.rule, found))

    def then_state(self, expected: S) -> None:
        """The state afterwards."""
        _same("is the state", expected, self.state)


@dataclass(frozen=True)
class History(Generic[C, S]):
    """What has happened so far."""

    decider: Decider[C, S]
    events: tuple[Event, ...]

    def when(self, command: C) -> Outcome[S]:
        """Asks for something."""
        try:
            happened = tuple(self.decider.decide(command, self.state))
        except CommandRefused as refusal:
            return Outcome((), refusal, self.state)
        return Outcome(happened, None, folded(self.decider, stored((*self.events, *happened))))

    @property
    def state(self) -> S:
        return folded(self.decider, stored(self.events))

    def then_state(self, expected: S) -> None:
        """What the history comes to."""
        _same("is the state", expected, self.state)


def specification(decider: Decider[C, S]) -> Callable[..., History[C, S]]:
    """Of a decider, a module or an object: the start of each of its tests, given(*events)."""
    return lambda *events: History(decider, events)


def stored(events: Iterable[Event]) -> list[Event]:
    """The events as a log gives them back. Raises AssertionError for data that JSON changes."""
    return [Event(event.event_type, _stored(event), event.occurred_at) for event in events]


def _stored(event: Event) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = json.loads(json.dumps(dict(event.data), allow_nan=False))
    except (TypeError, ValueError) as unfit:
        raise AssertionError(f"{event.event_type}: JSON cannot hold its data {event.data!r}: {unfit}") from None
    _same(f"is in {event.event_type} after JSON", dict(event.data), kept)
    return kept


def _same(what: str, expected: object, found: object) -> None:
    if expected != found:
        raise AssertionError(f"expected that {_shown(expected)} {what}\n   found {_shown(found)}")


def _shown(value: object) -> str:
    return "\n         ".join(map(repr, value)) if isinstance(value, tuple) and value else repr(value)
