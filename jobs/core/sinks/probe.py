"""Which staged rows a table refuses: the sink's own INSERT, range by range, in a transaction that the caller rolls back.

append   every row is judged, in the order of coordinates
upsert   only rows that would be written are judged: of each key the newest, and where that is refused, the next. One that is
         overtaken by a good one stays superseded, whatever is wrong with it
Constraints that are checked at the end of a transaction are checked at once. Triggers run, and what they did is rolled back;
sequences go on.
"""

from __future__ import annotations

from psycopg2 import sql

from jobs.core.postgres import Cursor
from jobs.core.sinks import Refusal, statements
from jobs.core.sinks.search import search, tried


def refusals(
    cursor: Cursor, ranking: sql.Composed, attempts: list[int], insert: sql.Composed, most: int
) -> list[Refusal]:
    """Rows that `insert` can't take from the table that `ranking` makes of what was staged; over `most` there are more.

    The second best of a key has its turn once the best was refused.
    """
    count = _ranked(cursor, ranking, attempts)
    found: dict[int, str] = {}
    rank, keys = 1, None
    while again := _turn(cursor, insert, count, rank, keys, most - len(found)):
        found |= again
        if len(found) > most:
            break
        rank, keys = rank + 1, _keys(cursor, again)
    return _named(cursor, found)


def _ranked(cursor: Cursor, ranking: sql.Composed, attempts: list[int]) -> int:
    """How many rows there are to judge."""
    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    cursor.execute(ranking, {"attempts": attempts})
    count = int(cursor.rowcount)
    cursor.execute(statements.INDEX)
    return count


def _turn(
    cursor: Cursor, insert: sql.Composed, count: int, rank: int, keys: list[int] | None, most: int
) -> dict[int, str]:
    """Rows of one rank, of these keys or of all; what is good of them is written."""

    def trial(first: int, after: int) -> str | None:
        chosen = {"rank": rank, "keys": keys, "first": first, "after": after}
        return tried(cursor, lambda: cursor.execute(insert, chosen))

    return search(count, trial, most)


def _keys(cursor: Cursor, numbers: dict[int, str]) -> list[int]:
    cursor.execute(statements.KEYS, {"numbers": list(numbers)})
    return [key for (key,) in cursor.fetchall()]


def _named(cursor: Cursor, found: dict[int, str]) -> list[Refusal]:
    cursor.execute(statements.PLACES, {"numbers": list(found)})
    return [Refusal(topic, partition, offset, found[number]) for number, topic, partition, offset in cursor.fetchall()]
