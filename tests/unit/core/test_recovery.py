"""The ledger's record of a recovery; what a whole recovery does is in tests/integration/test_recovered_job.py."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from _configs import config

from jobs.core.ledger import Counts, Entry
from jobs.core.recovery import record

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
LAST = Entry("batch", "enrich", "q1", 7, '[{"t": {"0": 3}}]', '[{"t": {"0": 5}}]', Counts(2, 2), "t0")
END = '[{"t": {"0": 9}}]'


@pytest.mark.parametrize(
    ("how", "at", "batch_id", "place"),
    [("from-ledger", LAST.end, 0, LAST.end), ("reprocess", None, -1, "[null]")],
)
def test_a_recovery_is_recorded_with_both_queries(
    tmp_path: Path, how: Any, at: str | None, batch_id: int, place: str
) -> None:
    made = record(config(tmp_path).recovering(how), LAST, at, END, NOON)
    assert made.query_id not in ("", "q1")
    note = {"how": how, "from_query": "q1", "in_doubt_until": END}
    expected = Entry("recovery", "enrich", "", batch_id, place, place, Counts(), NOON.isoformat(), {}, note)
    assert replace(made, query_id="") == expected


def test_the_newest_event_time_goes_on_but_where_all_is_read_again(tmp_path: Path) -> None:
    last = replace(LAST, note={"newest_event_time": "2026-01-01T12:00:00.000000+00:00", "reference_version": "v1"})
    for how, at, kept in (("from-ledger", LAST.end, True), ("reprocess", None, False)):
        made = record(config(tmp_path).recovering(how), last, at, END, NOON)
        own = {"how": how, "from_query": "q1", "in_doubt_until": END}
        assert made.note == {**own, **({"newest_event_time": last.note["newest_event_time"]} if kept else {})}


def test_doubt_that_an_earlier_recovery_left_is_kept(tmp_path: Path) -> None:
    before = replace(LAST, note={"in_doubt_until": '[{"t": {"0": 4, "1": 6}}]'})
    made = record(config(tmp_path).recovering("from-ledger"), before, LAST.end, END, NOON)
    assert made.note["in_doubt_until"] == '[{"t": {"0": 9, "1": 6}}]'
