"""Retry topics on a real broker: what is due comes again by itself, each attempt once, and an idle job goes on with it."""

from __future__ import annotations

from typing import Any

import pytest
from _letters import MISSED, OWN, Case, check
from _lib.processes import until
from pyspark.sql import SparkSession

from jobs.core import letters
from jobs.core.errors import DependencyMissing
from jobs.core.letters import Wanted
from jobs.core.redrive import Done, redrive

AT_ONCE, LATER = "1ms", "1h"
READY_S = 120


def retrying(case: Case, *after: str, names: list[str] | None = None, **settings: Any) -> Any:
    """A job that retries a miss so often, by topics of its own."""
    topics = names or [case.broker.topic("retry") for _ in after]
    given = [{"topic": topic, "after": time} for topic, time in zip(topics, after)]
    again = {"redrive": {**case.redrive["redrive"], "max_attempts": len(after) + 1}, "retry": {"topics": given}}
    place = settings.pop("dead_letters", {"kafka": {"topic": case.dead}})
    return case.made(dead_letters={**place, **again}, **settings)


def topics(made: Any) -> list[str]:
    return letters.retry_topics(made.config)


def values(case: Case, topic: str) -> list[bytes]:
    """In an order of their own: the tasks of a batch send side by side."""
    return sorted(value for _, value, _ in case.records(topic))


def test_a_miss_comes_again_until_its_customer_is_there(case: Case, spark: SparkSession, database: Any) -> None:
    made = retrying(case, AT_ONCE, AT_ONCE, LATER)
    check(made.run(), read=3, written=1, dead_letters=2)
    assert (values(case, topics(made)[0]), values(case, case.dead)) == ([MISSED], [b"{"])
    check(made.run(), read=4, written=1, dead_letters=2, rejected_again=1)
    assert values(case, topics(made)[1]) == [MISSED]
    case.mend(database)
    check(made.run(), read=5, written=2, dead_letters=1, redriven=1, rejected_again=1)
    assert (values(case, topics(made)[2]), values(case, case.dead)) == ([], [b"{"])
    found = spark.read.format("delta").load(str(case.path / "sink")).select("order_id", "_topic", "_offset").collect()
    assert sorted(map(tuple, found)) == [("o0", case.orders, 0), ("o1", case.orders, 1)]
    assert case.records(case.again)[0][2][: len(OWN)] == OWN


def test_after_its_last_attempt_it_is_one_of_the_dead_letters(case: Case, spark: SparkSession) -> None:
    made = retrying(case, AT_ONCE)
    made.run()
    check(made.run(), read=4, written=1, dead_letters=2, rejected_again=1)
    assert values(case, case.dead) == sorted([b"{", MISSED])
    check(made.run(), read=4, written=1, dead_letters=2, rejected_again=1)
    last = letters.at(letters.read(spark, made.config), case.orders, 0, 1)
    assert last and (last["attempt"], last["reason"], last["headers"]) == (2, "NO_REFERENCE", OWN)


def test_what_is_not_due_waits_and_may_be_redriven_before_its_time(
    case: Case, spark: SparkSession, database: Any
) -> None:
    """Other dead letters are in Delta here."""
    made = retrying(case, LATER, dead_letters={"delta": {"path": str(case.path / "letters")}})
    made.run()
    check(made.run(), read=3, written=1, dead_letters=2)
    case.mend(database)
    assert redrive(spark, made.config, Wanted(["NO_REFERENCE"])) == Done(1, 0, 0)
    check(made.run(), read=4, written=2, dead_letters=1, redriven=1)


def test_a_letter_too_large_for_its_retry_topic_is_kept_whole_among_the_others(case: Case) -> None:
    case.broker.send(case.orders, [MISSED], key=b"k", headers=[("large", b"x" * 2000)])
    small = case.broker.topic("retry", max_message_bytes="1500")
    made = retrying(case, LATER, names=[small], dead_letters={"kafka": {"topic": case.dead, "too_large": "cut"}})
    check(made.run(), read=4, written=1, dead_letters=3)
    assert (values(case, small), values(case, case.dead)) == ([MISSED], sorted([b"{", MISSED]))


def test_a_kill_between_the_sending_and_its_note(case: Case, database: Any, killed: Any) -> None:
    """What the redrive topic has already is not sent again; the time is the config's, not the letter's."""
    made = retrying(case, LATER)
    made.run()
    case.mend(database)
    made = retrying(case, AT_ONCE, names=topics(made))
    killed(made, "due_letters_sent")
    check(made.run(), read=4, written=2, dead_letters=1, redriven=1)
    assert len(case.records(case.again)) == 1


def test_an_idle_job_goes_on_with_what_is_due(case: Case, spark: SparkSession, database: Any) -> None:
    jdbc = {"table": case.customers, "key": "customer_id", "columns": ["segment"]}
    reference = {"jdbc": jdbc, "refresh": {"every": "100ms"}}
    made = retrying(case, *["500ms"] * 5, LATER, trigger={"every": "100ms"}, reference=reference)
    running = made.start()
    try:
        assert until(lambda: running.batch.ledger.last_batch is not None, READY_S)
        case.mend(database)
        assert until(lambda: rows(spark, case) == 2, READY_S)
    finally:
        running.stop()
    report = made.audit()
    assert report.holds, report.checks
    assert (report.counts.written, report.counts.redriven, report.counts.dead_letters) == (2, 1, 1)


def rows(spark: SparkSession, case: Case) -> int:
    return spark.read.format("delta").load(str(case.path / "sink")).count()


def test_a_retry_topic_that_is_not_there_is_named(case: Case) -> None:
    with pytest.raises(DependencyMissing, match="nowhere on .*: the broker has no such topic"):
        retrying(case, LATER, names=["nowhere"]).start()
