from __future__ import annotations

import pytest

from jobs.core.doubt import FOR_GOOD, UNTIL, lasting, latest

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
