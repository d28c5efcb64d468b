from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from py4j.clientserver import ClientServerConnection
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession
from pyspark.sql.streaming.listener import QueryProgressEvent

from jobs.core.listening import QueryListener, _Heard

PHASES = {"addBatch", "commitOffsets", "getBatch", "latestOffset", "queryPlanning", "triggerExecution", "walCommit"}


FREED = "m"  # begins a command that lets go of an object, whenever Python finds the time


class Told:
    """An event of the JVM with a progress that is this text, or cannot be one."""

    def __init__(self, text: str | None) -> None:
        self._text = text

    def progress(self) -> Told:
        return self

    def json(self) -> str:
        if self._text is None:
            raise Py4JJavaError("no JSON", SimpleNamespace(_target_id="o1", _gateway_client=None))
        return self._text


class Listener(QueryListener):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.ended = threading.Event()

    def onQueryStarted(self, event: Any) -> None:
        self.heard.append(("started", event.name, str(event.runId)))

    def onQueryProgress(self, event: Any) -> None:
        told = event.progress
        self.heard.append((told.name, str(told.runId), told.batchId, told.numInputRows, {*told.durationMs}))

    def onQueryTerminated(self, event: Any) -> None:
        self.heard.append(("ended", str(event.runId), event.exception))
        self.ended.set()


def test_it_hears_what_spark_tells_in_a_few_calls(
    spark: SparkSession, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        spark.range(number * 3, number * 3 + 3).coalesce(1).write.mode("append").parquet(f"{folder}/in")
    listener, hearing, calls = Listener(), set[threading.Thread](), list[str]()
    send, hear = ClientServerConnection.send_command, _Heard.onQueryProgress

    def heard(self: _Heard, event: Any) -> None:
        hearing.add(threading.current_thread())
        hear(self, event)
        hearing.remove(threading.current_thread())

    def counted(self: ClientServerConnection, command: str) -> str:
        if threading.current_thread() in hearing and not command.startswith(FREED):
            calls.append(command)
        return str(send(self, command))

    spark.streams.addListener(listener)
    monkeypatch.setattr(_Heard, "onQueryProgress", heard)
    monkeypatch.setattr(ClientServerConnection, "send_command", counted)
    try:
        stream = spark.readStream.schema("id BIGINT").option("maxFilesPerTrigger", 1).parquet(f"{folder}/in")
        writer = stream.writeStream.format("noop").queryName("listened").trigger(availableNow=True)
        query = writer.option("checkpointLocation", f"{folder}/checkpoint").start()
        query.awaitTermination()
        assert listener.ended.wait(30)
    finally:
        spark.streams.removeListener(listener)
    run = str(query.runId)
    assert listener.heard == [
        ("started", "listened", run),
        ("listened", run, 0, 3, PHASES),
        ("listened", run, 1, 3, PHASES),
        ("ended", run, None),
    ]
    assert len(calls) == 4, "two for each progress; PySpark's own listener makes hundreds"


def test_what_json_has_no_words_for_is_heard_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener()
    whole: Any = SimpleNamespace(name="listened", runId="r", batchId=3, numInputRows=1, durationMs={"addBatch": 5})
    monkeypatch.setattr(QueryProgressEvent, "fromJObject", lambda event: QueryProgressEvent(whole))
    for text in ('{"id": "00000000-0000-0000-0000-000000000001"}', None):
        _Heard(listener).onQueryProgress(Told(text))
    assert listener.heard == [("listened", "r", 3, 1, {"addBatch"})] * 2
