"""The one commit that puts new states where the old ones were: a reader sees all of the ones, or all of the others.

With streams as bounds it replaces the rows of these streams alone. The commit's `userMetadata` is JSON that says of what it
is made, and by which run; the run is a transaction of Delta's too, which takes it once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core import delta_log
from jobs.core.errors import ReplayRefused

LOOKED_AT = 100  # commits, the newest first


def swap(new: DataFrame, into: str, streams: Sequence[str], run: str, said: str) -> None:
    """STATE over STATE. Raises ReplayRefused where the table is not one of states."""
    options = {"userMetadata": said, "txnAppId": run, "txnVersion": "1", **_how(new, into, streams)}
    new.write.format("delta").mode("overwrite").options(**options).save(into)


def said(spark: SparkSession, into: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of each commit, the newest first, its operation, and what it says of itself if a replay has made it."""
    if delta_log.version(spark, into) < 0:
        return
    for commit in DeltaTable.forPath(spark, into).history(LOOKED_AT).collect():
        yield commit["operation"], _told(commit["userMetadata"])


def is_swapped(spark: SparkSession, into: str, after: int, run: str) -> bool:
    """Whether a commit after a version is of this run."""
    if delta_log.version(spark, into) <= after:
        return False
    commits = DeltaTable.forPath(spark, into).history().filter(F.col("version") > after)
    return any(_told(row.userMetadata).get("run") == run for row in commits.select("userMetadata").collect())


def _how(new: DataFrame, into: str, streams: Sequence[str]) -> dict[str, str]:
    if delta_log.version(new.sparkSession, into) < 0:
        return {}
    there = new.sparkSession.read.format("delta").load(into)
    if there.columns[:2] != new.columns[:2]:
        raise ReplayRefused(into, f"it has the columns {', '.join(there.columns)}, which no replay writes")
    is_like_it = _shape(there) == _shape(new)
    if streams and not is_like_it:
        raise ReplayRefused(
            into, "its columns are others than the fold's now, and some streams alone cannot change that"
        )
    return _only(streams) if streams else {} if is_like_it else {"overwriteSchema": "true"}


def _shape(table: DataFrame) -> list[tuple[str, str]]:
    return [(field.name, field.dataType.simpleString()) for field in table.schema]


def _only(streams: Sequence[str]) -> dict[str, str]:
    """SQL text: a quote and a backslash are escaped."""
    texts = ("'" + stream.replace("\\", "\\\\").replace("'", "\\'") + "'" for stream in streams)
    return {"replaceWhere": f"stream_id IN ({', '.join(texts)})"}


def _told(metadata: str | None) -> dict[str, Any]:
    try:
        found = json.loads(metadata or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
