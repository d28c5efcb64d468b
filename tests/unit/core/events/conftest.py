from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.core.events.eventlog import EventLog


@pytest.fixture
def log(spark: SparkSession, tmp_path: Path) -> EventLog:
    """An empty one."""
    made = EventLog(spark, str(tmp_path / "log"))
    made.make()
    return made
