"""What the archive of classes is made of: the main job on a file and a Delta table, its audit, and a MERGE."""

from __future__ import annotations

import sys
from pathlib import Path

from _lib.places import ROOT
from _orders import customer, orders
from delta import DeltaTable
from pyspark.sql import SparkSession

from jobs.core import layers
from jobs.core.audit import audit
from jobs.core.session import session
from jobs.stream_table_join import Config, start

WATERMARK = "reference.refresh.watermark"
CUSTOMER = "customer_id STRING, name STRING, segment STRING, country STRING"


def main(work: Path) -> None:
    config = layers.load(Config, ROOT / "conf" / "stream_table_join.yaml", "local", _here(work), {}).config
    spark = session("archived_run", {**config.spark, "spark.ui.enabled": "false"})
    (work / "orders").mkdir()
    (work / "orders" / "1.jsonl").write_bytes(b"\n".join(order or b"" for order in orders(500, customers=9)))
    _customers(spark, str(work / "customers"))
    start(spark, config).wait()
    assert audit(spark, config).holds
    spark.stop()


def _here(work: Path) -> list[str]:
    nothing = ("dead_letters.kafka", "trigger.every", "postgres", "source.kafka", "reference.jdbc", WATERMARK)
    given = {
        "sink.delta.path": work / "enriched_orders",
        "dead_letters.delta.path": work / "dead_letters",
        "checkpoint": work / "checkpoint",
        "trigger.available_now": "true",
        "source.file.path": work / "orders",
        "reference.delta.path": work / "customers",
        "reference.delta.key": "customer_id",
    }
    return [*(f"{key}=null" for key in nothing), *(f"{key}={value}" for key, value in given.items())]


def _customers(spark: SparkSession, path: str) -> None:
    rows = spark.createDataFrame([customer(number) for number in range(9)], CUSTOMER)
    rows.write.format("delta").save(path)
    merged = DeltaTable.forPath(spark, path).alias("old").merge(rows.alias("new"), "old.customer_id = new.customer_id")
    merged.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
