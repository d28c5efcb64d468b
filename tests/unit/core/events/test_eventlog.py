from __future__ import annotations

from pathlib import Path

import pytest
from _event_log import append
from pyspark.sql import SparkSession

from jobs.core.errors import ConfigError
from jobs.core.events.envelope import EVENT
from jobs.core.events.eventlog import EventLog


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
