"""What a real Delta table demands, against what it does refuse: the same rows, all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs.core.failures import Kind, kind, words
from jobs.core.sinks import Mark, Refusal
from jobs.core.sinks.tables import DeltaTableSink

Rows = Callable[..., DataFrame]
ROW = "id INT, name STRING, code STRING, place STRUCT<zip: INT>, _topic STRING, _partition INT, _offset BIGINT"
MARK = Mark("j", "q", 0, "[null]", "[null]")


@pytest.fixture(scope="module")
def sink(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> DeltaTableSink:
    path = str(tmp_path_factory.mktemp("invariants") / "table")
    columns = (
        "id INT, name STRING NOT NULL, code VARCHAR(3), place STRUCT<zip: INT NOT NULL>, `odd.one` INT, "
        "_topic STRING, _partition INT, _offset BIGINT"
    )
    spark.sql(f"CREATE TABLE delta.`{path}` ({columns}) USING delta")
    spark.sql(f"ALTER TABLE delta.`{path}` ADD CONSTRAINT small CHECK (id < 100)")
    return DeltaTableSink(spark, path)


def row(offset: int, **other: Any) -> tuple[Any, ...]:
    whole = {"id": 1, "name": "a", "code": "abc", "place": (1,), **other}
    return (*whole.values(), "t", 0, offset)


SMALL, NAME = "CHECK constraint small (id < 100) violated", "NOT NULL constraint violated for column: name"
BAD = {
    1: ({"id": 777}, SMALL),
    3: ({"id": None}, SMALL),
    4: ({"name": None}, NAME),
    6: ({"code": "abcd"}, "value too long for type varchar(3) of column: code"),
    7: ({"place": (None,)}, "NOT NULL constraint violated for column: place.zip"),
    8: ({"place": None}, "NOT NULL constraint violated for column: place.zip"),
    9: ({"id": 777, "name": None}, NAME),
}
WHOLE = [row(offset, **(BAD[offset][0] if offset in BAD else {})) for offset in range(11)]


def test_every_row_that_a_constraint_forbids_is_named_without_its_values(sink: DeltaTableSink, rows: Rows) -> None:
    found = sink.refused(rows(ROW, *WHOLE), MARK, 100)
    assert found == [Refusal("t", 0, offset, said) for offset, (_, said) in BAD.items()]


@pytest.mark.parametrize("offset", [1, 4, 6, 8])
def test_what_the_table_does_refuse_is_the_datas_fault(sink: DeltaTableSink, rows: Rows, offset: int) -> None:
    with pytest.raises(Exception, match="DELTA_") as refused:
        sink.append(rows(ROW, WHOLE[offset]), MARK)
    assert kind(refused.value) is Kind.DATA
    assert "777" not in words(refused.value) and "abcd" not in words(refused.value)


def test_what_is_left_is_taken(sink: DeltaTableSink, rows: Rows) -> None:
    good = [WHOLE[offset] for offset in range(11) if offset not in BAD]
    assert sink.refused(rows(ROW, *good), MARK, 100) == []
    sink.append(rows(ROW, *good), MARK)
    assert sink.rows().count() == len(good)


def test_a_column_that_the_rows_do_not_bring_is_null(sink: DeltaTableSink, rows: Rows) -> None:
    given = rows(ROW, row(0), row(1)).drop("name")
    assert sink.refused(given, MARK, 100) == [Refusal("t", 0, 0, NAME), Refusal("t", 0, 1, NAME)]


def test_no_more_are_named_than_show_that_there_are_too_many(sink: DeltaTableSink, rows: Rows) -> None:
    assert [refusal.offset for refusal in sink.refused(rows(ROW, *WHOLE), MARK, 1)] == [1, 3]


def test_a_table_that_is_not_there_refuses_nothing(spark: SparkSession, tmp_path: Path, rows: Rows) -> None:
    assert DeltaTableSink(spark, str(tmp_path / "new")).refused(rows(ROW, row(0, id=None)), MARK, 1) == []
