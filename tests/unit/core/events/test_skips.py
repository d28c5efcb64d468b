from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import DataFrame

from jobs.core.errors import ConfigError
from jobs.core.events import skips
from jobs.core.events.skips import Skip

PLACES = "event_id STRING, stream_id STRING, stream_version BIGINT"


def written(folder: Path, text: str) -> Path:
    path = folder / "skips.yaml"
    path.write_text(text)
    return path


def test_entries_are_read_in_order(folder: Path) -> None:
    path = written(folder, "- {event_id: a, reason: twice}\n- {stream_id: s, stream_version: 3, reason: a test}\n")
    by_place = Skip(stream_id="s", stream_version=3, reason="a test")
    assert skips.read(path) == (Skip(event_id="a", reason="twice"), by_place)
    assert list(map(str, skips.read(path))) == ["a", "stream s, version 3"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- {event_id: a}", "skip.0.reason: required"),
        ("- {event_id: a, reason: ''}", "skip.0.reason = '': one line of text"),
        ("- {reason: r}", "skip.0: event_id, or stream_id and stream_version"),
        ("- {event_id: a, reason: r}\n- {stream_id: s, reason: r}", "skip.1: event_id, or"),
        ("- {event_id: a, stream_id: s, reason: r}", "skip.0: event_id, or"),
        ("- {stream_id: s, stream_version: 0, reason: r}", "stream_version = 0: at least 1"),
        ("- {event_idd: a, reason: r}", "skip.0.event_idd = a: unknown key"),
        ("event_id: a", "a list at the top"),
        ("[", "YAML"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(folder: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        skips.read(written(folder, text))
    assert said in str(refused.value) and "skips.yaml" in str(refused.value)


def test_a_list_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        skips.read(folder / "none.yaml")


def test_thousands_of_entries_are_one_condition(rows: Callable[..., DataFrame]) -> None:
    given = [Skip(stream_id=f"s{number}", stream_version=1, reason="r") for number in range(3_000)]
    events = rows(PLACES, ("a", "s2999", 1), ("b", "s1", 2), ("c", "other", 1))
    left = events.filter(~skips.skipped(given)).collect()
    assert [row.event_id for row in left] == ["b", "c"]


def test_entries_that_fit_no_event_are_found(rows: Callable[..., DataFrame]) -> None:
    events = rows(PLACES, ("a", "s", 1), ("b", "s", 2))
    fits = [Skip(event_id="a", reason="r"), Skip(stream_id="s", stream_version=2, reason="r")]
    fits_not = [Skip(event_id="c", reason="r"), Skip(stream_id="s", stream_version=3, reason="r")]
    assert skips.unfit(events, [*fits, *fits_not]) == (fits_not, [])
    again = rows(PLACES, ("a", "t", 1), ("a", "s", 1), ("b", "s", 2))
    assert skips.unfit(again, fits) == ([], fits[:1]), "an id is one within its stream alone"
    assert skips.named(fits_not) == "c; stream s, version 3"
    assert skips.named(fits * 4).endswith("; and 3 more")
