"""The strict reader: plain data with lines in, everything else refused with its line."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.core.errors import ConfigError, Problem
from jobs.core.yaml_files import Leaf, parse, parse_value, read, read_list, resolve


def refused(text: str) -> Problem:
    with pytest.raises(ConfigError) as failure:
        parse(text, "x.yaml")
    assert len(failure.value.problems) == 1
    return failure.value.problems[0]


def test_maps_lists_and_scalars_with_their_lines() -> None:
    text = "# comment\na: 1\nb:\n  c: [x, {y: 2}]\n  d: '1'\n0: |\n  two\n  lines\n"
    assert parse(text, "x.yaml") == {
        "a": Leaf(1, "x.yaml:2"),
        "b": {"c": Leaf(["x", {"y": 2}], "x.yaml:4"), "d": Leaf("1", "x.yaml:5")},
        "0": Leaf("two\nlines\n", "x.yaml:6"),
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("7", 7),
        ("-7", -7),
        ("007", 7),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("on", "on"),
        ("yes", "yes"),
        ("10:30", "10:30"),
        ("2026-11-24", "2026-11-24"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("local[*]", "local[*]"),
        ("=", "="),
        ("<<", "<<"),
        ("9" * 5000, "9" * 5000),
        (".inf", ".inf"),
    ],
)
def test_scalars_by_yaml_1_2(text: str, value: Any) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_the_word_on_is_a_key() -> None:
    assert parse("join: {on: {a: b}}", "x.yaml") == {"join": {"on": {"a": Leaf("b", "x.yaml:1")}}}


@pytest.mark.parametrize(
    ("text", "path", "origin", "why"),
    [
        ("", "", "x.yaml", "empty"),
        ("# nothing\n", "", "x.yaml", "empty"),
        ("---\n", "", "x.yaml", "empty"),
        ("null", "", "x.yaml", "empty"),
        ("- a\n- b\n", "", "x.yaml:1", "a map of settings at the top"),
        ("just text", "", "x.yaml:1", "a map of settings at the top"),
        ("a: 1\nb: 2\na: 3\n", "a", "x.yaml:3", "each key once: it stands on line 1"),
        ("s:\n  k: 1\n  'k': 2\n", "s.k", "x.yaml:3", "each key once: it stands on line 2"),
        (
            "a: !!python/object:os.system {}\n",
            "a",
            "x.yaml:1",
            "no tags (here tag:yaml.org,2002:python/object:os.system)",
        ),
        ("a: !!python/object/apply:os.system ['id']\n", "a", "x.yaml:1", "no tags"),
        ("a: !!str 1\n", "a", "x.yaml:1", "no tags"),
        ("!!map {a: 1}\n", "", "x.yaml:1", "no tags"),
        ("a: &x [1]\nb: *x\n", "a", "x.yaml:1", "no anchors and aliases"),
        ("a: *x\n", "a", "x.yaml:1", "no anchors and aliases"),
        ("&k a: 1\n", "", "x.yaml:1", "no anchors and aliases"),
        ("a: 1\n---\nb: 2\n", "", "x.yaml:2", "one document"),
        ("a: [1\n", "", "x.yaml:2", "YAML: expected ',' or ']'"),
        ("a: b: c\n", "", "x.yaml:1", "YAML: mapping values are not allowed here"),
        ("a:\n\t- b\n", "", "x.yaml:2", "YAML: found character '\\t'"),
        ('a: "\\UFFFFFFFF"\n', "", "x.yaml:1", "YAML"),
        ('a: "\\ud800"\n', "a", "x.yaml:1", "lone surrogates"),
        ('a: "\\0"\n', "a", "x.yaml:1", "NUL"),
        ("a: \x07\n", "", "x.yaml:1", "YAML"),
        ("? [a]\n: 1\n", "", "x.yaml:1", "keys that are plain words"),
        ("a: " + "[" * 40 + "]" * 40, "a", "x.yaml:1", "at most 32 levels"),
        ("a: " + "[" * 100_000, "a", "x.yaml:1", "at most 32 levels"),
    ],
)
def test_what_is_refused(text: str, path: str, origin: str, why: str) -> None:
    problem = refused(text)
    assert (problem.path, problem.origin) == (path, origin)
    assert why in problem.allowed


def test_an_alias_bomb_is_refused_at_its_first_anchor() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert refused(bomb).allowed.startswith("no anchors and aliases")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "there is no such file"),
        (b"", "empty"),
        (b"a: \xff", "text in UTF-8 (byte 3 is not)"),
        (b"#" * (1 << 20) + b"a", "at most 1048576 bytes"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, content: bytes | None, why: str) -> None:
    file = tmp_path / "x.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as failure:
        read(file)
    (problem,) = failure.value.problems
    assert (problem.origin, problem.path) == (str(file), "")
    assert why in problem.allowed


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a file that can be read"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x", "x"),
        ("7", "7"),
        ("null", None),
        ("~", None),
        ("a: b # c", "a: b # c"),
        ("local[*]", "local[*]"),
        ("[a, 1]", ["a", 1]),
        ("'null'", "null"),
        ('"a"', "a"),
        ("*x", "*x"),
        ("!x", "!x"),
    ],
)
def test_values_of_arguments(text: str, value: Any) -> None:
    assert parse_value(text, "--set a") == Leaf(value, "--set a")


def test_an_argument_may_be_a_map() -> None:
    assert parse_value("{a: 1, b: {c: [x]}}", "VAR", outside=True) == {
        "a": Leaf(1, "VAR", True),
        "b": {"c": Leaf(["x"], "VAR", True)},
    }


@pytest.mark.parametrize("text", ["[a", "{a: *x}", "a\0", "\ud800"])
def test_arguments_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_value(text, "--set a")


@given(st.text() | st.text(st.sampled_from("ab:-[]{}&*!|>'\"%@`#,? \n\t\\U0\ud800")))
def test_any_text_is_read_or_refused(text: str) -> None:
    for reader in (parse, parse_value):
        with suppress(ConfigError):
            reader(text, "x.yaml")


def test_a_list_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("- {a: 1}\n- [b]\n")
    assert read_list(path) == [{"a": 1}, ["b"]]
    for text in ("a: 1", "5", ""):
        path.write_text(text)
        with pytest.raises(ConfigError, match="a list at the top"):
            read_list(path)
