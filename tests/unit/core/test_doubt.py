from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest

from jobs.core.doubt import FOR_GOOD, UNTIL, lasting, latest, since
from jobs.core.ledger import Counts, Entry

UNTIL_7 = '[{"t": {"0": 7, "1": 2}}]'


@pytest.mark.parametrize(
    ("until", "end", "lasts"),
    [
        (UNTIL_7, '[{"t": {"0": 6, "1": 2}}]', True),
        (UNTIL_7, '[{"t": {"0": 9, "1": 1}}]', True),
        (UNTIL_7, '[{"t": {"0": 9}}]', True),  # a partition that no batch has met yet
        (UNTIL_7, "[null]", True),
        (UNTIL_7, '[{"t": {"0": 7, "1": 2}}]', False),
        (UNTIL_7, '[{"t": {"0": 9, "1": 9, "2": 0}}]', False),
        ("[{}]", "[null]", False),
        (FOR_GOOD, '[{"t": {"0": 7}}]', True),
        (FOR_GOOD, '[{"logOffset": 3}]', True),
    ],
)
def test_doubt_lasts_until_every_partition_is_past(until: str, end: str, lasts: bool) -> None:
    assert lasting({UNTIL: until, "other": "x"}, end) == ({UNTIL: until} if lasts else {})


def test_without_a_recovery_there_is_no_doubt() -> None:
    assert lasting({"reference_version": "1"}, "[null]") == {}


@pytest.mark.parametrize(
    ("untils", "furthest"),
    [
        ([UNTIL_7], UNTIL_7),
        ([UNTIL_7, '[{"t": {"0": 3, "1": 5}, "u": {"0": 1}}]'], '[{"t": {"0": 7, "1": 5}, "u": {"0": 1}}]'),
        ([UNTIL_7, FOR_GOOD], FOR_GOOD),
        (["[{}]", UNTIL_7], UNTIL_7),
    ],
)
def test_of_several_the_furthest_counts(untils: list[str], furthest: str) -> None:
    assert latest(*untils) == furthest


BATCH = Entry("batch", "join", "q1", 0, "[null]", "[1]", Counts(), "2026-01-01T00:00:00.000005+00:00")


def test_nothing_was_written_without_a_record_before_the_last_batch_began() -> None:
    assert since(BATCH) == datetime(2026, 1, 1, 0, 0, 0, 5, timezone.utc)


def test_at_first_and_after_a_recovery_it_may_have_been_at_any_time() -> None:
    assert since(None) is since(replace(BATCH, kind="recovery")) is since(replace(BATCH, note={UNTIL: UNTIL_7})) is None
