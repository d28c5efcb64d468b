from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from _event_log import append
from pyspark.sql import SparkSession

from jobs.core.errors import LedgerMismatch
from jobs.core.events import keyset
from jobs.core.events.eventlog import EventLog
from jobs.core.events.head_files import Known
from jobs.core.events.heads import Heads, Level, keyed, split

COLUMNS = "stream_id STRING, event_id STRING"


def found(spark: SparkSession, known: Known, *events: tuple[str, str]) -> list[tuple[int, int]]:
    """Of each stream and event id: the stream's version, and the event's."""
    rows = keyed(spark.createDataFrame(list(events), COLUMNS), known.buckets).toArrow().to_pylist()
    return [
        tuple(int(keyset.find(known.of(row["_bucket"]), *_key(row[name]))[0]) for name in ("_stream", "_event"))
        for row in rows
    ]  # type: ignore[misc]


def _key(digest: bytes) -> tuple[keyset.Words, keyset.Words]:
    return keyset.halves(np.frombuffer(digest, np.uint8).reshape(1, -1))


def test_heads_follow_the_log(spark: SparkSession, log: EventLog) -> None:
    kept = Heads(spark, log, "j", 2)
    assert found(spark, kept.known(), ("a", "1")) == [(0, 0)]
    append(spark, log, ("a", 1, "1"), ("a", 2, "2"), ("b", 1, "1"))
    assert found(spark, kept.known(), ("a", "1"), ("a", "2"), ("b", "2"), ("c", "1")) == [
        (2, 1),
        (2, 2),
        (1, 0),
        (0, 0),
    ]
    append(spark, log, ("a", 3, "3"))
    append(spark, log, ("c", 1, "1"))
    assert found(spark, kept.known(), ("a", "1"), ("a", "3"), ("c", "1")) == [(3, 1), (3, 3), (1, 1)]


def test_they_are_taken_up_where_they_were_left(
    spark: SparkSession, log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    append(spark, log, ("a", 1, "1"))
    Heads(spark, log, "j", 2).known()
    append(spark, log, ("a", 2, "2"))
    caplog.clear()
    assert found(spark, Heads(spark, log, "j", 2).known(), ("a", "2")) == [(2, 2)]
    assert caplog.messages == []


def made_anew(spark: SparkSession, log: EventLog, caplog: pytest.LogCaptureFixture, buckets: int = 2) -> str:
    """What is said of why, after it was seen that they are whole."""
    caplog.set_level("INFO")
    caplog.clear()
    known = Heads(spark, log, "j", buckets).known()
    assert found(spark, known, ("a", "1"), ("a", "2")) == [(2, 1), (2, 2)]
    return caplog.text


def test_what_cannot_be_gone_on_with_is_made_anew(
    spark: SparkSession, log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    append(spark, log, ("a", 1, "1"), ("a", 2, "2"))
    known = Heads(spark, log, "j", 2).known()
    assert "in 2 buckets, and not in 3" in made_anew(spark, log, caplog, buckets=3)
    (name,) = next(iter(Heads(spark, log, "j", 3).known().files.values()))
    file = Path(known.root, name)
    whole = bytearray(file.read_bytes())
    whole[9] ^= 1
    file.write_bytes(whole)
    assert f"{name}: its content does not match its checksum" in caplog.text + made_anew(spark, log, caplog, buckets=3)
    for kept in Path(known.root).glob("*.keys"):
        kept.unlink()
    assert "No such file" in made_anew(spark, log, caplog, buckets=3)


def test_a_log_whose_files_are_gone_is_read_whole(
    spark: SparkSession, log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    Heads(spark, log, "j", 2).known()
    before = log.version()
    append(spark, log, ("a", 1, "1"))
    files = [*Path(log.path).glob("*.parquet")]
    append(spark, log, ("a", 2, "2"))
    spark.sql(f"OPTIMIZE delta.`{log.path}` FULL")
    for file in files:
        file.unlink()  # as VACUUM does
    assert log.at(log.version()).since(before) is None
    assert "made from all of it" in made_anew(spark, log, caplog)


def test_another_job_is_refused(spark: SparkSession, log: EventLog) -> None:
    Heads(spark, log, "j", 2).known()
    with pytest.raises(LedgerMismatch, match="the log is written by job j; events of another job"):
        Heads(spark, log, "other", 2)


def test_another_writer_of_heads_is_refused(spark: SparkSession, log: EventLog) -> None:
    one, other = Heads(spark, log, "j", 2), Heads(spark, log, "j", 2)
    one.known(), other.known()
    append(spark, log, ("a", 1, "1"))
    one.known()
    with pytest.raises(LedgerMismatch, match="written by another instance"):
        other.known()


def test_files_that_nobody_reads_are_dropped(spark: SparkSession, log: EventLog) -> None:
    kept = Heads(spark, log, "j", 2)
    for number in range(1, 8):
        append(spark, log, ("a", number, str(number)))
        known = kept.known()
    names = {path.name for path in Path(known.root).iterdir() if not path.name.startswith(".")}
    assert len(names) <= 2 + 4, names


@pytest.mark.parametrize(
    ("sizes", "keys", "stay"),
    [([], 10, 0), ([1000, 100], 10, 2), ([1000, 100, 39], 10, 1), ([1000, 400, 39], 10, 2), ([8], 2, 1), ([7], 2, 0)],
)
def test_files_are_written_anew_with_what_is_not_much_smaller(sizes: list[int], keys: int, stay: int) -> None:
    levels = [Level(size, {}) for size in sizes]
    assert split(levels, keys) == (levels[:stay], levels[stay:])
