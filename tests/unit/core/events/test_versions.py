from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.core.events.head_files import Known
from jobs.core.events.versions import Gaps, Judge, verdict_on
from jobs.core.reasons import Reason

NOBODY = Known("/nowhere", 2, {})
Event = tuple[str, str, int | None, int | None]  # stream, event id, expected_version, stream_version
SCHEMA = pa.schema(
    [
        ("_bucket", pa.int32()),
        ("_stream", pa.binary()),
        ("_event", pa.binary()),
        ("expected_version", pa.int64()),
        ("stream_version", pa.int64()),
        ("row", pa.int64()),
    ]
)


def batches(events: Sequence[Event], size: int) -> list[pa.RecordBatch]:
    """Sorted by stream, as numbered rows."""
    rows: list[dict[str, Any]] = []
    for row, (stream, event, expected, version) in enumerate(events):
        keys = {"_stream": _key(stream), "_event": _key(f"{stream}/{event}")}
        rows.append({"_bucket": 0, **keys, "expected_version": expected, "stream_version": version, "row": row})
    rows.sort(key=lambda row: row["_stream"])
    return [pa.RecordBatch.from_pylist(rows[at : at + size], SCHEMA) for at in range(0, len(rows), size)]


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def judged(events: Sequence[Event], size: int = 100, gaps: Gaps = "reject") -> dict[int, int | str]:
    """What becomes of each event that is not a duplicate, by its place."""
    judge = Judge(NOBODY, gaps)
    found = [row for batch in batches(events, size) for row in judge.judged(batch).to_pylist()]
    return {row["row"]: row["_reason"] or row["stream_version"] for row in found}


def reference(events: Sequence[Event], gaps: Gaps) -> dict[int, int | str]:
    """The same, as plainly as it can be said."""
    heads: dict[str, int] = {}
    seen: set[tuple[str, str]] = set()
    found: dict[int, int | str] = {}
    for row, (stream, event, expected, version) in enumerate(events):
        head = heads.get(stream, 0)
        if (stream, event) in seen:
            continue
        if expected not in (None, head) or (version is not None and version <= head):
            found[row] = "VERSION_CONFLICT"
        elif version is not None and version > head + 1 and gaps == "reject":
            found[row] = "GAP"
        else:
            heads[stream] = found[row] = head + 1 if version is None else version
            seen.add((stream, event))
    return found


def test_events_are_numbered_in_their_streams() -> None:
    events: list[Event] = [("a", "1", None, None), ("b", "1", None, None), ("a", "2", None, None)]
    assert judged(events) == {0: 1, 1: 1, 2: 2}


def test_a_repeated_id_is_dropped_within_its_stream_alone() -> None:
    events: list[Event] = [
        ("a", "1", None, None),
        ("a", "1", None, None),
        ("b", "1", None, None),
        ("a", "2", None, None),
    ]
    assert judged(events) == {0: 1, 2: 1, 3: 2}


def test_what_was_rejected_can_come_again_under_its_id() -> None:
    events: list[Event] = [("a", "1", 7, None), ("a", "1", 0, None), ("a", "1", 0, None), ("a", "2", 1, None)]
    assert judged(events) == {0: "VERSION_CONFLICT", 1: 1, 3: 2}


def test_a_hole_is_rejected_or_kept() -> None:
    events: list[Event] = [("a", "1", None, 1), ("a", "2", None, 3), ("a", "3", None, None)]
    assert judged(events) == {0: 1, 1: "GAP", 2: 2}
    assert judged(events, gaps="keep") == {0: 1, 1: 3, 2: 4}


@pytest.mark.parametrize(
    ("expected", "given", "why"),
    [
        (3, None, "$.expected_version: 3, and the stream is at 2"),
        (None, 2, "$.stream_version: 2, and the stream is at 2"),
        (2, 4, "$.stream_version: 4, and the stream is at 2"),
    ],
)
def test_a_verdict_names_both_versions(expected: int | None, given: int | None, why: str) -> None:
    found = verdict_on(expected, given, 2, "reject")
    assert found == (Reason.GAP if given == 4 else Reason.VERSION_CONFLICT, why)


EVENTS = st.tuples(
    st.sampled_from("abc"),
    st.sampled_from("123456"),
    st.one_of(st.none(), st.integers(0, 4)),
    st.one_of(st.none(), st.integers(1, 5)),
)
PLAIN = st.tuples(st.sampled_from("abc"), st.sampled_from("123456"), st.none(), st.none())


@given(st.lists(st.one_of(PLAIN, EVENTS), max_size=40), st.integers(1, 9), st.sampled_from(["reject", "keep"]))
def test_any_history_is_judged_as_it_would_be_one_by_one(events: list[Event], size: int, gaps: Gaps) -> None:
    assert judged(events, size, gaps) == reference(events, gaps)


@given(st.lists(PLAIN, max_size=40), st.integers(1, 9))
def test_streams_without_versions_of_their_own_as_well(events: list[Event], size: int) -> None:
    assert judged(events, size) == reference(events, "reject")


def test_a_batch_of_nothing_is_nothing() -> None:
    assert judged([]) == {}
    (none,) = [pa.RecordBatch.from_pylist([], SCHEMA)]
    assert Judge(NOBODY, "reject").judged(none).num_rows == 0


def row(stream: bytes, event: bytes, expected: int | None) -> dict[str, Any]:
    keys = {"_stream": stream.ljust(32), "_event": event.ljust(32)}
    return {"_bucket": 0, **keys, "expected_version": expected, "stream_version": None, "row": 0}


def test_keys_that_are_half_alike_are_two() -> None:
    rows = [row(b"a", b"8 bytes.1", None), row(b"a", b"8 bytes.2", 1), row(b"a", b"8 bytes.2", 1)]
    found = Judge(NOBODY, "reject").judged(pa.RecordBatch.from_pylist(rows, SCHEMA))
    assert found.column("stream_version").to_pylist() == [1, 2]


def test_only_the_last_stream_is_remembered() -> None:
    judge = Judge(NOBODY, "reject")
    for stream in (b"a", b"b", b"b", b"c"):
        judge.judged(pa.RecordBatch.from_pylist([row(stream, stream, None)], SCHEMA))
    assert [len(keys.high) for keys in judge.taken] == [1]


def test_a_stream_of_a_million_events_is_numbered_a_batch_at_a_time() -> None:
    judge, size = Judge(NOBODY, "reject"), 50_000
    again = pa.array([None] * size, pa.int64())
    last = 0
    for start in range(0, 1_000_000, size):
        numbers = range(
            start - 1 if start else 0, start + size - 1 if start else size
        )  # each begins with the last one's end
        keys = [number.to_bytes(8, "big") + bytes(24) for number in numbers]
        columns = [pa.array([0] * size, pa.int32()), pa.array([_key("a")] * size), pa.array(keys), again, again]
        batch = pa.RecordBatch.from_arrays([*columns, pa.array(numbers)], list(SCHEMA.names))
        found = judge.judged(batch).column("stream_version").to_numpy()
        assert found[0] == last + 1 and (found[1:] - found[:-1] == 1).all()
        last = int(found[-1])
    assert last == 1_000_000 - 1, "one event was there twice: where the second batch begins"
