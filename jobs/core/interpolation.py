"""From a merged tree of layers to plain values: `${VAR}`, `${VAR:-default}`, `$${` for a literal `${`, and secrets.

A secret is a whole `${VAR}`, an environment variable's value, or `{file: /mounted/file}`; written out it is refused,
and so is a secret variable in a setting that is not secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as File
from typing import Any

from jobs.core.allowed import looks_secret
from jobs.core.errors import ConfigError
from jobs.core.keys import Path, Places
from jobs.core.problems import Finding, Wrong
from jobs.core.yaml_files import CLEAN, Leaf, Tree, clean, read_text

REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^}]*)?\}|(?P<bad>\$\{)")
WHOLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-)?\}")
SECRET = "a secret: ${VARIABLE}, an environment variable, or {file: /path}; never written out"
UNUSABLE = object()  # stands where a value could not be had; no setting takes it


@dataclass
class Values:
    """Plain data for the models, what could not be resolved, and texts that must not be shown."""

    data: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)


def literals(tree: Tree, secret: Places) -> Iterator[tuple[Finding, Leaf]]:
    """Secrets that one layer writes out."""
    for path, leaf in leaves(tree):
        if path in secret and not leaf.outside and not _refers(leaf.value):
            yield Finding(path, SECRET), leaf


def leaves(tree: Tree, above: Path = ()) -> Iterator[tuple[Path, Leaf]]:
    """Every leaf with its path."""
    for key, node in tree.items():
        if isinstance(node, Leaf):
            yield (*above, key), node
        else:
            yield from leaves(node, (*above, key))


def plain(tree: Tree) -> dict[str, Any]:
    """The values as they were written."""
    return {key: node.value if isinstance(node, Leaf) else plain(node) for key, node in tree.items()}


def resolve(tree: Tree, secret: Places, environ: Mapping[str, str]) -> Values:
    """TREE -> VALUES; every problem is found, not only the first."""
    values = Values()
    values.data = _Resolver(secret, environ, values).map(tree, ())
    return values


def _refers(value: Any) -> bool:
    return value is None or (isinstance(value, str) and bool(WHOLE.fullmatch(value)))


class _Resolver:
    def __init__(self, secret: Places, environ: Mapping[str, str], values: Values) -> None:
        self._secret, self._environ, self._values = secret, environ, values

    def map(self, tree: Tree, above: Path) -> dict[str, Any]:
        return {key: self._node(node, (*above, key)) for key, node in tree.items()}

    def _node(self, node: Leaf | Tree, path: Path) -> Any:
        try:
            if path in self._secret:
                return self._secret_value(node, path)
            return self.map(node, path) if isinstance(node, dict) else self._value(node.value, node.outside)
        except Wrong as wrong:
            self._values.findings += [Finding((*path, *finding.path), finding.allowed) for finding in wrong.findings]
            return UNUSABLE

    def _secret_value(self, node: Leaf | Tree, path: Path) -> Any:
        found = self._mounted(node) if isinstance(node, dict) else self._given(node)
        if isinstance(found, str):
            self._values.hidden.add(found)
        return found

    def _given(self, leaf: Leaf) -> Any:
        if leaf.value is None or (leaf.outside and isinstance(leaf.value, str)):
            return leaf.value
        if not _refers(leaf.value):
            return UNUSABLE  # `literals` tells of it, layer by layer
        return self._text(leaf.value, may_be_secret=True)

    def _mounted(self, tree: Tree) -> str:
        leaf = tree.get("file")
        if set(tree) != {"file"} or not isinstance(leaf, Leaf) or not isinstance(leaf.value, str):
            raise Wrong(Finding((), SECRET))
        try:
            text = read_text(File(self._text(leaf.value) or ""))
        except ConfigError as failure:
            raise Wrong(Finding((), f"a mounted file: {failure.problems[0].allowed}")) from None
        found = text.removesuffix("\n").removesuffix("\r")
        if not found:
            raise Wrong(Finding((), "a mounted file that is not empty"))
        return found

    def _value(self, value: Any, outside: bool) -> Any:
        if outside or not isinstance(value, (str, list, dict)):
            return value
        if isinstance(value, list):
            return [self._value(item, outside) for item in value]
        if isinstance(value, dict):
            return {key: self._value(item, outside) for key, item in value.items()}
        return self._text(value)

    def _text(self, text: str, may_be_secret: bool = False) -> str | None:
        """The text with its variables; null for nothing but a variable with an empty default."""
        whole = WHOLE.fullmatch(text)
        found = REFERENCE.sub(lambda match: self._variable(match, may_be_secret), text)
        return None if whole and not found else found

    def _variable(self, match: re.Match[str], may_be_secret: bool) -> str:
        name, default = match["name"], match["default"]
        if match["bad"]:
            raise Wrong(Finding((), "${VARIABLE} or ${VARIABLE:-default}; a literal ${ is written $${"))
        if not name:
            return "${"
        value = self._environ.get(name) or (default[2:] if default is not None else "")
        if not value and default is None:
            raise Wrong(Finding((), f"the environment variable {name} to be set, and not empty"))
        if not clean(value):
            raise Wrong(Finding((), f"{CLEAN}, from the environment variable {name}"))
        if looks_secret(name) and not may_be_secret:
            self._values.hidden.add(value)
            raise Wrong(Finding((), f"no secret: {name} may stand only where a password is meant"))
        return value
