"""Variables and secrets: what they become, and what is refused without being shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.core.interpolation import SECRET, UNUSABLE, leaves, literals, plain, resolve
from jobs.core.problems import Finding
from jobs.core.yaml_files import Leaf, Tree

ENVIRON = {"HOST": "h1", "EMPTY": "", "DB_PASSWORD": "canary", "BAD": "\udcff"}
PASSWORD = frozenset({("db", "password")})


def leaf(value: Any, outside: bool = False) -> Leaf:
    return Leaf(value, "x.yaml:1", outside)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("${HOST}", "h1"),
        ("a-${HOST}-${HOST}:1", "a-h1-h1:1"),
        ("${NONE:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${HOST:-d}", "h1"),
        ("${NONE:-}", None),
        ("x${NONE:-}", "x"),
        ("$${HOST}", "${HOST}"),
        ("$$ $HOST", "$$ $HOST"),
        ("${NONE:-a b:c}", "a b:c"),
        (7, 7),
        (None, None),
        (True, True),
        (["${HOST}", {"k": "${HOST}", "n": 1}], ["h1", {"k": "h1", "n": 1}]),
    ],
)
def test_what_becomes_of_a_value(text: Any, value: Any) -> None:
    found = resolve({"a": {"b": leaf(text)}}, PASSWORD, ENVIRON)
    assert (found.data, found.findings) == ({"a": {"b": value}}, [])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("${NONE}", "the environment variable NONE to be set, and not empty"),
        ("x ${EMPTY} y", "the environment variable EMPTY to be set, and not empty"),
        ("${}", "${VARIABLE} or ${VARIABLE:-default}; a literal ${ is written $${"),
        ("${a b}", "${VARIABLE} or ${VARIABLE:-default}; a literal ${ is written $${"),
        ("${HOST", "${VARIABLE} or ${VARIABLE:-default}; a literal ${ is written $${"),
        ("${BAD}", "text in UTF-8, without NUL and lone surrogates, from the environment variable BAD"),
        ("url?x=${DB_PASSWORD}", "no secret: DB_PASSWORD may stand only where a password is meant"),
        (["${NONE}"], "the environment variable NONE to be set, and not empty"),
    ],
)
def test_what_cannot_be_had(text: Any, why: str) -> None:
    found = resolve({"a": {"b": leaf(text), "c": leaf(1)}}, PASSWORD, ENVIRON)
    assert (found.data, found.findings) == ({"a": {"b": UNUSABLE, "c": 1}}, [Finding(("a", "b"), why)])


def test_what_comes_from_outside_is_taken_as_it_is() -> None:
    found = resolve({"a": leaf("${HOST} $${", outside=True)}, PASSWORD, ENVIRON)
    assert found.data == {"a": "${HOST} $${"}


@pytest.mark.parametrize(
    ("node", "value"),
    [
        (leaf("${DB_PASSWORD}"), "canary"),
        (leaf("${HOST}"), "h1"),
        (leaf("${NONE:-}"), None),
        (leaf(None), None),
        (leaf("written ${out}", outside=True), "written ${out}"),
    ],
)
def test_secrets(node: Leaf, value: str | None) -> None:
    found = resolve({"db": {"password": node}}, PASSWORD, ENVIRON)
    assert (found.data, found.findings) == ({"db": {"password": value}}, [])
    assert found.hidden == ({value} if value else set())


@pytest.mark.parametrize(
    ("content", "value"), [("s3cret", "s3cret"), ("s3cret\n", "s3cret"), ("s\n\n", "s\n"), ("s\r\n", "s")]
)
def test_a_mounted_secret(tmp_path: Path, content: str, value: str) -> None:
    (tmp_path / "password").write_bytes(content.encode())
    node: Tree = {"file": leaf("${MOUNT}/password")}
    found = resolve({"db": {"password": node}}, PASSWORD, {"MOUNT": str(tmp_path)})
    assert (found.data, found.hidden) == ({"db": {"password": value}}, {value})


def test_mounted_secrets_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    nodes: dict[str, Tree] = {
        "a mounted file: there is no such file": {"file": leaf(str(tmp_path / "nope"))},
        "a mounted file that is not empty": {"file": leaf(str(tmp_path / "empty"))},
        "a mounted file: a file that can be read (Is a directory)": {"file": leaf(str(tmp_path))},
        "the environment variable NONE to be set, and not empty": {"file": leaf("${NONE}")},
        SECRET: {"file": leaf("x"), "value": leaf("y")},
    }
    for why, node in nodes.items():
        found = resolve({"db": {"password": node}}, PASSWORD, ENVIRON)
        assert found.findings == [Finding(("db", "password"), why)]


@pytest.mark.parametrize("value", ["hunter2", "${HOST}x", "${HOST:-hunter2}", "$${HOST}", 1234, ["hunter2"], ""])
def test_a_secret_that_is_written_out(value: Any) -> None:
    tree: Tree = {"db": {"password": leaf(value), "user": leaf("u")}}
    assert list(literals(tree, PASSWORD)) == [(Finding(("db", "password"), SECRET), leaf(value))]
    assert resolve(tree, PASSWORD, ENVIRON).data == {"db": {"password": UNUSABLE, "user": "u"}}


def test_a_tree_and_its_leaves() -> None:
    tree: Tree = {"a": leaf(1), "b": {"c": leaf([2]), "d": {}}}
    assert dict(leaves(tree)) == {("a",): leaf(1), ("b", "c"): leaf([2])}
    assert plain(tree) == {"a": 1, "b": {"c": [2], "d": {}}}
