"""Delta's own classes, where its public Python has no way: of the one version that the project is locked to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from py4j.java_collections import ListConverter
from pyspark.sql import SparkSession


class Scala:
    """Values as Scala has them."""

    def __init__(self, spark: SparkSession) -> None:
        jvm: Any = spark._jvm
        self.jvm, self.none = jvm, module(jvm.scala, "None")
        self._client = spark.sparkContext._gateway._gateway_client  # type: ignore[union-attr]

    def some(self, value: Any) -> Any:
        return self.jvm.scala.Some(value)

    def map(self, values: dict[str, str]) -> Any:
        return self.jvm.org.apache.spark.api.python.PythonUtils.toScalaMap(values)

    def seq(self, values: Sequence[Any]) -> Any:
        listed = ListConverter().convert(list(values), self._client)
        return self.jvm.scala.jdk.javaapi.CollectionConverters.asScala(listed).toSeq()


def module(package: Any, name: str) -> Any:
    """A Scala object."""
    return getattr(getattr(package, f"{name}$"), "MODULE$")


def delta(spark: SparkSession, name: str) -> Any:
    """One of Delta's own."""
    jvm: Any = spark._jvm
    return module(jvm.org.apache.spark.sql.delta, name)


def log(spark: SparkSession, path: str) -> Any:
    return delta(spark, "DeltaLog").forTable(spark._jsparkSession, path)


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
