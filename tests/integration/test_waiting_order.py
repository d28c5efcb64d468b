"""Records that wait in the order of their key: nothing passes the first of them, whether it is released or given up."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _letters import Case, check
from pyspark.sql import SparkSession

from jobs.core import letters
from jobs.core.letters import Wanted
from jobs.core.redrive import Done, redrive


def order(number: int, customer: str) -> bytes:
    return f'{{"order_id": "o{number}", "customer_id": "{customer}"}}'.encode()


def waiting(case: Case, wait_for: str = "1h", **more: Any) -> dict[str, Any]:
    waits = {"on_miss": "wait", "wait_for": wait_for, "parked": str(case.path / "parked"), **more}
    return {"on": {"customer_id": "customer_id"}, **waits}


def test_what_comes_behind_a_record_that_waits_is_released_behind_it(case: Case, database: Any) -> None:
    """Into a topic, which keeps the order: of the key `k` the second one is a miss."""
    sink = {"kafka": {"topic": case.broker.topic("out"), "key": ["order_id"]}}
    made = case.made(redriving=False, join=waiting(case, key_order=True), sink=sink)
    case.broker.send(case.orders, [order(3, "c1"), order(4, "c1")], key=b"k")
    case.broker.send(case.orders, [order(5, "c1")], key=b"other")
    case.broker.send(case.orders, [order(6, "c1")])
    check(made.run(), read=7, written=3, dead_letters=1, parked=3)
    case.broker.send(case.orders, [order(7, "c1"), order(8, "c9")], key=b"k")
    check(made.run(), read=9, written=3, dead_letters=1, parked=5)
    case.mend(database)
    check(made.run(), read=9, written=8, dead_letters=1)
    case.broker.send(case.orders, [order(9, "c1")], key=b"k")
    check(made.run(), read=10, written=9, dead_letters=1)
    written = [json.loads(value)["order_id"] for _, value, _ in case.records(sink["kafka"]["topic"])]
    assert sorted(written[:3]) == ["o0", "o5", "o6"]
    assert written[3:] == ["o1", "o3", "o4", "o7", "o8", "o9"]


@pytest.mark.parametrize("point", [None, pytest.param("before_ledger", marks=pytest.mark.long)])
def test_behind_one_that_waited_in_vain_they_become_dead_letters(
    case: Case, spark: SparkSession, database: Any, killed: Any, point: str | None
) -> None:
    """With `dead_letters.key_order`, which what waits has to heed."""
    given = {"redrive": case.redrive["redrive"], "key_order": {"path": str(case.path / "blocked")}}
    dead = {"kafka": {"topic": case.dead}, **given}
    case.broker.send(case.orders, [order(3, "c9"), order(4, "c1"), order(5, "c9")], key=b"m")
    check(case.made(join=waiting(case), dead_letters=dead).run(), read=6, written=1, dead_letters=1, parked=4)
    made = case.made(join=waiting(case, wait_for="1ms"), dead_letters=dead)
    if point:
        killed(made, point)
    check(made.run(), read=6, written=1, dead_letters=5)
    case.broker.send(case.orders, [order(6, "c1")], key=b"m")
    check(made.run(), read=7, written=1, dead_letters=6)
    found = letters.current(letters.read(spark, made.config)).select("_offset", "reason").collect()
    assert sorted(map(tuple, found)) == [
        (1, "NO_REFERENCE"), (2, "MALFORMED"), (3, "NO_REFERENCE"), (4, "KEY_BLOCKED"), (5, "NO_REFERENCE"),
        (6, "KEY_BLOCKED"),
    ]  # fmt: skip

    case.mend(database)
    assert redrive(spark, made.config, Wanted(["NO_REFERENCE", "KEY_BLOCKED"])) == Done(5, 0, 0)
    check(made.run(), read=12, written=6, dead_letters=1, redriven=5)


@pytest.mark.long
def test_with_key_order_what_comes_again_does_not_pass_what_waits(
    case: Case, spark: SparkSession, database: Any
) -> None:
    """A dead letter behind a record that waits is redriven: it stays one, as a record is parked once."""
    case.broker.send(case.orders, [order(3, "c9"), b"{", order(4, "c1")], key=b"m")
    made = case.made(join=waiting(case, key_order=True))
    check(made.run(), read=6, written=1, dead_letters=2, parked=3)
    assert redrive(spark, made.config, Wanted(["MALFORMED"])) == Done(2, 0, 0)
    check(made.run(), read=8, written=1, dead_letters=2, parked=3, rejected_again=2)
    case.mend(database)
    check(made.run(), read=8, written=4, dead_letters=2, rejected_again=2)
