from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame

from jobs.core.classify import constrain, decoder, good, rejected, typed
from jobs.core.config import Source
from jobs.core.errors import ConfigError

Rows = Callable[..., DataFrame]
PLACE = "_topic STRING, _partition INT, _offset BIGINT, _timestamp TIMESTAMP"
REST = "_reason STRING, _detail STRING, _key BINARY, _value BINARY, _headers ARRAY<STRUCT<key: STRING, value: BINARY>>"
DECODED = f"id INT, amount INT, {PLACE}, {REST}"


def decoded(identity: int, amount: int | None, reason: str | None = None, detail: str | None = None) -> tuple[Any, ...]:
    return (identity, amount, "t", 0, identity, None, reason, detail, None, None, None)


def test_the_first_constraint_that_fails_is_named_and_null_is_no_pass(rows: Rows) -> None:
    constraints = {"positive": "amount > 0", "small": "amount < 10 AND amount > 0"}
    given = rows(DECODED, decoded(1, 5), decoded(2, 0), decoded(3, 11), decoded(4, None), decoded(5, 0, "FUTURE", "at"))
    expected = rows(
        DECODED,
        decoded(1, 5),
        decoded(2, 0, "CONSTRAINT", "positive"),
        decoded(3, 11, "CONSTRAINT", "small"),
        decoded(4, None, "CONSTRAINT", "positive"),
        decoded(5, 0, "FUTURE", "at"),
    )
    assert_df_equality(constrain(given, constraints), expected, ignore_nullable=True)


def test_no_constraints_change_nothing(rows: Rows) -> None:
    given = rows(DECODED, decoded(1, 5))
    assert constrain(given, {}) is given


def test_good_rows_lose_what_is_technical_and_end_in_their_coordinates(rows: Rows) -> None:
    given = rows(DECODED, decoded(1, 5), decoded(2, 6, "FUTURE"))
    expected = rows("id INT, amount INT, _topic STRING, _partition INT, _offset BIGINT", (1, 5, "t", 0, 1))
    assert_df_equality(good(given), expected, ignore_nullable=True)


def test_rejected_rows_keep_only_what_a_dead_letter_needs(rows: Rows) -> None:
    given = rows(DECODED, decoded(1, 5), decoded(2, 6, "FUTURE", "at"))
    expected = rows(f"{PLACE}, {REST}", ("t", 0, 2, None, "FUTURE", "at", None, None, None))
    assert_df_equality(rejected(given), expected, ignore_nullable=True)


def test_typed_rows_carry_themselves_as_json(rows: Rows) -> None:
    found = typed(rows(f"id INT, amount INT, {PLACE}", (1, None, "t", 0, 7, None)))
    expected = rows(DECODED, (1, None, "t", 0, 7, None, None, None, None, b'{"id":1}', None))
    assert_df_equality(found, expected, ignore_nullable=True)


@pytest.mark.usefixtures("spark")
def test_a_schema_that_a_format_cannot_have_is_refused_at_the_start() -> None:
    source = Source.model_validate({"file": {"path": "in"}, "format": "csv", "schema": "id INT, tags ARRAY<STRING>"})
    with pytest.raises(ConfigError, match=r"format csv: source\.schema = id INT, tags ARRAY<STRING>"):
        decoder(source)
