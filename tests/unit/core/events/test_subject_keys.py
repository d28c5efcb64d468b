"""What a task asks the database for, and what it makes of the answers; the statements have their tests on a real one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pytest

from jobs.core.errors import DependencyMissing
from jobs.core.events import subject_keys
from jobs.core.events.subject_keys import OPENING, OpenKey, SubjectKeys
from jobs.core.failures import Kind, SinkFailure, kind

KEYS = SubjectKeys({"host": "127.0.0.1", "port": 1}, "here")


def test_each_key_is_asked_for_once_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, connected = [], []

    def found(_: Any, ids: list[str]) -> dict[str, OpenKey]:
        asked.append(ids)
        return {one: OpenKey(one.encode(), one == "b") for one in ids}

    @contextmanager
    def connect(*_: Any) -> Iterator[object]:
        connected.append(1)
        yield object()

    monkeypatch.setattr(subject_keys, "found", found)
    monkeypatch.setattr(subject_keys, "_connected", connect)
    batches = [pa.array([None], pa.string()), pa.array(["b", None, "a", "b"]), pa.array(["a", "c"])]
    given = [one.to_pylist() for one in KEYS.opening()(iter(batches))]
    a, b, c = ({"key": name.encode(), "forgotten": name == "b"} for name in "abc")
    assert given == [[None], [b, None, a, b], [a, c]]
    assert asked == [["a", "b"], ["c"]]
    assert len(connected) == 1


def test_nothing_is_asked_for_rows_that_name_nobody() -> None:
    (found,) = KEYS.opening()(iter([pa.array([None, None], pa.string())]))
    assert found.equals(pa.array([None, None], OPENING))


def test_a_database_that_is_away_may_come_back_for_a_task_and_is_named_at_the_start() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        keys = SubjectKeys({"host": "127.0.0.1", "port": taken.getsockname()[1], "user": "u"}, "the database")
        with pytest.raises(SinkFailure) as failed:
            list(keys.opening()(iter([pa.array(["a"])])))
        assert kind(failed.value) is Kind.TRANSIENT
        with pytest.raises(DependencyMissing, match="keys of subjects the database unreachable: .*refused"):
            keys.check()
