"""Key order on a real broker: later records follow the first dead letter of their key, and pass after it."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import Mock

import pytest
from _letters import Case, check
from pyspark.sql import SparkSession

from jobs.core import letters
from jobs.core.letters import Wanted
from jobs.core.order import KeyOrder
from jobs.core.redrive import Done, redrive


def order(number: int, customer: str) -> bytes:
    return f'{{"order_id": "o{number}", "customer_id": "{customer}"}}'.encode()


def ordered(case: Case, **redriving: Any) -> Any:
    given = {"redrive": {**case.redrive["redrive"], **redriving}, "key_order": {"path": str(case.path / "blocked")}}
    return case.made(dead_letters={"kafka": {"topic": case.dead}, **given})


def written(spark: SparkSession, case: Case) -> list[str]:
    rows = spark.read.format("delta").load(str(case.path / "sink")).select("order_id").collect()
    return sorted(row["order_id"] for row in rows)


def reasons(spark: SparkSession, made: Any) -> list[tuple[int, str, int]]:
    """Offset, reason and attempt of what is a dead letter, or was one."""
    found = letters.current(letters.read(spark, made.config)).select("_offset", "reason", "attempt").collect()
    return sorted(map(tuple, found))


@pytest.fixture
def sent(case: Case) -> Case:
    """Behind the case's own three (a good order of key `k`, a miss, and garbage): two more of that key, and of others."""
    case.broker.send(case.orders, [order(3, "c1"), order(4, "c1")], key=b"k")
    case.broker.send(case.orders, [order(5, "c1")], key=b"other")
    case.broker.send(case.orders, [order(6, "c1")])
    return case


FIRST = {"read": 7, "written": 3, "dead_letters": 4}
BLOCKED = "KEY_BLOCKED"


def test_later_records_of_a_key_wait_and_pass_in_their_order(sent: Case, spark: SparkSession, database: Any) -> None:
    made = ordered(sent, max_attempts=9)
    check(made.run(), **FIRST)
    assert written(spark, sent) == ["o0", "o5", "o6"]
    assert reasons(spark, made) == [
        (1, "NO_REFERENCE", 1), (2, "MALFORMED", 1), (3, BLOCKED, 1), (4, BLOCKED, 1)
    ]  # fmt: skip
    sent.broker.send(sent.orders, [order(7, "c1")], key=b"k")
    check(made.run(), read=8, written=3, dead_letters=5)

    assert redrive(spark, made.config, Wanted()) == Done(5, 0, 0)
    check(made.run(), read=13, written=3, dead_letters=5, rejected_again=5)
    assert [reason for _, reason, attempt in reasons(spark, made) if attempt == 2] == [
        "NO_REFERENCE", "MALFORMED", BLOCKED, BLOCKED, BLOCKED
    ]  # fmt: skip

    sent.mend(database)
    assert redrive(spark, made.config, Wanted(["NO_REFERENCE", BLOCKED])) == Done(4, 0, 0)
    check(made.run(), read=17, written=4, dead_letters=4, rejected_again=8, redriven=1)
    assert written(spark, sent) == ["o0", "o1", "o5", "o6"], "garbage still stands before the others"


def test_into_a_topic_they_go_in_their_order(case: Case, spark: SparkSession, database: Any) -> None:
    """Those that come again before one that is new in the same batch."""
    out = case.broker.topic("out")
    given = {"redrive": case.redrive["redrive"], "key_order": {"path": str(case.path / "blocked")}}
    made = case.made(dead_letters={"kafka": {"topic": case.dead}, **given}, sink={"kafka": {"topic": out}})
    case.broker.send(case.orders, [order(3, "c9"), order(4, "c1")], key=b"m")
    check(made.run(), read=5, written=1, dead_letters=4)
    case.mend(database)
    assert redrive(spark, made.config, Wanted(["NO_REFERENCE", BLOCKED])) == Done(3, 0, 0)
    case.broker.send(case.orders, [order(5, "c1")], key=b"m")
    check(made.run(), read=9, written=5, dead_letters=1, redriven=3)
    written = [json.loads(value)["order_id"] for _, value, _ in case.records(out)]
    assert [one for one in written if one not in ("o0", "o1")] == ["o3", "o4", "o5"]


def test_what_was_parked_for_good_holds_nobody_up(
    sent: Case, spark: SparkSession, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a redrive was cut short after it."""
    made = ordered(sent, max_attempts=1)
    made.run()
    sent.mend(database)
    with monkeypatch.context() as within:
        within.setattr(KeyOrder, "free", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            redrive(spark, made.config, Wanted(["MALFORMED"]))
    assert redrive(spark, made.config, Wanted(["MALFORMED"])) == Done(0, 0, 1)
    sent.broker.send(sent.orders, [order(7, "c1")], key=b"k")
    assert redrive(spark, made.config, Wanted([BLOCKED])) == Done(2, 0, 0)
    check(made.run(), read=10, written=3, dead_letters=5, rejected_again=2)
    assert redrive(spark, made.config, Wanted(["NO_REFERENCE"])) == Done(0, 1, 0)
    assert redrive(spark, made.config, Wanted([BLOCKED])) == Done(3, 0, 0)
    sent.broker.send(sent.orders, [order(8, "c1")], key=b"k")
    check(made.run(), read=14, written=7, dead_letters=2, rejected_again=2, redriven=3)
    assert written(spark, sent) == ["o0", "o3", "o4", "o5", "o6", "o7", "o8"]


@pytest.mark.parametrize("point", [pytest.param("written", marks=pytest.mark.long), "before_ledger"])
def test_a_kill_in_a_batch_that_frees_a_key(
    sent: Case, spark: SparkSession, database: Any, killed: Any, point: str
) -> None:
    made = ordered(sent, max_attempts=2)
    made.run()
    sent.mend(database)
    assert redrive(spark, made.config, Wanted(["NO_REFERENCE"])) == Done(1, 0, 0)
    killed(made, point)
    check(made.run(), read=8, written=4, dead_letters=3, redriven=1)
    sent.broker.send(sent.orders, [order(7, "c1")], key=b"k")
    report = made.run()
    check(report, read=9, written=4, dead_letters=4, redriven=1)
    assert written(spark, sent) == ["o0", "o1", "o5", "o6"], "garbage still stands before the others"
