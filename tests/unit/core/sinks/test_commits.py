from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from jobs.core.errors import LeaseLost
from jobs.core.failures import BeginAnew, Kind, kind
from jobs.core.sinks import commits
from jobs.core.sinks.commits import Append, append, raise_epoch

ROW = "id INT, day STRING"


class FakeLease:
    """A lease of one epoch."""

    job = "join"

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def loss(self) -> LeaseLost:
        return LeaseLost(self.job, "register", "another")


def lease(epoch: int) -> Any:
    return FakeLease(epoch)


@pytest.fixture
def table(spark: SparkSession, rows: Callable[..., DataFrame], tmp_path: Path) -> Callable[..., Append]:
    """An append of one row to one table."""
    return lambda number=1: Append(str(tmp_path / "t"), rows(ROW, (number, "mon")), ["day"], f"write {number}")


def content(spark: SparkSession, wanted: Append) -> DataFrame:
    return spark.read.format("delta").load(wanted.path)


def properties(spark: SparkSession, wanted: Append) -> dict[str, str]:
    return dict(spark.sql(f"DESCRIBE DETAIL delta.`{wanted.path}`").first()["properties"])


def test_the_first_append_makes_the_table_with_its_epoch_in_one_commit(
    spark: SparkSession, table: Any, rows: Any
) -> None:
    append(table(), lease(3))
    assert_df_equality(content(spark, table()), rows(ROW, (1, "mon")))
    history = DeltaTable.forPath(spark, table().path).history()
    assert [row.userMetadata for row in history.collect()] == ["write 1"]
    assert properties(spark, table()) == {"patterns.epoch.join": "3"}
    assert spark.sql(f"DESCRIBE DETAIL delta.`{table().path}`").first()["partitionColumns"] == ["day"]


def test_an_append_of_no_rows_is_no_commit(spark: SparkSession, table: Any) -> None:
    append(table(), lease(3))
    append(Append(table().path, table().rows.limit(0), [], "nothing"), lease(3))
    assert DeltaTable.forPath(spark, table().path).history().count() == 1


def test_a_table_of_an_earlier_epoch_is_raised_first_and_what_was_looked_at_is_looked_at_again(
    spark: SparkSession, table: Any
) -> None:
    append(table(1), lease(3))
    with pytest.raises(BeginAnew, match=r"was not yet written under epoch 4 of join") as again:
        append(table(2), lease(4))
    assert kind(again.value) is Kind.TRANSIENT
    append(table(2), lease(4))
    assert {row.id for row in content(spark, table()).collect()} == {1, 2}


def test_a_table_that_was_there_before_any_lease(spark: SparkSession, table: Any) -> None:
    append(table(1), None)
    assert properties(spark, table()) == {}
    raise_epoch(spark, table().path, lease(1))
    append(table(2), lease(1))
    assert properties(spark, table()) == {"patterns.epoch.join": "1"}


def test_another_job_s_epoch_says_nothing(spark: SparkSession, table: Any) -> None:
    append(table(1), lease(3))
    other = lease(1)
    other.job = "other"
    raise_epoch(spark, table().path, other)
    append(table(2), other)
    assert properties(spark, table()) == {"patterns.epoch.join": "3", "patterns.epoch.other": "1"}


def test_an_instance_of_an_earlier_epoch_adds_nothing_whether_it_appends_or_starts(
    spark: SparkSession, table: Any
) -> None:
    append(table(1), lease(3))
    raise_epoch(spark, table().path, lease(4))
    for act in (lambda: append(table(2), lease(3)), lambda: raise_epoch(spark, table().path, lease(3))):
        with pytest.raises(LeaseLost):
            act()
    assert content(spark, table()).count() == 1


@pytest.mark.parametrize("made", [False, True], ids=["no table yet", "a table"])
def test_an_append_in_flight_is_refused_once_the_epoch_is_raised(
    spark: SparkSession, table: Any, monkeypatch: pytest.MonkeyPatch, made: bool
) -> None:
    """Its snapshot is from before, its commit comes after."""
    if made:
        append(table(1), lease(3))
    plain = commits._entitled

    def then_a_takeover(*given: Any) -> dict[str, str]:
        monkeypatch.setattr(commits, "_entitled", plain)
        entitled = plain(*given)
        raise_epoch(spark, table().path, lease(4))
        if not made:
            append(table(9), lease(4))
        return entitled

    monkeypatch.setattr(commits, "_entitled", then_a_takeover)
    with pytest.raises(Exception, match="DELTA_METADATA_CHANGED" if made else "DELTA_METADATA_MISMATCH") as refused:
        append(table(2), lease(3))
    assert kind(refused.value) is (Kind.TRANSIENT if made else Kind.PERMANENT)
    assert {row.id for row in content(spark, table()).collect()} == ({1} if made else {9})


def test_raising_the_epoch_of_no_table_makes_none(spark: SparkSession, tmp_path: Path) -> None:
    raise_epoch(spark, str(tmp_path / "none"), lease(1))
    assert not (tmp_path / "none").exists()
