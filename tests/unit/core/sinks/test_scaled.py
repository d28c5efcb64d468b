from __future__ import annotations

from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.core.config import Scaling
from jobs.core.sinks.scaled import spread


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
