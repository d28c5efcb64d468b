"""Each value type takes what it names and nothing else."""

from __future__ import annotations

import copy
import pickle
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, TypeAdapter, ValidationError

from jobs.core.values import (
    Bytes,
    Column,
    Count,
    DataPath,
    Duration,
    JdbcUrl,
    Line,
    Name,
    Offsets,
    Properties,
    Secret,
    Servers,
    Sql,
    TableName,
    Topic,
)


def taken(kind: Any, value: Any) -> Any:
    return TypeAdapter(kind).validate_python(value)


def refused(kind: Any, value: Any) -> str:
    with pytest.raises(ValidationError) as failure:
        taken(kind, value)
    return str(failure.value.errors()[0]["msg"])


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("500ms", 500),
        ("30s", 30_000),
        ("10m", 600_000),
        ("1h", 3_600_000),
        ("1d", 86_400_000),
        ("3650d", 315_360_000_000),
    ],
)
def test_a_duration_knows_its_length(text: str, ms: int) -> None:
    duration = taken(Duration, text)
    assert (duration, duration.ms, duration.seconds_total) == (text, ms, ms / 1000)
    assert Duration(text).ms == ms


def test_a_duration_survives_copies_and_pickles_and_cannot_be_changed() -> None:
    duration = Duration("10s")
    assert [copy.deepcopy(duration).ms, pickle.loads(pickle.dumps(duration)).ms] == [10_000, 10_000]
    with pytest.raises(AttributeError):
        duration.ms = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "text",
    [
        "10 parsecs",
        "10",
        "",
        "s",
        "-1s",
        "0s",
        "1.5s",
        "1 s",
        "10S",
        "1s1s",
        "3651d",
        "9" * 13 + "s",
        10,
        None,
        True,
        "١s",
    ],
)
def test_no_other_duration_passes(text: Any) -> None:
    assert "500ms, 30s, 10m, 1h, 1d" in refused(Duration, text)


@pytest.mark.parametrize(
    ("written", "size"), [("1MiB", 1 << 20), ("64KiB", 65_536), ("1GiB", 1 << 30), ("10B", 10), ("10", 10), (10, 10)]
)
def test_a_size_is_a_number_of_bytes(written: Any, size: int) -> None:
    assert taken(Bytes, written) == Bytes(written) == size


@pytest.mark.parametrize(
    "written", ["1MB", "1 MiB", "0", 0, -1, "-1KiB", 1.5, True, None, "", "9" * 16, "999999999999999GiB"]
)
def test_no_other_size_passes(written: Any) -> None:
    assert "1048576, 64KiB, 1MiB, 1GiB" in refused(Bytes, written)


@pytest.mark.parametrize("name", ["t", "customers", "public.customers", "_x.Y_1"])
def test_a_table_is_an_identifier_or_two(name: str) -> None:
    assert taken(TableName, name) == name


@pytest.mark.parametrize(
    "name",
    [
        "t; drop table t",
        "(select 1) t",
        "a.b.c",
        "a b",
        '"a"',
        "",
        ".a",
        "a.",
        "1a",
        "a--",
        "a/**/b",
        "ä",
        "a\n",
        "a" * 129,
    ],
)
def test_no_other_table_passes(name: str) -> None:
    assert "letters, digits and _ only" in refused(TableName, name)


@pytest.mark.parametrize("kind", [Column, Name])
@pytest.mark.parametrize("name", ["a b", "a;", "1a", "", "a-b", "a.b", "a\n", "a" * 129])
def test_columns_and_names_are_identifiers(kind: Any, name: str) -> None:
    assert taken(kind, "order_id") == "order_id"
    assert "letters, digits and _" in refused(kind, name)


@pytest.mark.parametrize("name", ["orders", "orders.dead-letters", "A_1", "...", "a" * 249])
def test_topics_by_kafkas_rules(name: str) -> None:
    assert taken(Topic, name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "a,b", "ä", "a\n", "a" * 250])
