"""Dead letters read back: which are meant, and which headers are the record's own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core import letters
from jobs.core.config import JobConfig
from jobs.core.dead_letters import DEAD_LETTER, redriven_headers, spring_headers
from jobs.core.letters import Wanted

Rows = Callable[..., DataFrame]
OWN = [("trace", b"\xff"), ("kafka_dlt-original-topic", b"elsewhere"), ("patterns-attempt", b"9"), ("none", None)]


def at(hour: int) -> datetime:
    return datetime(2026, 1, 2, hour, tzinfo=timezone.utc)


def letter(offset: int, reason: str = "FUTURE", attempt: int = 1, hour: int = 3, **more: Any) -> tuple[Any, ...]:
    given = {"value": b"v", "headers": None, "detail": "x", "job": "join", **more}
    record = ("orders", 3, offset, at(1), b"k", given["value"], given["headers"])
    return (*record, reason, given["detail"], given["job"], attempt, at(hour))


def offsets(found: DataFrame) -> list[int]:
    return sorted(row["_offset"] for row in found.select("_offset").collect())


@pytest.mark.parametrize("headers", [spring_headers, redriven_headers])
def test_our_headers_come_last_and_are_told_from_a_record_s_own(rows: Rows, headers: Callable[[], Any]) -> None:
    sent = rows(DEAD_LETTER, letter(258, headers=OWN)).select(headers().alias("sent"))
    found = sent.withColumn("ours", letters.added("sent")).select(
        letters.own("sent").alias("headers"),
        *letters.origin("ours"),
        letters.attempt("ours").alias("attempt"),
        letters.text("ours", "patterns-job").alias("job"),
    )
    names = ["headers", "_topic", "_partition", "_offset", "_timestamp", "attempt", "job"]
    attempt = 1 if headers is spring_headers else 2
    expected = rows(DEAD_LETTER, letter(258, headers=OWN, attempt=attempt)).select(*names)
    assert_df_equality(found, expected, ignore_nullable=True)


def test_headers_without_ours_are_all_the_record_s_own(rows: Rows) -> None:
    given = rows("h ARRAY<STRUCT<key: STRING, value: BINARY>>", ([("a", b"1")],), ([],), (None,))
    found = given.select(letters.own("h").alias("own"), letters.added("h").alias("ours")).collect()
    assert [tuple(row) for row in found] == [([("a", b"1")], []), ([], []), (None, None)]


def test_a_record_counts_once_with_its_last_attempt(rows: Rows) -> None:
    given = rows(
        DEAD_LETTER, letter(1), letter(1, attempt=2, hour=4), letter(1, attempt=2, hour=5), letter(1, hour=6), letter(2)
    )
    expected = rows(DEAD_LETTER, letter(1, attempt=2, hour=5), letter(2))
    assert_df_equality(letters.current(given), expected, ignore_row_order=True, ignore_nullable=True)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), [1, 2, 3]),
        (Wanted(["TOO_DEEP", "MALFORMED"]), [2, 3]),
        (Wanted(since=at(5)), [1, 3]),
        (Wanted(["FUTURE"], at(5)), [1]),
        (Wanted(["CONSTRAINT"]), []),
    ],
    ids=["all", "reasons", "since", "both", "not what it was once"],
)
def test_which_are_meant(rows: Rows, wanted: Wanted, expected: list[int]) -> None:
    once = letter(1, "CONSTRAINT", hour=1)
    given = rows(
        DEAD_LETTER, once, letter(1, attempt=2, hour=5), letter(2, "MALFORMED", hour=4), letter(3, "TOO_DEEP", hour=6)
    )
    assert offsets(letters.chosen(given, wanted)) == expected


def test_a_list_has_the_oldest_and_no_payload(rows: Rows) -> None:
    given = rows(DEAD_LETTER, letter(1, hour=6), letter(2, hour=4, value=None), letter(3, hour=5, value=b"abc"))
    found = letters.listed(given, Wanted(limit=2))
    names = "topic STRING, partition INT, offset BIGINT, timestamp STRING, reason STRING, detail STRING, attempt INT"
    first = ("orders", 3, 2, "2026-01-02T01:00:00.000Z", "FUTURE", "x", 1, "2026-01-02T04:00:00.000Z", None)
    second = ("orders", 3, 3, "2026-01-02T01:00:00.000Z", "FUTURE", "x", 1, "2026-01-02T05:00:00.000Z", 3)
    assert_df_equality(found, rows(names + ", rejected_at STRING, bytes INT", first, second), ignore_nullable=True)


def test_one_is_found_by_the_coordinates_of_its_record(rows: Rows) -> None:
    given = rows(DEAD_LETTER, letter(1, value=b"old"), letter(1, attempt=2, value=b"new", headers=OWN), letter(2))
    found = letters.at(given, "orders", 3, 1)
    assert found and (bytes(found["value"]), found["attempt"], found["headers"]) == (b"new", 2, OWN)
    assert (
        letters.at(given, "orders", 3, 9) is letters.at(given, "orders", 2, 1) is letters.at(given, "o", 3, 1) is None
    )


def test_counts_are_of_records_by_reason_attempt_and_day(rows: Rows) -> None:
    given = rows(DEAD_LETTER, letter(1), letter(1, attempt=2), letter(2), letter(3), letter(4, "MALFORMED"))
    found = letters.counted(given, Wanted())
    assert {tuple(row) for row in found} == {
        ("FUTURE", 1, "2026-01-02", 2),
        ("FUTURE", 2, "2026-01-02", 1),
        ("MALFORMED", 1, "2026-01-02", 1),
    }


def test_a_table_is_read_for_one_job_and_may_not_be_there_yet(spark: SparkSession, rows: Rows, tmp_path: Path) -> None:
    config = JobConfig.model_validate(
        {
            "job": "join",
            "source": {"file": {"path": str(tmp_path / "in")}, "format": "raw"},
            "sink": {"console": {}},
            "dead_letters": {"delta": {"path": str(tmp_path / "dead")}},
            "checkpoint": str(tmp_path / "checkpoint"),
        }
    )
    assert offsets(letters.read(spark, config)) == []
    rows(DEAD_LETTER, letter(1), letter(2, job="other")).write.format("delta").save(str(tmp_path / "dead"))
    found = letters.read(spark, config)
    assert offsets(found) == [1]
    assert_df_equality(found.select("sent"), found.select(spring_headers().alias("sent")))
    assert found.filter(F.size("sent") == 10).count() == 1
