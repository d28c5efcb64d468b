from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from jobs.core.events.folds import Fold, Rule
from jobs.core.problems import explain

STATE = "user_id STRING, logins BIGINT, paid DECIMAL(10,2), tags ARRAY<STRING>, score DOUBLE"


def told(**changed: Any) -> list[tuple[str, str]]:
    """Path and hint of all that is wrong."""
    data = {"state": STATE, "events": {"created": "set"}, **changed}
    with pytest.raises(ValidationError) as failure:
        Fold.model_validate(data)
    return [(".".join(found.path), found.allowed) for found in explain(failure.value, Fold, data)]


def test_a_word_is_short_for_a_rule() -> None:
    fold = Fold.model_validate({"state": STATE, "events": {"a": "set", "b": "merge", "c": "delete"}})
    assert fold.events == {"a": Rule(set=True), "b": Rule(merge=True), "c": Rule(delete=True)}


def test_what_a_rule_makes_of_a_stream_without_a_state() -> None:
    rules = [Rule(set=True), Rule(merge=True), Rule(append={"tags": "tag"}), Rule(delete=True)]
    assert [rule.creates for rule in rules] == [True, True, True, False]
    passed = Rule(merge=True, on_missing="ignore")
    assert (passed.creates, passed.ignores) == (False, True)


def test_columns_are_in_the_state_s_order_and_types_of_events_by_their_kind() -> None:
    events = {"a": {"increment": {"paid": "amount", "logins": 1}}, "b": {"increment": {"logins": 2}}, "c": "set"}
    fold = Fold.model_validate({"state": STATE, "events": events})
    assert fold.targets("increment") == ["logins", "paid"]
    assert fold.targets("append") == []
    assert (fold.types("increment"), fold.types("set"), fold.types("merge")) == (["a", "b"], ["c"], [])
    assert fold.events["a"].changes == {"paid": "amount"}


ONE = "exactly one of set, merge, increment, append, delete (given: set and merge; set what is not meant to null)"
NONE = "exactly one of set, merge, increment, append, delete (none is given)"
SUMS = "a column of type TINYINT, SMALLINT, INT, BIGINT or DECIMAL: sums of others depend on their order"
COLUMN = "a column of the state: user_id, logins, paid, tags, score"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ({"a": {"set": True, "merge": True}}, [("events.a", ONE)]),
        ({"a": {}}, [("events.a", NONE)]),
        ({"a": {"merge": True, "on_missing": "make"}}, [("events.a.on_missing", "'create' or 'ignore'")]),
        ({"a": {"set": True, "on_missing": "ignore"}}, [("events.a.on_missing", "only with merge, increment, append")]),
        (
            {"a": {"delete": True, "on_missing": "create"}},
            [("events.a.on_missing", "only with merge, increment, append")],
        ),
        ({"a": {"increment": {}}}, [("events.a.increment", "column: field of data, at least one pair")]),
        ({"a": {"append": {}}}, [("events.a.append", "column: field of data, at least one pair")]),
        ({"a": {"increment": {"login": 1}}}, [("events.a.increment.login", COLUMN)]),
        ({"a": {"increment": {"score": 1}}}, [("events.a.increment.score", SUMS)]),
        ({"a": {"increment": {"tags": 1}}}, [("events.a.increment.tags", SUMS)]),
        ({"a": {"append": {"logins": "x"}}}, [("events.a.append.logins", "an ARRAY")]),
        (
            {"a": {"append": {"x": "x"}}, "b": {"increment": {"y": 1}}},
            [("events.a.append.x", COLUMN), ("events.b.increment.y", COLUMN)],
        ),
        ({}, [("events", "Dictionary should have at least 1 item after validation, not 0")]),
    ],
)
def test_a_rule_that_means_nothing_is_refused(events: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert told(events=events) == expected


def test_words_and_keys_that_nobody_knows_are_refused() -> None:
    assert told(events={"a": "sett"}) == [("events.a", "a map of settings")]
    (path, hint) = told(events={"a": {"sett": True, "merge": True}})[0]
    assert path == "events.a.sett"
    assert "unknown key" in hint


@pytest.mark.parametrize(
    ("state", "hint"),
    [
        ("user_id STRANGE", "line 1, column 9: expected a type, found STRANGE (nearest: STRING)"),
        ("a INT, A INT", "line 1, column 8: column A is there twice"),
        (
            "Stream_id STRING",
            "another name for Stream_id: stream_id, stream_version, has_state stand beside the columns",
        ),
        ("a INT NOT NULL", "a without NOT NULL: a state may begin with any event"),
    ],
)
def test_a_state_that_cannot_be_is_refused(state: str, hint: str) -> None:
    assert told(state=state) == [("state", hint)]


@pytest.mark.parametrize(
    ("events", "path", "other"),
    [
        ({"a": {"increment": {"logins": "x"}}, "b": {"increment": {"paid": "x"}}}, "events.b.increment.paid", "x"),
        ({"a": {"increment": {"logins": "x"}}, "b": {"append": {"tags": "x"}}}, "events.b.append.tags", "x"),
        ({"a": {"increment": {"logins": "x"}}, "b": {"increment": {"logins": "X"}}}, "events.b.increment.logins", "x"),
        ({"a": "merge", "b": {"increment": {"logins": "paid"}}}, "events.b.increment.logins", "paid"),
        ({"a": "set", "b": {"append": {"tags": "tags"}}}, "events.b.append.tags", "tags"),
    ],
)
def test_a_field_of_data_is_read_as_one_type(events: dict[str, Any], path: str, other: str) -> None:
    hint = f"a field that is read as one type only: {other} is another one already"
    assert told(events=events) == [(path, hint)]


def test_a_field_may_have_a_column_s_name_where_it_has_its_type_or_no_column_is_read() -> None:
    Fold.model_validate({"state": STATE, "events": {"a": "merge", "b": {"increment": {"logins": "logins"}}}})
    Fold.model_validate({"state": STATE, "events": {"a": "delete", "b": {"increment": {"logins": "paid"}}}})
