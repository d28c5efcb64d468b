from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs.core.audit import Check, _lag, audit
from jobs.core.config import JobConfig
from jobs.core.dead_letters import DEAD_LETTER
from jobs.core.ledger import Counts, Entry, Ledger, takeover

SINK = "order_id STRING, _topic STRING, _partition INT, _offset BIGINT"
FIRST = Entry("batch", "sized", "q1", 0, "[null]", '[{"logOffset": 0}]', Counts(2, 1, 0, 1, 0), "t0", {"FUTURE": 1})
SECOND = Entry("batch", "sized", "q1", 1, FIRST.end, '[{"logOffset": 1}]', Counts(2, 1, 1, 0, 0), "t1")
WRITTEN = [("o1", "f", 0, 0), ("o3", "f", 0, 20)]
DEAD = [10]


@pytest.fixture
def config(tmp_path: Path) -> JobConfig:
    place = {name: {"path": str(tmp_path / name)} for name in ("in", "out", "dead")}
    settings: dict[str, Any] = {
        "job": "sized",
        "source": {"file": place["in"], "schema": "order_id STRING, at TIMESTAMP", "event_time": "at"},
        "sink": {"delta": place["out"]},
        "dead_letters": {"delta": place["dead"]},
        "checkpoint": str(tmp_path / "checkpoint"),
        "trigger": {"available_now": True},
    }
    settings["source"]["late"] = {"max_lateness": "10m", "to": {"delta": {"path": str(tmp_path / "late")}}}
    return JobConfig.model_validate(settings)


Kept = Callable[..., list[Check]]


@pytest.fixture
def broken(spark: SparkSession, config: JobConfig, rows: Callable[..., DataFrame], tmp_path: Path) -> Kept:
    """What an audit finds wrong in a sink, dead letters and a ledger of these contents."""

    def kept(written: list[tuple[object, ...]], dead: list[int], *entries: Entry) -> list[Check]:
        rows(SINK, *written).write.format("delta").save(str(tmp_path / "out"))
        letters = [("f", 0, at, None, None, b"{", None, "FUTURE", "x", "sized", 1, None) for at in dead]
        rows(DEAD_LETTER, *letters).write.format("delta").save(str(tmp_path / "dead"))
        ledger = Ledger(spark, str(tmp_path / "out" / "_ledger" / "sized"))
        for entry in entries:
            ledger.append(entry)
        return [check for check in audit(spark, config).checks if not check.holds]

    return kept


def test_what_adds_up_holds(broken: Kept) -> None:
    assert broken(WRITTEN, DEAD, FIRST, SECOND) == []


def test_it_tells_which_versions_of_reference_tables_were_seen(
    broken: Kept, spark: SparkSession, config: JobConfig
) -> None:
    """Of a job with one, and of one with several steps."""
    notes = {"reference_version": "v1", "other": "x"}, {"reference_version.tier": "v7", "reference_version.price": "v2"}
    broken(WRITTEN, DEAD, *(replace(entry, note=note) for entry, note in zip((FIRST, SECOND), notes)))
    assert audit(spark, config).versions == ("price: v2", "tier: v7", "v1")


def test_a_lost_row_is_found(broken: Kept) -> None:
    assert broken(WRITTEN[:1], DEAD, FIRST, SECOND) == [Check("sink: records written", 2, 1)]


def test_a_row_written_twice_is_found(broken: Kept) -> None:
    assert broken([*WRITTEN, WRITTEN[0]], DEAD, FIRST, SECOND) == [
        Check("sink: records written more than once", 0, 1),
        Check("sink: records written", 2, 3),
    ]


def test_a_lost_dead_letter_is_found(broken: Kept) -> None:
    assert broken(WRITTEN, [], FIRST, SECOND) == [Check("dead letters: distinct records", 1, 0)]


def test_a_dead_letter_sent_twice_is_one_record(broken: Kept) -> None:
    assert broken(WRITTEN, DEAD * 2, FIRST, SECOND) == []


def test_a_dead_letter_that_was_written_after_all_is_not_counted_twice(broken: Kept) -> None:
    assert broken(WRITTEN, [10, 20], FIRST, SECOND) == []


