from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from jobs.core import causes
from jobs.core.errors import DependencyMissing, Loss, NoSpace, SourceLost

Usage = namedtuple("Usage", "free")
LOST = SourceLost([Loss("t", 0, "gone")], "Do this")


def raising(failure: Exception) -> Any:
    def look() -> None:
        raise failure

    return look


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setattr(causes.shutil, "disk_usage", lambda path: Usage(0 if path == tmp_path else 1 << 30))
    return str(tmp_path)


def test_a_source_that_has_lost_records_is_the_cause() -> None:
    failure = ValueError("odd")
    assert causes.namer(raising(LOST), [])(failure) is LOST
    assert LOST.__cause__ is failure


def test_a_source_that_cannot_be_looked_at_is_not_to_blame() -> None:
    failure = ValueError("odd")
    assert causes.namer(raising(DependencyMissing("Kafka", "b:1", "away")), [])(failure) is failure


def test_what_has_a_name_keeps_it() -> None:
    failure = DependencyMissing("Kafka", "b:1", "away")
    assert causes.namer(raising(LOST), [])(failure) is failure


def test_a_full_disk_names_its_folders(no_room: str) -> None:
    folders = [no_room, f"file://{no_room}/not/there", "/", "hdfs://far/away"]
    found = causes.namer(lambda: None, folders)(OSError("No space left on device"))
    assert isinstance(found, NoSpace) and found.places == (no_room, f"file://{no_room}/not/there")


def test_another_failure_on_a_full_disk_keeps_its_name(no_room: str) -> None:
    failure = ValueError("odd")
    assert causes.namer(lambda: None, [no_room])(failure) is failure
