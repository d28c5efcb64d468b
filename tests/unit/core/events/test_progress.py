from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.core.events.chunks import Batch, Span
from jobs.core.events.progress import START, Begun, Position, Progress

REQUEST = "0123456789abcdef"


def progress(spark: SparkSession, folder: Path, request: str = REQUEST) -> Progress:
    return Progress(spark, f"{folder}/work", request)


def test_what_was_remembered_is_known_at_the_next_start(spark: SparkSession, folder: Path) -> None:
    one, spans = progress(spark, folder), [Span(0, Batch(1, 5, 3)), Span(2, Batch(5, 9, 4))]
    assert (one.begun(), one.spans(), one.position()) == (None, None, START)
    one.begin(Begun("id", 3, "t"))
    one.built(spans)
    for steps in range(1, 12):
        one.reached(Position(2, steps, 3 + steps, steps))
    again = progress(spark, folder)
    assert (again.begun(), again.spans(), again.position()) == (Begun("id", 3, "t"), spans, Position(2, 11, 14, 11))
    kept = sorted(file.name for file in (folder / "work" / f"republish-{REQUEST}" / "at").iterdir())
    assert kept == [f".{11:020d}.json.crc", f"{11:020d}.json"]
    other = progress(spark, folder, REQUEST[::-1])
    assert (other.begun(), other.spans(), other.position()) == (None, None, START)


def test_of_two_positions_that_a_kill_left_the_newer_one_counts(spark: SparkSession, folder: Path) -> None:
    one = progress(spark, folder)
    one.reached(Position(0, 7, 1, 9))
    left = folder / "work" / f"republish-{REQUEST}" / "at" / f"{10:020d}.json"
    left.write_text("[0, 8, 2, 10]")
    assert one.position() == Position(0, 8, 2, 10)
    one.reached(Position(0, 9, 3, 11))
    assert not left.exists()


def test_a_step_is_remembered_once(spark: SparkSession, folder: Path) -> None:
    """Whoever else has come so far holds the lease by now."""
    progress(spark, folder).reached(Position(0, 7, 1, 1))
    with pytest.raises(FileExistsError):
        progress(spark, folder).reached(Position(0, 8, 2, 1))


def test_all_that_was_left_goes_and_nothing_else(spark: SparkSession, folder: Path) -> None:
    for request in (REQUEST, REQUEST[::-1]):
        progress(spark, folder, request).begin(Begun("id", 3, "t"))
        progress(spark, folder, request).reached(Position(0, 7, 1, 1))
    for name in ("republish-mine", "_lease", "build-1"):
        (folder / "work" / name).mkdir()
    progress(spark, folder).forget()
    assert sorted(file.name for file in (folder / "work").iterdir()) == ["_lease", "build-1", "republish-mine"]


def test_a_position_is_within_one_chunk() -> None:
    at, all_ = Position(2, 11, 14, 3), Batch(5, 19, 4)
    assert (at.within(Span(2, all_)), at.within(Span(3, all_)), START.within(Span(0, all_))) == (11, None, None)
