"""The log of a job's process: lines of text, or of JSON in Spark's own structured form.

SPARK_LOG_SCHEMA (`pyspark.logger`) reads the JSON lines. Their context has the job and, within a batch, query id and batch
id; a call adds fields of its own with `extra={"context": {...}}`. Payloads are not logged.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import Literal

from pyspark.logger.logger import JSONFormatter

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_here: ContextVar[dict[str, str]] = ContextVar("log_fields")


class JsonLines(JSONFormatter):
    """One object a line, its time in UTC."""

    def __init__(self, job: str) -> None:
        super().__init__()
        self._job = job

    def format(self, record: logging.LogRecord) -> str:
        given = getattr(record, "context", {})
        record.context = {"job": self._job, **_here.get({}), **{key: str(value) for key, value in given.items()}}
        return super().format(record)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        at = datetime.fromtimestamp(record.created, timezone.utc)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@contextmanager
def fields(**more: str) -> Iterator[None]:
    """Adds fields to each JSON line that this thread logs meanwhile."""
    before = _here.set({**_here.get({}), **more})
    try:
        yield
    finally:
        _here.reset(before)


def set_up(job: str | None = None, form: Literal["text", "json"] = "text") -> None:
    """The process's log, on standard error; the last call holds."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(job or "") if form == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("py4j").setLevel(logging.WARNING)
