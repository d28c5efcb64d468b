"""What is about a person is in the log only as bytes that its subject's key opens: without the key it is forgotten.

SEALED   the columns that the log has for it: `sealed_by`, a key's id, and `sealed`, a JSON object under AES-256-GCM; both are
         null for an event that has nothing personal. Stream and event id are bound into it: it opens nowhere else

A reader that opens events finds in `data` what was split off, behind the other fields. Of a subject that is forgotten the
personal fields are missing; an event of which nothing is left is left out.

What this guarantees: once a key is dropped, no copy of the log, old or new, tells what was sealed with it. It says nothing of
the topic that the events came by, dead letters, states and snapshots that were made before, nor of backups of the keys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.functions import ArrowUDFType

from jobs.core import delta_log
from jobs.core.config import Postgres
from jobs.core.errors import ConfigError, Problem
from jobs.core.events.personal import NOTHING, PERSONAL, SUBJECT
from jobs.core.events.subject_keys import Arrays, SubjectKeys

SEALED = {"sealed_by": "STRING", "sealed": "BINARY"}
MODE, PADDING = "GCM", "DEFAULT"
KEY = "_subject_key"


def is_sealed(spark: SparkSession, path: str) -> bool:
    """Whether the log at a path has the columns."""
    fields = delta_log.snapshot(spark, path).metadata().schema().fieldNames()
    return set(SEALED) <= {str(name) for name in fields}


def sealed(events: DataFrame, keys: SubjectKeys, log_id: str) -> DataFrame:
    """EVENT with SUBJECT, PERSONAL -> EVENT with SEALED."""
    subject = F.when(F.col(PERSONAL).isNotNull(), F.col(SUBJECT))
    held = events.withColumn(KEY, _asked(keys.sealing(log_id), "id STRING, key BINARY")(subject))
    text = F.col(PERSONAL).cast("binary")
    nonce = F.lit("").cast("binary")  # a new one, each time
    made = F.aes_encrypt(text, F.col(f"{KEY}.key"), F.lit(MODE), F.lit(PADDING), nonce, _bound_to())
    return held.withColumns({"sealed_by": F.col(f"{KEY}.id"), "sealed": made}).drop(SUBJECT, PERSONAL, KEY)


def opened(events: DataFrame, keys: SubjectKeys) -> DataFrame:
    """EVENT with SEALED -> EVENT. An event that cannot be opened, and is not forgotten, fails the query."""
    held = events.withColumn(KEY, _asked(keys.opening(), "key BINARY, forgotten BOOLEAN")(F.col("sealed_by")))
    text = F.try_aes_decrypt(F.col("sealed"), F.col(f"{KEY}.key"), F.lit(MODE), F.lit(PADDING), _bound_to())
    gone = F.coalesce(F.col(f"{KEY}.forgotten"), F.lit(False))
    left = held.filter(~(gone & (F.col("data") == NOTHING)))  # before anything is opened: who only counts opens nothing
    tried, shut = left.withColumn("_opened", text.cast("string")), F.col("_opened").isNull()
    cause = F.when(F.col(f"{KEY}.key").isNull(), "its key is not among the keys of subjects")
    cause = cause.otherwise("what is sealed in it does not open: it was changed, or is another event's")
    data = (
        F.when(F.col("sealed_by").isNull() | gone, F.col("data"))
        .when(shut, F.raise_error(_named(cause)))
        .otherwise(_joined(F.col("data"), F.col("_opened")))
    )
    return tried.withColumn("data", data).drop(*SEALED, KEY, "_opened")


@dataclass(frozen=True)
class Opener:
    """How readers of a log open it: not at all, without a database."""

    keys: SubjectKeys | None = None

    @classmethod
    def of(cls, postgres: Postgres | None) -> Opener:
        return cls(SubjectKeys.of(postgres) if postgres else None)

    def __call__(self, events: DataFrame) -> DataFrame:
        """Raises ConfigError where it takes keys, and there are none."""
        if not set(SEALED) <= set(events.columns):
            return events
        return opened(events, self._needed())

    def forgotten(self, spark: SparkSession, path: str) -> int:
        """How many subjects of the log at a path are. Raises ConfigError, DependencyMissing."""
        if not is_sealed(spark, path):
            return 0
        return self._needed().forgotten(delta_log.table_id(spark, path))

    def _needed(self) -> SubjectKeys:
        if self.keys is None:
            raise ConfigError(Problem("postgres", "", "required: the log is sealed, and its keys are there", "conf"))
        return self.keys


def _asked(work: Callable[[Arrays], Arrays], kind: str) -> Callable[[Column], Column]:
    return F.arrow_udf(work, kind, ArrowUDFType.SCALAR_ITER)


def _bound_to() -> Column:
    return F.concat_ws("\0", "stream_id", "event_id").cast("binary")  # a character that no event has in a text


def _named(cause: Column) -> Column:
    """As `core.events.failing` reads it."""
    version = F.col("stream_version").cast("string")
    place = [F.lit("stream "), F.col("stream_id"), F.lit(", version "), version, F.lit(", event "), F.col("event_id")]
    return F.concat(*place, F.lit(": "), cause)


def _joined(rest: Column, own: Column) -> Column:
    """Two JSON objects as one; they have no field in common, and no space around them where both have fields."""
    begin, end = rest.substr(F.lit(1), F.length(rest) - 1), own.substr(F.lit(2), F.length(own))
    return F.when(rest == NOTHING, own).otherwise(F.concat(begin, F.lit(","), end))
