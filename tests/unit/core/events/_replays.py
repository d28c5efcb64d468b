"""A log of users, and replays of it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from jobs.core.events import projection
from jobs.core.events.envelope import EVENT
from jobs.core.events.folds import Fold
from jobs.core.events.rebuilding import Rebuild, Request
from jobs.core.files import Folder

AT = datetime(2026, 1, 5, 10, tzinfo=timezone.utc)
STATE = "user_id STRING, name STRING"
OUT = f"stream_id STRING, stream_version BIGINT, {STATE}"
FOLD = {"state": STATE, "events": {"user_created": "set", "user_updated": "merge", "user_deleted": "delete"}}
USERS = projection.declared(Fold.model_validate(FOLD), None, "pass")


def event(stream: str, version: int, kind: str, data: dict[str, Any], offset: int = 0) -> tuple[Any, ...]:
    event_id = f"{stream}-{version}"
    return stream, version, event_id, f"user_{kind}", 1, json.dumps(data), None, AT, AT, "users", 0, offset


LOG = (
    event("u1", 1, "created", {"user_id": "u1", "name": "Ann"}, 1),
    event("u2", 1, "created", {"user_id": "u2", "name": "Bo"}, 2),
    event("u1", 2, "updated", {"name": "Anna"}, 3),
    event("u2", 2, "deleted", {}, 4),
    event("u3", 1, "created", {"user_id": "u3", "name": "Cy"}, 5),
)
USERS_NOW = (("u1", 2, "u1", "Anna"), ("u3", 1, "u3", "Cy"))


class Place:
    """A log and a request for its replay."""

    def __init__(self, spark: SparkSession, path: Path) -> None:
        self.spark, self.path = spark, path
        self.request = Request("users", f"{path}/log", f"{path}/users", f"{path}/work", USERS)

    def log(self, *events: tuple[Any, ...]) -> None:
        self.spark.createDataFrame(list(events), EVENT).write.format("delta").mode("append").save(self.request.log)

    def rebuild(self, **changes: Any) -> Rebuild:
        return Rebuild(self.spark, replace(self.request, **changes))

    def live(self) -> DataFrame:
        return self.spark.read.format("delta").load(self.request.into)

    def commits(self) -> list[dict[str, Any]]:
        history = DeltaTable.forPath(self.spark, self.request.into).history().orderBy("version").collect()
        return [json.loads(row.userMetadata) for row in history]

    def left(self) -> list[str]:
        return [info.name for info in Folder(self.spark, self.request.work).list()]
