"""Which of many rows are refused? Found by halves, in a number of trials that grows with the bad rows, not with all of them.

Ranges are tried in order, and what is taken stays: of rows that exclude each other, as in a unique index, the first is good
and the later ones are bad, however the ranges fall.
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg2

from jobs.core.failures import Kind, kind, words
from jobs.core.postgres import Cursor

Trial = Callable[[int, int], str | None]  # (first, after): why a range is not taken; None where it is, and stays


def search(count: int, trial: Trial, most: int) -> dict[int, str]:
    """Rows below `count` that are refused, and why; once there are more than `most`, those that were found until then."""
    refused: dict[int, str] = {}
    ranges = [(0, count)] if count else []
    while ranges and len(refused) <= most:
        first, after = ranges.pop()
        why = trial(first, after)
        if why is not None and after - first == 1:
            refused[first] = why
        elif why is not None:
            middle = (first + after) // 2
            ranges += [(middle, after), (first, middle)]
    return refused if len(refused) > most else _once_more(refused, trial)


def _once_more(refused: dict[int, str], trial: Trial) -> dict[int, str]:
    """Without those that only needed a row that came later, as a foreign key within one table does."""
    tried = {row: trial(row, row + 1) for row in refused}
    still = {row: why for row, why in tried.items() if why is not None}
    return still if len(still) == len(refused) else _once_more(still, trial)


def tried(cursor: Cursor, act: Callable[[], None]) -> str | None:
    """What the server says against it, where that is the data's fault; None where it is done."""
    cursor.execute("SAVEPOINT tried")
    try:
        act()
    except psycopg2.Error as failure:
        if kind(failure) is not Kind.DATA:
            raise
        cursor.execute("ROLLBACK TO SAVEPOINT tried; RELEASE SAVEPOINT tried")
        return words(failure)
    cursor.execute("RELEASE SAVEPOINT tried")
    return None
