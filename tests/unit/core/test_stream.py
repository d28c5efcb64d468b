from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession

from jobs.core.config import Scaling
from jobs.core.errors import Loss, SourceLost, StoppedWaiting
from jobs.core.stream import Running, spread


@pytest.mark.parametrize(
    ("scaling", "partitions"),
    [
        ({}, 3),
        ({"coalesce": 2}, 2),
        ({"repartition": {"count": 5}}, 5),
        ({"repartition": {"by": ["id"], "count": 4}}, 4),
        ({"repartition": {"count": 5}, "coalesce": 1}, 1),
    ],
    ids=str,
)
def test_rows_are_spread_as_configured(spark: SparkSession, scaling: dict[str, Any], partitions: int) -> None:
    rows = spark.range(0, 30, 1, 3)
    assert spread(rows, Scaling.model_validate(scaling)).rdd.getNumPartitions() == partitions


def test_repartition_by_a_column_keeps_its_values_together(spark: SparkSession) -> None:
    rows = spark.range(0, 40, 1, 4).selectExpr("id % 3 AS key")
    found = spread(rows, Scaling.model_validate({"repartition": {"by": ["key"], "count": 3}}))
    places = found.selectExpr("key", "spark_partition_id() AS place").distinct().groupBy("key").count().collect()
    assert {row["count"] for row in places} == {1}


class Query:
    """Ends at once, with a failure or by itself."""

    def __init__(self, cause: Exception | None, before: Callable[[], object] = lambda: None) -> None:
        self._cause, self._before = cause, before

    def awaitTermination(self, timeout: float) -> bool:
        self._before()
        if self._cause:
            raise StreamingQueryException("the query failed") from self._cause
        return True

    def stop(self) -> None: ...


def started(
    causes: list[Exception | None], named: Any = lambda failure: failure, stops: bool = False, asked: bool = False
) -> Any:
    """A job whose queries end one after the other; `waited` has what was waited for in between."""
    waited: list[str] = []

    def give_up(failure: Exception) -> None:
        waited.append(str(failure))
        if stops:
            running.request_stop()
            raise StoppedWaiting("batch", "away")

    queries = iter([Query(cause, lambda: asked and running.request_stop()) for cause in causes])
    parts: Any = SimpleNamespace(
        batch=SimpleNamespace(in_doubt=False), guard=SimpleNamespace(give_up=give_up), watch=SimpleNamespace()
    )
    parts.watch.start, parts.watch.stop = lambda stopping: None, lambda: None
    running = Running(parts.batch, lambda stopping: parts.guard, parts.watch, [], (), named)
    writer = SimpleNamespace(start=lambda: next(queries))
    running.begin(SimpleNamespace(foreachBatch=lambda run: writer))
    return SimpleNamespace(running=running, waited=waited, batch=parts.batch)


def test_a_query_whose_source_was_away_is_started_again() -> None:
    job = started([TimeoutError("away"), TimeoutError("away"), None])
    assert job.running.wait(10)
    assert (len(job.waited), job.batch.in_doubt) == (2, True)


def test_a_job_that_is_asked_to_end_meanwhile_ends() -> None:
    job = started([TimeoutError("away")], stops=True)
    assert job.running.wait(10)


def test_a_batch_that_does_not_begin_as_the_job_is_to_end_is_no_failure() -> None:
    job = started([ValueError("Stopping")], asked=True)
    assert job.running.wait(10)
    assert job.waited == []


def test_what_will_not_pass_ends_the_job() -> None:
    job = started([ValueError("odd")])
    with pytest.raises(StreamingQueryException):
        job.running.wait(10)
    assert job.waited == []


def test_what_has_a_better_name_ends_the_job_under_it() -> None:
    lost = SourceLost([Loss("t", 0, "gone")], "Do this")
    job = started([TimeoutError("away")], lambda failure: lost)
    with pytest.raises(SourceLost):
        job.running.wait(10)
    assert job.waited == []