def test_no_other_topic_passes(name: str) -> None:
    assert "1 to 249 of a-z A-Z 0-9 . _ -" in refused(Topic, name)


@pytest.mark.parametrize(
    "path",
    [
        "data/x",
        "/data/x",
        "hdfs://nn:8020/x",
        "hdfs:///x",
        "s3a://bucket/x",
        "gs://b/x",
        "file:/x",
        "file:///x",
        "dbfs:/x",
        "abfss://box@account.dfs.core.windows.net/x",
        "data/..x/y..z",
        "my data/x",
        "data/day=1:2",
    ],
)
def test_paths(path: str) -> None:
    assert taken(DataPath, path) == path


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("../x", "`..`"),
        ("a/../b", "`..`"),
        ("a/..", "`..`"),
        ("s3a://b/../c", "`..`"),
        ("a/%2e%2e/b", "`..`"),
        ("http://x/y", "one of the schemes"),
        ("jdbc:x", "one of the schemes"),
        ("C:\\x", "one of the schemes"),
        ("", "not empty"),
        ("/", "not the root"),
        ("file:///", "not the root"),
        ("a/*", "wildcards"),
        ("a\nb", "control"),
        ("s3a://key:secret@bucket/x", "without user and password"),
    ],
)
def test_no_other_path_passes(path: str, why: str) -> None:
    assert why in refused(DataPath, path)


@pytest.mark.parametrize(
    ("value", "kept"),
    [("earliest", "earliest"), ("latest", "latest"), ({"t": {"0": 5, "1": "-2"}}, {"t": {"0": 5, "1": -2}})],
)
def test_starting_offsets(value: Any, kept: Any) -> None:
    assert taken(Offsets, value) == kept


@pytest.mark.parametrize(
    "value",
    [
        "sometime",
        "",
        "EARLIEST",
        None,
        5,
        [],
        {},
        {"t": {}},
        {"t": 5},
        {"t": {"0": -3}},
        {"t": {"x": 1}},
        {"t": {"0": 1.5}},
        {"t": {"-1": 1}},
        {"t": {"0": True}},
        '{"t":{"0":1}}',
    ],
)
def test_no_other_starting_offsets_pass(value: Any) -> None:
    assert "earliest, latest, or {topic: {partition: offset}}" in refused(Offsets, value)


def test_starting_offsets_name_legal_topics() -> None:
    assert "a topic's name" in refused(Offsets, {"a b": {"0": 1}})


@pytest.mark.parametrize("value", [True, 1.0, 0, -5, "x", 2**31])
def test_a_count_is_a_whole_positive_number(value: Any) -> None:
    assert [taken(Count, 1), taken(Count, "7")] == [1, 7]
    refused(Count, value)


def test_properties_are_text_as_java_writes_it() -> None:
    assert taken(Properties, {"a": 1, "b": True, "c": 0.5, "d": "x"}) == {"a": "1", "b": "true", "c": "0.5", "d": "x"}
    refused(Properties, {"a": [1]})
    refused(Properties, "a=1")


@pytest.mark.parametrize("text", ["", " ", "a\nb", "a\x1b[0m"])
def test_a_line_is_one_line(text: str) -> None:
    assert taken(Line, "a b") == "a b"
    assert "one line" in refused(Line, text)


def test_an_sql_expression_may_have_several_lines_but_is_not_blank() -> None:
    assert taken(Sql, "a > 0\n and b\n") == "a > 0\n and b\n"
    assert "SQL expression" in refused(Sql, " \n")


def test_a_secret_hides_itself() -> None:
    secret = taken(Secret, "hunter2")
    assert isinstance(secret, SecretStr)
    assert "hunter2" not in f"{secret} {secret!r}"


@given(st.text())
def test_any_text_is_taken_or_refused(text: str) -> None:
    for kind in (Duration, Bytes, Column, Name, TableName, Topic, DataPath, JdbcUrl, Servers, Offsets, Line, Sql):
        with suppress(ValidationError):
            taken(kind, text)
