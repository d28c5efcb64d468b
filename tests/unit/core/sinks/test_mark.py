from __future__ import annotations

import pytest

from jobs.core.sinks import Mark


@pytest.mark.parametrize(
    ("start", "end", "records"),
    [
        ('[{"t": {"0": 3, "1": 0}}]', '[{"t": {"0": 5, "1": 7}}]', 9),
        ("[null]", '[{"t": {"0": 5}}]', 5),
        ('[{"t": {"0": 5}}]', '[{"t": {"0": 5}}]', 0),
        ("[null]", '[{"logOffset": 3}]', None),
        ("release", "release", None),
    ],
    ids=["two partitions", "first batch", "none", "files", "release"],
)
def test_how_many_records_a_mark_covers(start: str, end: str, records: int | None) -> None:
    assert Mark("job", "q", 0, start, end).records() == records
