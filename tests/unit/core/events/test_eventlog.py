from __future__ import annotations

from pathlib import Path

import pytest
from _event_log import append
from pyspark.sql import SparkSession

from jobs.core.errors import ConfigError
from jobs.core.events.envelope import EVENT
from jobs.core.events.eventlog import EventLog
from jobs.core.session import overridden


def test_an_optimize_adds_nothing(spark: SparkSession, log: EventLog) -> None:
    append(spark, log, ("a", 1, "1"))
    append(spark, log, ("b", 1, "1"))
    before = log.version()
    spark.sql(f"OPTIMIZE delta.`{log.path}` FULL")
    assert log.version() > before
    added = log.at(log.version()).since(before)
    assert added is not None and (added.rows, added.events.count()) == (0, 0)


def test_a_log_only_grows_and_takes_events_alone(spark: SparkSession, log: EventLog) -> None:
    append(spark, log, ("a", 1, "1"))
    with pytest.raises(Exception, match="DELTA_CANNOT_MODIFY_APPEND_ONLY"):
        spark.sql(f"DELETE FROM delta.`{log.path}`")
    with pytest.raises(Exception, match="rows_are_events"):
        append(spark, log, ("a", 0, "2"))


def test_a_table_that_may_be_changed_is_no_log(spark: SparkSession, tmp_path: Path) -> None:
    spark.createDataFrame([], EVENT).write.format("delta").save(str(tmp_path / "t"))
    with pytest.raises(ConfigError, match="this table may be changed"):
        EventLog(spark, str(tmp_path / "t")).make()


def test_what_came_since_a_version_is_told_with_its_number(spark: SparkSession, log: EventLog) -> None:
    append(spark, log, ("a", 1, "1"))
    before = log.version()
    append(spark, log, ("a", 2, "2"), ("b", 1, "3"))
    added = log.at(log.version()).since(before)
    assert added is not None and added.rows == 2
    assert sorted(row["event_id"] for row in added.events.collect()) == ["2", "3"]


def test_without_statistics_there_is_no_number(spark: SparkSession, log: EventLog) -> None:
    before = log.version()
    with overridden(spark, "spark.databricks.delta.stats.collect", "false"):
        append(spark, log, ("a", 1, "1"))
    added = log.at(log.version()).since(before)
    assert added is not None and (added.rows, added.events.count()) == (None, 1)
