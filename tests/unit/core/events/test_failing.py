from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.core.errors import EventFailed
from jobs.core.events.failing import NAMED, named

PLACES = "stream_id STRING, stream_version BIGINT, event_id STRING"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[USER_RAISED_EXCEPTION] stream s, version 2: why SQLSTATE: P0001", ("s", "2", None, "why")),
        ("a.EventFailed: stream s, version 2, event e: why: so", ("s", "2", "e", "why: so")),
        ("first\na.EvolveFailed: stream a b, c, version 12: why\nlast", ("a b, c", "12", None, "why")),
        ("a downstream s, version two: why", None),
    ],
)
def test_an_event_is_known_by_the_text(text: str, found: tuple[Any, ...] | None) -> None:
    match = NAMED.search(text)
    assert (match and match.group("stream", "version", "event", "cause")) == found


def test_the_log_says_which_event_it_is(rows: Callable[..., DataFrame], folder: Path) -> None:
    events = rows(PLACES, ("s", 1, "a"), ("s", 2, "b"))
    wrong = F.when(F.col("event_id") == "b", F.raise_error(F.lit("stream s, version 2: why"))).otherwise(F.lit(1))
    with pytest.raises(EventFailed) as failed, named(events):
        events.select(wrong.cast("int").alias("n")).write.format("delta").save(f"{folder}/t")
    assert str(failed.value) == "stream s, version 2, event b: why"
    with pytest.raises(EventFailed, match="stream s, version 3, event of an unknown id: why"), named(events):
        events.select(F.raise_error(F.lit("stream s, version 3: why"))).collect()


def test_any_other_failure_stays_as_it_is(rows: Callable[..., DataFrame]) -> None:
    with pytest.raises(PySparkException, match="DIVIDE_BY_ZERO"), named(rows(PLACES)):
        rows("n INT", (0,)).select(1 / F.col("n")).collect()
