"""A listener to streaming queries that costs a batch next to nothing.

PySpark copies each query's progress out of the JVM value by value, in hundreds of calls, while the next batch wants both
cores. The same progress comes as JSON in one.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession
from pyspark.sql.streaming.listener import (
    JStreamingQueryListener,
    QueryProgressEvent,
    StreamingQueryListener,
    StreamingQueryProgress,
)

from jobs.core.jvm import java_class


class _Heard(JStreamingQueryListener):
    """What the JVM calls."""

    def onQueryProgress(self, event: Any) -> None:
        try:
            progress = StreamingQueryProgress.fromJson(json.loads(event.progress().json()))
        except (KeyError, Py4JJavaError):  # an infinite rate and an observed interval are no JSON
            super().onQueryProgress(event)
            return
        self.pylistener.onQueryProgress(QueryProgressEvent(progress))


class QueryListener(StreamingQueryListener):
    """PySpark's own; subclasses handle what they want to hear."""

    @cached_property
    def _jlistener(self) -> Any:
        wrapper = "org.apache.spark.sql.streaming.PythonStreamingQueryListenerWrapper"
        return java_class(SparkSession.active(), wrapper)(_Heard(self))

    def onQueryStarted(self, event: Any) -> None: ...

    def onQueryProgress(self, event: Any) -> None: ...

    def onQueryTerminated(self, event: Any) -> None: ...
