"""What a plan that is made once has to know of each micro-batch: its time, and its watermark.

The driver tells them as local properties of the thread that runs the batch; the batch's tasks hear them. Both come from the
batch itself, so a batch that runs again judges alike.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from pyspark import TaskContext
from pyspark.sql import SparkSession

NOW, WATERMARK = "patterns.batch.now", "patterns.batch.watermark_ms"


class Told(NamedTuple):
    """Of one micro-batch."""

    now: datetime
    watermark_ms: int  # since 1970; Spark drops what is not after it


def tell(spark: SparkSession, batch: Told) -> None:
    """For the jobs that this thread starts from now on."""
    spark.sparkContext.setLocalProperty(NOW, batch.now.isoformat())
    spark.sparkContext.setLocalProperty(WATERMARK, str(batch.watermark_ms))


def heard() -> Told:
    """Within a task. Raises RuntimeError where nobody has told anything."""
    task = TaskContext.get()
    now, watermark = (task.getLocalProperty(name) if task else None for name in (NOW, WATERMARK))
    if not now or not watermark:
        raise RuntimeError("a plan of a query was run outside of its micro-batches")
    return Told(datetime.fromisoformat(now), int(watermark))
