"""Events as the seed writes them, made from their number alone."""

from __future__ import annotations

from collections.abc import Iterator


def user_of(number: int, users: int) -> int:
    return number * 7919 % users


def events_of(count: int, users: int) -> Iterator[bytes]:
    """Each user's first event creates it, the others change its mail address or its plan."""
    for number in range(count):
        user, at = f"u{user_of(number, users):06d}", 1_767_607_200 + number / 1000
        if number < users:
            kind, rest = "user_created", f'"name": "Name {number}", "email": "{user}@example.org", "plan": "free"'
        elif number % 3:
            kind, rest = "user_updated", f'"email": "{user}.{number}@example.org"'
        else:
            kind, rest = "user_updated", f'"plan": "plan {number % 5}"'
        yield f'{{"event_type": "{kind}", "data": {{"user_id": "{user}", {rest}}}, "timestamp": {at:.3f}}}'.encode()
