from __future__ import annotations

import re
import threading

import pytest
from py4j.clientserver import ClientServerConnection
from pyspark.sql import SparkSession

from jobs.core.jvm import java_class, scala_object

LOOKUP = "r"  # begins a command that looks for a name


def test_a_class_is_known_by_its_full_name(spark: SparkSession) -> None:
    assert java_class(spark, "org.apache.hadoop.fs.Path")("/a", "b").toString() == "/a/b"
    assert java_class(spark, "java.util.List").of("x").size() == 1
    assert scala_object(spark, "scala.None").isEmpty()


def test_it_is_looked_for_once(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    send, ours = ClientServerConnection.send_command, threading.current_thread()

    def counted(self: ClientServerConnection, command: str) -> str:
        if threading.current_thread() is ours and command.startswith(LOOKUP):
            asked.append(command)
        return str(send(self, command))

    found = java_class(spark, "java.util.ArrayDeque"), scala_object(spark, "scala.Predef")
    monkeypatch.setattr(ClientServerConnection, "send_command", counted)
    assert (java_class(spark, "java.util.ArrayDeque"), scala_object(spark, "scala.Predef")) == found
    assert asked == []
    java_class(spark, "java.util.WeakHashMap")
    assert len(asked) == 1, "what has not been looked for yet is"


@pytest.mark.parametrize("name", ["org.example.Missing", "org.apache.hadoop.fs", "org.apache.hadoop.fs.path"])
def test_a_class_that_is_not_there_is_named(name: str, spark: SparkSession) -> None:
    with pytest.raises(LookupError, match=re.escape(f"no JAR on the class path has {name}")):
        java_class(spark, name)
