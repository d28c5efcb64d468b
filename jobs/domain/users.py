"""Users, who are created and updated: `user_created` sets the state to its data, `user_updated` merges into it.

STATE    the user's fields, as the events gave them; `user_id` is one of them. None: there is no such user
events   user_created, user_updated, each with `user_id` in its data
refused  USER_EXISTS, USER_UNKNOWN, USER_ID_CHANGED

An update whose creation was never seen makes a user of the fields that it gives, so a replay that begins in the middle goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jobs.domain.decider import CommandRefused, Event, Happened, UnknownEvent

CREATED, UPDATED = "user_created", "user_updated"
User = Mapping[str, Any]


@dataclass(frozen=True)
class CreateUser:
    user_id: str
    at: datetime
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class UpdateUser:
    """Only what changes; a None takes a value away."""

    user_id: str
    at: datetime
    fields: Mapping[str, Any]


Command = CreateUser | UpdateUser


def initial_state() -> User | None:
    return None


def decide(command: Command, state: User | None) -> list[Event]:
    """One event, or none where an update changes nothing. Raises CommandRefused."""
    if command.fields.get("user_id", command.user_id) != command.user_id:
        raise CommandRefused("USER_ID_CHANGED", user_id=command.user_id, given=command.fields["user_id"])
    return _create(command, state) if isinstance(command, CreateUser) else _update(command, state)


def evolve(state: User | None, event: Happened) -> User | None:
    """The user after an event. Raises UnknownEvent."""
    if event.event_type == CREATED:
        return dict(event.data)
    if event.event_type == UPDATED:
        return {**(state or {}), **event.data}
    raise UnknownEvent("users", event.event_type, (CREATED, UPDATED))


def _create(command: CreateUser, state: User | None) -> list[Event]:
    if state is not None:
        raise CommandRefused("USER_EXISTS", user_id=command.user_id)
    return [Event(CREATED, {"user_id": command.user_id, **command.fields}, command.at)]


def _update(command: UpdateUser, state: User | None) -> list[Event]:
    if state is None:
        raise CommandRefused("USER_UNKNOWN", user_id=command.user_id)
    changed = {name: value for name, value in command.fields.items() if name not in state or state[name] != value}
    return [Event(UPDATED, {"user_id": command.user_id, **changed}, command.at)] if changed else []
