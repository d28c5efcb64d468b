from __future__ import annotations

from pathlib import Path

import pytest
from _event_log import append
from pyspark.sql import SparkSession

from jobs.core.errors import ConfigError, DependencyMissing
from jobs.core.events import pinned_log
from jobs.core.events.eventlog import EventLog
from jobs.core.events.pinned_log import PinnedLog
from jobs.core.events.skips import Skip
from jobs.core.session import overridden


def ids(log: PinnedLog) -> list[str]:
    return sorted(row["event_id"] for row in log.events().collect())


def test_it_stays_as_it_was(spark: SparkSession, log: EventLog) -> None:
    append(spark, log, ("a", 1, "1"))
    pinned = log.at(log.version())
    append(spark, log, ("b", 1, "2"))
    newest = pinned_log.newest(spark, log.path)
    assert (ids(pinned), ids(pinned.at(newest))) == (["1"], ["1", "2"])
    assert pinned.is_there() and not pinned.at(newest + 1).is_there()


def test_without_a_table_there_is_no_version(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(DependencyMissing, match="event log .*/none unreachable: there is no Delta table"):
        pinned_log.newest(spark, f"{tmp_path}/none")


def test_what_lacks_columns_of_an_event_is_no_log(spark: SparkSession, tmp_path: Path) -> None:
    spark.sql("SELECT 'a' AS stream_id, '{}' AS data").write.format("delta").save(f"{tmp_path}/t")
    with pytest.raises(ConfigError, match="an event log: stream_version, event_id, .*, _offset lack"):
        PinnedLog(spark, f"{tmp_path}/t", 0).check(())


def test_what_is_to_be_left_out_has_an_event(spark: SparkSession, log: EventLog) -> None:
    append(spark, log, ("a", 1, "1"))
    pinned = log.at(log.version())
    pinned.check([Skip(event_id="1", reason="wrong")])
    with pytest.raises(ConfigError, match="entries for which the log has an event: 2 has none"):
        pinned.check([Skip(event_id="1", reason="wrong"), Skip(event_id="2", reason="wrong")])


def test_what_came_since_a_version_is_told_with_its_number(spark: SparkSession, log: EventLog) -> None:
    append(spark, log, ("a", 1, "1"))
    before = log.version()
    append(spark, log, ("a", 2, "2"), ("b", 1, "3"))
    added = log.at(log.version()).since(before)
    assert added is not None and added.rows == 2
    assert sorted(row["event_id"] for row in added.events.collect()) == ["2", "3"]


def test_an_optimize_adds_nothing(spark: SparkSession, log: EventLog) -> None:
    append(spark, log, ("a", 1, "1"))
    append(spark, log, ("b", 1, "1"))
    before = log.version()
    spark.sql(f"OPTIMIZE delta.`{log.path}` FULL")
    assert log.version() > before
    added = log.at(log.version()).since(before)
    assert added is not None and (added.rows, added.events.count()) == (0, 0)


def test_without_statistics_there_is_no_number(spark: SparkSession, log: EventLog) -> None:
    before = log.version()
    with overridden(spark, "spark.databricks.delta.stats.collect", "false"):
        append(spark, log, ("a", 1, "1"))
    added = log.at(log.version()).since(before)
    assert added is not None and (added.rows, added.events.count()) == (None, 1)


def test_what_was_taken_away_cannot_be_told(spark: SparkSession, log: EventLog) -> None:
    append(spark, log, ("a", 1, "1"), ("b", 1, "2"))
    before = log.version()
    spark.sql(f"ALTER TABLE delta.`{log.path}` UNSET TBLPROPERTIES ('delta.appendOnly')")
    spark.sql(f"DELETE FROM delta.`{log.path}` WHERE stream_id = 'b'")
    assert log.at(log.version()).since(before) is None
    assert log.at(log.version()).since(log.version()) is not None


def test_commits_that_are_gone_cannot_be_told(spark: SparkSession, log: EventLog) -> None:
    append(spark, log, ("a", 1, "1"))
    before = log.version()
    spark.sql(f"ALTER TABLE delta.`{log.path}` SET TBLPROPERTIES ('delta.checkpointInterval' = '1')")
    append(spark, log, ("a", 2, "2"))
    (Path(log.path) / "_delta_log" / f"{before + 1:020d}.json").unlink()
    assert log.at(log.version()).since(before) is None
