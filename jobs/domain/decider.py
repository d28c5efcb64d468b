"""The shape of a domain: three pure functions, and the two ways in which they say no.

    decide(command, state) -> [event, ...]   what happens when it is asked for; nothing is an answer, too
    evolve(state, event) -> state            what a state is after an event; no rule is checked here, it has happened
    initial_state() -> state                 before the first event

A module that has them is a Decider (`domain.orders`, `domain.users`). A state of None says that there is none. Time comes
in with the command: no function looks at a clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from typing import Any, Protocol, TypeVar

C_contra = TypeVar("C_contra", contravariant=True)
S = TypeVar("S")


class Happened(Protocol):
    """What `evolve` reads of an event, wherever it comes from."""

    @property
    def event_type(self) -> str: ...

    @property
    def data(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Event:
    """What `decide` says: a type, data that JSON can hold, and when it happened."""

    event_type: str
    data: Mapping[str, Any]
    occurred_at: datetime | None = field(default=None, compare=False)


class Decider(Protocol[C_contra, S]):
    """A domain, as a module or an object."""

    def decide(self, command: C_contra, state: S) -> list[Event]:
        """Raises CommandRefused."""
        ...

    def evolve(self, state: S, event: Happened) -> S:
        """Raises UnknownEvent."""
        ...

    def initial_state(self) -> S: ...


class CommandRefused(Exception):
    """A rule of the domain says no; `rule` is its name, `facts` are what it looked at."""

    def __init__(self, rule: str, **facts: Any) -> None:
        shown = ", ".join(f"{name}={value!r}" for name, value in facts.items())
        super().__init__(f"{rule} ({shown})" if shown else rule)
        self.rule, self.facts = rule, facts


class UnknownEvent(Exception):
    """`evolve` was given an event of a type that its domain does not have."""

    def __init__(self, domain: str, event_type: str, known: Iterable[str]) -> None:
        self.domain, self.event_type, self.known = domain, event_type, tuple(known)
        super().__init__(f"{domain} has no event {event_type}; it has {', '.join(self.known)}")

    def __reduce__(self) -> tuple[Any, ...]:
        """So that it can leave a worker of Spark."""
        return type(self), (self.domain, self.event_type, self.known)


def folded(decider: Decider[Any, S], events: Iterable[Happened]) -> S:
    """The state that a history comes to. Raises UnknownEvent."""
    return reduce(decider.evolve, events, decider.initial_state())
