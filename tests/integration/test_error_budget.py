"""A job whose input is worse than its error budget allows: it ends after a whole batch, and goes on at the next start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import SparkSession

from jobs.core import stream
from jobs.core.audit import Report, audit
from jobs.core.config import JobConfig
from jobs.core.errors import BudgetSpent
from jobs.core.ledger import Counts


@pytest.fixture
def config(tmp_path: Path) -> JobConfig:
    """Four files, a batch each, of two good records and two bad ones."""
    (tmp_path / "in").mkdir()
    for number in range(4):
        lines = ["{", "{}", f'{{"id": "a{number}"}}', f'{{"id": "b{number}"}}']
        (tmp_path / "in" / f"{number}.jsonl").write_text("\n".join(lines))
    settings: dict[str, Any] = {
        "job": "j",
        "source": {"file": {"path": str(tmp_path / "in")}, "schema": "id STRING", "required": ["id"]},
        "sink": {"delta": {"path": str(tmp_path / "sink")}},
        "dead_letters": {"delta": {"path": str(tmp_path / "dead")}},
        "error_budget": {"count": 5},
        "scaling": {"max_offsets_per_trigger": 1},
        "trigger": {"available_now": True},
        "checkpoint": str(tmp_path / "checkpoint"),
    }
    return JobConfig.model_validate(settings)


def run(spark: SparkSession, config: JobConfig) -> None:
    assert stream.start(spark, config, lambda events: events).wait(240), "the job did not end"


def looked_at(spark: SparkSession, config: JobConfig) -> Report:
    report = audit(spark, config)
    assert report.holds, report.checks
    return report


def test_a_spent_budget_ends_the_job_and_the_restart_goes_on(spark: SparkSession, config: JobConfig) -> None:
    said = "error_budget.count: 5 within 10m: 6 of 12 records read (50.0%) became dead letters: "
    with pytest.raises(BudgetSpent) as spent:
        run(spark, config)
    assert str(spent.value) == f"job j has spent its error budget, {said}MALFORMED 3, MISSING_REQUIRED 3"
    assert looked_at(spark, config).counts == Counts(12, 6, dead_letters=6)
    run(spark, config)
    report = looked_at(spark, config)
    assert (report.counts, report.batches) == (Counts(16, 8, dead_letters=8), 4)
    assert config.sink.delta
    found = spark.read.format("delta").load(str(config.sink.delta.path)).select("id")
    expected = spark.createDataFrame([(f"{letter}{n}",) for letter in "ab" for n in range(4)], "id STRING")
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)
