"""A person is forgotten: the key goes, and what is left to do is told."""

from __future__ import annotations

from typing import NamedTuple

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.core import delta_log
from jobs.core.errors import ConfigError, Problem
from jobs.core.events import pinned_log
from jobs.core.events.subject_keys import SubjectKeys


class Forgotten(NamedTuple):
    log: str
    events: int  # sealed with the key that is gone
    streams: int


def forget(spark: SparkSession, path: str, keys: SubjectKeys, subject: str, dry_run: bool) -> Forgotten:
    """Drops the key, or only counts. Raises ConfigError where there is none, DependencyMissing without log or database."""
    log = pinned_log.PinnedLog(spark, path, pinned_log.newest(spark, path), pinned_log.as_they_are)
    log_id = delta_log.table_id(spark, path)
    key = keys.key_of(log_id, subject)
    if key is None:
        allowed = f"a subject of which {path} has something sealed; this one is not known, or is forgotten already"
        raise ConfigError(Problem("SUBJECT", subject, allowed, "command line"))
    own = log.events().filter(F.col("sealed_by") == key)
    events, streams = own.agg(F.count(F.lit(1)), F.count_distinct("stream_id")).collect()[0]
    if not dry_run:
        keys.forget(log_id, subject)
    return Forgotten(path, int(events), int(streams))
