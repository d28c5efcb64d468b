"""The pace of a redrive, and jobs that have none; what it sends is in tests/integration/test_redriven_job.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from _configs import config
from chispa import assert_df_equality
from pyspark.sql import DataFrame

from jobs.core.config import Redrive
from jobs.core.errors import ConfigError
from jobs.core.redrive import by_attempt, pacer, settings


@pytest.mark.parametrize(("rate", "pieces"), [(20, [2, 2, 1, 2]), (5, [1] * 7)])
def test_so_many_rows_a_second_pass(rate: int, pieces: list[int]) -> None:
    clock, passed = [0.0], []
    pace = pacer(rate, lambda: clock[0], lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    batches = [pa.RecordBatch.from_pydict({"n": list(range(count))}) for count in (5, 2)]
    for piece in pace(iter(batches)):
        passed.append((piece.num_rows, clock[0]))
    assert [count for count, _ in passed] == pieces
    begun = [sum(pieces[:at]) / rate for at in range(len(pieces))]
    assert [when for _, when in passed] == pytest.approx(begun)


def test_a_slow_reader_is_not_made_up_for_by_a_burst() -> None:
    clock = [0.0]
    pace = pacer(10, lambda: clock[0], lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    passed = []
    for _ in pace(iter([pa.RecordBatch.from_pydict({"n": [1, 2, 3]})])):
        passed.append(clock[0])
        clock[0] += 5 if len(passed) == 1 else 0
    assert passed == pytest.approx([0, 5, 5.1])


def test_a_letter_that_was_tried_often_enough_or_cut_is_not_tried_again(rows: Callable[..., DataFrame]) -> None:
    schema = "n INT, reason STRING, attempt INT, sent ARRAY<STRUCT<key: STRING, value: BINARY>>"
    own, cut = [("k", b"v")], [("k", b"v"), ("patterns-value-sha256", b"ab")]
    tried = [(0, 1, own), (1, 2, own), (2, 3, own), (3, 1, cut), (4, 1, [])]
    given = [(n, "FUTURE", attempt, sent) for n, attempt, sent in tried]
    followed = (5, "KEY_BLOCKED", 3, own)  # it was never tried itself
    topics = Redrive.model_validate({"topic": "again", "parking_topic": "parked", "max_attempts": 3})
    again, parked = by_attempt(rows(schema, *given, followed), topics)
    assert_df_equality(again, rows(schema, given[0], given[1], given[4], followed))
    assert_df_equality(parked, rows(schema, given[2], given[3]))


def test_a_job_without_a_redrive_topic_is_told_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dead_letters.redrive: required for a redrive: topic and parking_topic"):
        settings(config(tmp_path))