def test_a_lost_late_record_is_found(broken: Kept, config: JobConfig, rows: Callable[..., DataFrame]) -> None:
    """A record that was written after all is not late any more."""
    assert config.source.late and config.source.late.to.delta
    for at in (20, 30):
        letter = ("f", 0, at, None, None, b"{", None, "LATE", "x", "sized", 1, None)
        rows(DEAD_LETTER, letter).write.format("delta").mode("append").save(config.source.late.to.delta.path)
    late = replace(SECOND, counts=Counts(3, 1, 0, 0, late=2))
    assert broken(WRITTEN, DEAD, FIRST, late) == [Check("late: distinct records", 2, 1)]


def test_redriven_records_leave_the_dead_letters_and_those_rejected_again_stay(broken: Kept) -> None:
    again = replace(SECOND, counts=Counts(4, 2, 0, -1, duplicate=1, redriven=1, rejected_again=1))
    first = replace(FIRST, counts=Counts(3, 1, 0, 2))
    assert broken([*WRITTEN, ("o2", "f", 0, 10)], [10, 10, 30, 30], first, again) == []


def test_a_gap_between_batches_is_found(broken: Kept) -> None:
    gap = replace(SECOND, start='[{"logOffset": 7}]')
    assert broken(WRITTEN, DEAD, FIRST, gap) == [
        Check("ledger: batches that do not start where the one before ended", 0, 1)
    ]


def test_outcomes_that_do_not_add_up_are_found(broken: Kept) -> None:
    assert broken(WRITTEN, DEAD, FIRST, replace(SECOND, counts=Counts(3, 1, 1, 0, 0))) == [
        Check("ledger: outcomes add up to the records read", 5, 4)
    ]


def at(offset: int) -> str:
    return f'[{{"f": {{"0": {offset}}}}}]'


OLD = Entry("batch", "sized", "q1", 0, at(0), at(21), Counts(21, 2, 18, 1, 0), "t0")
GOES_ON = Entry("recovery", "sized", "q2", 0, at(21), at(21), Counts(), "t1", {}, {"how": "from-ledger"})
AFTER = Entry("batch", "sized", "q2", 1, at(21), at(31), Counts(10, 1, 9, 0, 0), "t2")
ANEW = Entry("recovery", "sized", "q2", -1, "[null]", "[null]", Counts(), "t1", {}, {"how": "reprocess"})
AGAIN = Entry("batch", "sized", "q2", 0, at(5), at(15), Counts(10, 0, 9, 1, 0), "t2")


def test_a_recovery_goes_on_where_the_ledger_stood(broken: Kept) -> None:
    assert broken([*WRITTEN, ("o4", "f", 0, 30)], DEAD, OLD, GOES_ON, AFTER) == []


def test_a_row_that_a_running_job_is_about_to_record_is_not_judged(broken: Kept) -> None:
    assert broken([*WRITTEN, ("o4", "f", 0, 30)], DEAD, OLD) == []


def test_a_gap_across_a_recovery_is_found(broken: Kept) -> None:
    late = {"start": at(22), "counts": Counts(9, 1, 8, 0, 0)}
    assert broken([*WRITTEN, ("o4", "f", 0, 30)], DEAD, OLD, GOES_ON, replace(AFTER, **late)) == [
        Check("ledger: batches that do not start where the one before ended", 0, 1)
    ]


def test_after_a_reprocess_what_it_has_read_so_far_counts(broken: Kept) -> None:
    assert broken(WRITTEN, DEAD, OLD, ANEW, AGAIN) == []


def test_a_dead_letter_lost_in_a_reprocess_is_found(broken: Kept) -> None:
    assert broken(WRITTEN, [], OLD, ANEW, AGAIN) == [Check("dead letters: distinct records", 1, 0)]


def test_a_job_that_was_killed_before_its_first_batch_has_no_lag_yet(spark: SparkSession, config: JobConfig) -> None:
    """Its ledger has the start that took over, and no offsets."""
    source = {"kafka": {"topic": "orders"}, "schema": "a STRING"}
    whole = {**config.model_dump(exclude={"source"}, exclude_unset=True), "source": source}
    settings = JobConfig.model_validate({**whole, "kafka": {"bootstrap_servers": "localhost:9"}})
    assert _lag(spark, settings, [takeover("sized", 2, "process 1", datetime(2026, 1, 5))]) is None
