"""Delta's own classes, where its public Python has no way: of the one version that the project is locked to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from py4j.java_collections import ListConverter
from pyspark.sql import SparkSession

from jobs.core.jvm import java_class, scala_object

DELTA = "org.apache.spark.sql.delta"


class Scala:
    """Values as Scala has them."""

    def __init__(self, spark: SparkSession) -> None:
        self.none = scala_object(spark, "scala.None")
        self.some = java_class(spark, "scala.Some")
        self._spark = spark
        self._client = spark.sparkContext._gateway._gateway_client  # type: ignore[union-attr]

    def map(self, values: dict[str, str]) -> Any:
        return java_class(self._spark, "org.apache.spark.api.python.PythonUtils").toScalaMap(values)

    def seq(self, values: Sequence[Any]) -> Any:
        listed = ListConverter().convert(list(values), self._client)
        return java_class(self._spark, "scala.jdk.javaapi.CollectionConverters").asScala(listed).toSeq()


def log(spark: SparkSession, path: str) -> Any:
    return scala_object(spark, f"{DELTA}.DeltaLog").forTable(spark._jsparkSession, path)


def snapshot(spark: SparkSession, path: str) -> Any:
    """The table at a path as it is now."""
    none = Scala(spark).none
    return log(spark, path).update(False, none, none)


def version(spark: SparkSession, path: str) -> int:
    """The newest of the table at a path; -1 where there is none."""
    return int(snapshot(spark, path).version())


def table_id(spark: SparkSession, path: str) -> str:
    """What makes a table another one than an earlier one at its path."""
    return str(snapshot(spark, path).metadata().id())
