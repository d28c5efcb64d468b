from __future__ import annotations

from datetime import datetime, timezone

import pytest

from jobs.commands.offsets import asked, check
from jobs.core.errors import ConfigError

SPANS = {"t": {0: (5, 9), 1: (0, 0)}}


def test_a_time_or_offsets_are_asked_for() -> None:
    assert asked("2026-01-31T12:00:00Z", None) == datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
    assert asked(None, '{"t": {"0": 7}}') == {"t": {"0": 7}}


@pytest.mark.parametrize(
    ("timestamp", "offsets", "said"),
    [
        (None, None, "one of --to-timestamp and --to-offsets"),
        ("2026-01-31T12:00:00Z", "{}", "one of --to-timestamp and --to-offsets"),
        ("2026-01-31T12:00:00", None, "a time with a zone"),
        ("yesterday", None, "a time with a zone"),
        (None, "[5]", "an offset a partition"),
        (None, '{"t": 5}', "an offset a partition"),
        (None, '{"t": {"0": "x"}}', "an offset a partition"),
        (None, "{", "an offset a partition"),
    ],
)
def test_what_is_neither_is_refused(timestamp: str | None, offsets: str | None, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        asked(timestamp, offsets)


@pytest.mark.parametrize("offset", [5, 9])
def test_an_offset_may_be_the_first_or_the_end(offset: int) -> None:
    check({"t": {"0": offset, "1": 0}}, SPANS)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"t": {"0": 4, "1": 0}}, "t 0: 4: an offset from 5 to 9"),
        ({"t": {"0": 10, "1": 0}}, "t 0: 10: an offset from 5 to 9"),
        ({"t": {"0": 5}}, "t 1: None: an offset from 0 to 0"),
        ({"t": {"0": 5, "1": 0, "2": 0}}, "t 2: a partition of the job's topics"),
        ({"t": {"0": 5, "1": 0}, "u": {"0": 0}}, "u 0: a partition of the job's topics"),
    ],
)
def test_each_partition_needs_an_offset_that_it_has(wanted: dict[str, dict[str, int]], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check(wanted, SPANS)
