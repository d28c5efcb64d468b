"""An event, in the log and on its way there.

EVENT     what the log holds: a stream's events have the versions 1, 2, 3, ...; `data` is a JSON object as text; `metadata`
          holds `correlation_id` and `causation_id` where they are known; `_topic, _partition, _offset` say where it was read

`core.events.reading` has what is read from a topic, INCOMING.

An event without an id gets the UUIDv5 of `TOPIC/PARTITION/OFFSET` in a namespace of its own: the same one whenever, and by
whichever job, the record is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from pyspark.sql import Column
from pyspark.sql import functions as F

from jobs.core import uuids

EVENT = (
    "stream_id STRING NOT NULL, stream_version BIGINT NOT NULL, event_id STRING NOT NULL, event_type STRING NOT NULL,"
    " schema_version INT NOT NULL, data STRING NOT NULL, metadata MAP<STRING, STRING>, occurred_at TIMESTAMP NOT NULL,"
    " recorded_at TIMESTAMP NOT NULL, _topic STRING, _partition INT, _offset BIGINT"
)
NAMESPACE = UUID("206ae61e-b87c-48ec-81d5-b02976e1f5e4")  # of event ids; never to change
STREAM_FIELD = "user_id"  # the field of `data` that names the stream where the event does not
FIRST_SCHEMA = 1  # the schema version of an event that names none


@dataclass(frozen=True)
class Envelope:
    """An event, outside of Spark."""

    stream_id: str
    event_type: str
    data: Mapping[str, Any]
    occurred_at: datetime  # with its zone
    event_id: str | None = None
    schema_version: int = FIRST_SCHEMA
    metadata: Mapping[str, str] = field(default_factory=dict)
    stream_version: int | None = None
    expected_version: int | None = None


def event_id() -> Column:
    """The id of an event without one, from `_topic, _partition, _offset`."""
    place = F.concat_ws("/", *(F.col(name).cast("string") for name in ("_topic", "_partition", "_offset")))
    return uuids.version_5(NAMESPACE, place)


def event_id_at(topic: str, partition: int, offset: int) -> str:
    """The same, outside of Spark."""
    return str(uuid5(NAMESPACE, f"{topic}/{partition}/{offset}"))
