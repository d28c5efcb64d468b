from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession

from jobs.core import delta_log


def test_a_table_has_versions_and_an_id_of_its_own(spark: SparkSession, folder: Path) -> None:
    one, other = f"{folder}/one", f"{folder}/other"
    assert delta_log.version(spark, one) == -1
    for path in (one, one, other):
        spark.range(1).write.format("delta").mode("append").save(path)
    assert (delta_log.version(spark, one), delta_log.version(spark, other)) == (1, 0)
    known = delta_log.table_id(spark, one)
    assert known != delta_log.table_id(spark, other)
    spark.range(1).write.format("delta").mode("overwrite").save(one)
    assert delta_log.table_id(spark, one) == known, "its rows are others, it is the same table"


def test_values_of_scala(spark: SparkSession) -> None:
    scala = delta_log.Scala(spark)
    assert scala.none.isEmpty() and scala.some("x").get() == "x"
    assert (scala.seq(["a", "b"]).mkString("-"), scala.map({"k": "v"}).apply("k")) == ("a-b", "v")
