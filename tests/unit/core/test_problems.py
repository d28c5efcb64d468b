"""What pydantic says, told as key path, value and what is allowed."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from jobs.core.errors import Problem
from jobs.core.keys import Places
from jobs.core.problems import MASK, Finding, Wrong, explain, look_up, problem, refuse, show
from jobs.core.values import Column, Duration


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = Field(1, ge=1)
    on: bool = True
    key: Column | list[Column] = "id"


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inner: Inner
    every: Duration = Duration("1s")
    names: dict[Column, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> Outer:
        refuse([Finding(("inner", "size"), "odd")] if self.inner.size == 2 else [])
        return self


def findings(data: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as failure:
        Outer.model_validate(data)
    return [(".".join(finding.path), finding.allowed) for finding in explain(failure.value, Outer, data)]


COLUMN = "a column name: letters, digits and _, not beginning with a digit"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, [("inner", "required, and not set")]),
        ({"inner": 5}, [("inner", "a map of settings")]),
        ({"inner": {"size": 0}}, [("inner.size", "at least 1")]),
        ({"inner": {"size": "x", "on": "perhaps"}}, [("inner.size", "a whole number"), ("inner.on", "true or false")]),
        ({"inner": {"size": 2}}, [("inner.size", "odd")]),
        ({"inner": {"key": "a b"}}, [("inner.key", COLUMN)]),
        ({"inner": {"key": ["a", "b c"]}}, [("inner.key.1", COLUMN)]),
        ({"inner": {"key": 5}}, [("inner.key", "text"), ("inner.key", "a list")]),
        ({"inner": {"sise": 1}}, [("inner.sise", "unknown key; nearest: inner.size")]),
        (
            {"inner": {}, "every": "soon"},
            [("every", "a number with a unit, from 1ms to 3650d: 500ms, 30s, 10m, 1h, 1d")],
        ),
        ({"inner": {}, "names": {"a b": "x"}}, [("names.a b", COLUMN)]),
        ({"inner": {}, "names": {"a": 1}}, [("names.a", "text")]),
        ([], [("", "a map of settings")]),
    ],
)
def test_what_pydantic_says(data: Any, expected: list[tuple[str, str]]) -> None:
    assert findings(data) == expected


def test_nothing_found_is_nothing_refused() -> None:
    refuse([])
    with pytest.raises(Wrong, match="one; two"):
        refuse([Finding(("a",), "one"), Finding((), "two")])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ({"a": 1}, ""),
        (True, "true"),
        (5, "5"),
        ("x", "x"),
        ("", "''"),
        ("a\nb", "'a\\nb'"),
        (["a", 1], "['a', 1]"),
        ("x" * 500, "x" * 120 + "..."),
        ("\ud800", "'\\ud800'"),
        ("jdbc:postgresql://u:pw@h/db", f"jdbc:postgresql://{MASK}@h/db"),
        ("jdbc:postgresql://h/db?password=pw&x=1", f"jdbc:postgresql://h/db?password={MASK}&x=1"),
    ],
)
def test_values_as_they_are_shown(value: Any, text: str) -> None:
    assert show(value) == text


def test_a_value_is_looked_up_as_far_as_it_goes() -> None:
    data = {"a": {"b.c": [1, {"d": 2}]}}
    paths = [("a", "b.c", "1", "d"), ("a", "b.c", "0"), ("a", "x"), ("a", "b.c", "7"), ("a", "b.c", "0", "y")]
    assert [look_up(data, path) for path in paths] == [2, 1, None, None, None]


def test_secrets_are_hidden_by_place_by_name_and_by_content() -> None:
    data = {"db": {"password": "hunter2"}, "options": {"api.token": "abc"}, "topic": "x-hunter2", "plain": 1}

    def of(*path: str) -> Problem:
        return problem(
            Finding(path, "not hunter2"), data, "x.yaml:1", {"hunter2", ""}, Places(frozenset({("db", "password")}))
        )

    assert of("db", "password") == Problem("db.password", MASK, f"not {MASK}", "x.yaml:1")
    assert of("options", "api.token").value == MASK
    assert of("topic").value == f"x-{MASK}"
    assert (of("plain").value, of("nope").value) == ("1", "")
