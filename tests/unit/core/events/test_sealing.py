from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.errors import ConfigError, EventFailed
from jobs.core.events import failing, sealing
from jobs.core.events.subject_keys import OPENING, SEALING

ROW = "stream_id STRING, stream_version BIGINT, event_id STRING, data STRING"
GIVEN = f"{ROW}, subject STRING, personal STRING"
LOG = f"{ROW}, sealed_by STRING, sealed BINARY"
Arrays = Iterator[pa.Array]


class Keys:
    """Keys in place of PostgreSQL's: a subject's id is its name in capitals, its key the name over and over."""

    def __init__(self, *forgotten: str, lost: tuple[str, ...] = ()) -> None:
        self.gone, self.lost = forgotten, lost

    def sealing(self, log_id: str) -> Callable[[Arrays], Arrays]:
        def made(arrays: Arrays) -> Arrays:
            for array in arrays:
                rows = [name and {"id": name.upper(), "key": (name * 32)[:32].encode()} for name in array.to_pylist()]
                yield pa.array(rows, SEALING)

        return made

    def opening(self) -> Callable[[Arrays], Arrays]:
        gone, lost = self.gone, self.lost

        def found(arrays: Arrays) -> Arrays:
            for array in arrays:
                rows = []
                for name in array.to_pylist():
                    key = None if name is None or name in (*gone, *lost) else (name.lower() * 32)[:32].encode()
                    rows.append({"key": key, "forgotten": name in gone})
                yield pa.array(rows, OPENING)

        return found


@pytest.fixture
def log(rows: Callable[..., DataFrame]) -> DataFrame:
    given = rows(
        GIVEN,
        ("o1", 1, "e1", '{"total":5}', "ann", '{"name":"Ann","to":["a", "b"]}'),
        ("o1", 2, "e2", '{"paid": 5}', "ann", None),
        ("o2", 1, "e3", "{}", "bo", '{"name": "Bo"}'),
        ("o3", 1, "e4", "{}", None, None),
    )
    keys: Any = Keys()
    return sealing.sealed(given, keys, "log").localCheckpoint()


def opened(log: DataFrame, *gone: str, lost: tuple[str, ...] = ()) -> DataFrame:
    keys: Any = Keys(*gone, lost=lost)
    return sealing.opened(log, keys)


def test_what_is_personal_is_sealed_and_the_rest_is_not(log: DataFrame, rows: Callable[..., DataFrame]) -> None:
    assert_df_equality(
        log.withColumn("sealed", F.length("sealed").cast("bigint")),
        rows(
            f"{ROW}, sealed_by STRING, sealed BIGINT",
            ("o1", 1, "e1", '{"total":5}', "ANN", 30 + 28),  # with its nonce and its tag
            ("o1", 2, "e2", '{"paid": 5}', None, None),
            ("o2", 1, "e3", "{}", "BO", 14 + 28),
            ("o3", 1, "e4", "{}", None, None),
        ),
        ignore_nullable=True,
    )


def test_who_has_the_keys_finds_all_of_it(log: DataFrame, rows: Callable[..., DataFrame]) -> None:
    expected = rows(
        ROW,
        ("o1", 1, "e1", '{"total":5,"name":"Ann","to":["a", "b"]}'),
        ("o1", 2, "e2", '{"paid": 5}'),
        ("o2", 1, "e3", '{"name": "Bo"}'),
        ("o3", 1, "e4", "{}"),
    )
    assert_df_equality(opened(log), expected, ignore_nullable=True)


def test_of_who_is_forgotten_the_rest_is_left_and_events_of_nothing_else_are_not(
    log: DataFrame, rows: Callable[..., DataFrame]
) -> None:
    expected = rows(ROW, ("o1", 1, "e1", '{"total":5}'), ("o1", 2, "e2", '{"paid": 5}'), ("o3", 1, "e4", "{}"))
    assert_df_equality(opened(log, "ANN", "BO"), expected, ignore_nullable=True)


def test_the_same_event_is_never_sealed_to_the_same_bytes(spark: SparkSession, rows: Callable[..., DataFrame]) -> None:
    given, keys = rows(GIVEN, *[("o", 1, "e", "{}", "ann", '{"name":"Ann"}')] * 2), Keys()
    assert sealing.sealed(given, keys, "log").select("sealed").distinct().count() == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("damage", "lost", "cause"),
    [
        ({}, ("ANN",), "its key is not among the keys of subjects"),
        ({"sealed_by": "'BO'"}, (), "what is sealed in it does not open: it was changed, or is another event's"),
        ({"stream_id": "'o9'"}, (), "what is sealed in it does not open: it was changed, or is another event's"),
        ({"sealed": "substr(sealed, 1, 20)"}, (), "what is sealed in it does not open"),
    ],
)
def test_what_does_not_open_fails_the_query_and_is_named(
    log: DataFrame, damage: dict[str, str], lost: tuple[str, ...], cause: str
) -> None:
    found = opened(
        log.filter("event_id = 'e1'").withColumns({name: F.expr(sql) for name, sql in damage.items()}), lost=lost
    )
    stream = "o9" if "stream_id" in damage else "o1"
    with pytest.raises(EventFailed, match=f"event e1.*stream {stream}.*{cause}|stream {stream}.*e1.*{cause}"):
        with failing.named(found):
            found.collect()


def test_without_a_database_only_a_log_with_nothing_sealed_is_read(log: DataFrame) -> None:
    nothing = log.drop("sealed_by", "sealed")
    assert sealing.Opener()(nothing) is nothing
    with pytest.raises(ConfigError, match="postgres: required: the log is sealed, and its keys are there"):
        sealing.Opener()(log)
