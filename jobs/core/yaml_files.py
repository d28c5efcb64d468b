"""A strict reader for the YAML of configs: plain maps, lists and scalars, each with the line that it stands on.

Refused: tags, anchors and aliases, duplicate keys, several documents, over 1 MiB, deeper than 32 levels, an empty
file, a top that is no map. Scalars follow YAML 1.2 (only true and false are booleans: `on` is a word); keys are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import yaml

from jobs.core.errors import ConfigError, Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
CLEAN = "text in UTF-8, without NUL and lone surrogates"
NULL = re.compile(r"null|Null|NULL|~|")
TRUE = re.compile(r"true|True|TRUE")
FALSE = re.compile(r"false|False|FALSE")
WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+")


@dataclass(frozen=True)
class Leaf:
    """A scalar or a list, and where it was set."""

    value: Any
    origin: str
    outside: bool = False  # set by an environment variable: not interpolated, may be secret


Tree = dict[str, Union[Leaf, "Tree"]]


def read(path: Path) -> Tree:
    """The map in a file. Raises ConfigError."""
    return parse(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The text of a file of at most 1 MiB. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise _error(str(path), "", f"a file of at most {MAX_BYTES} bytes")
        return data.decode("utf-8")
    except FileNotFoundError:
        raise _error(str(path), "", "there is no such file") from None
    except UnicodeDecodeError as failure:
        raise _error(str(path), "", f"text in UTF-8 (byte {failure.start} is not)") from None
    except (OSError, ValueError) as failure:
        raise _error(str(path), "", f"a file that can be read ({_cause(failure)})") from None


def parse(text: str, name: str) -> Tree:
    """The map in a text; `name` is what origins call it. Raises ConfigError."""
    found = _Reader(text, name).document()
    if found is None or (isinstance(found, Leaf) and found.value is None):
        raise _error(name, "", "a map of settings; it is empty")
    if isinstance(found, Leaf):
        raise _error(found.origin, "", "a map of settings at the top")
    return found


def read_list(path: Path) -> list[Any]:
    """The list in a file. Raises ConfigError."""
    found = _Reader(read_text(path), str(path)).document()
    if not isinstance(found, Leaf) or not isinstance(found.value, list):
        raise _error(str(path), "", "a list at the top")
    return found.value


def parse_value(text: str, origin: str, outside: bool = False) -> Leaf | Tree:
    """The value of an argument or variable: a map, list or quoted text of YAML, null, or else the text as it stands."""
    if not clean(text):
        raise _error(origin, "", CLEAN)
    if not text.lstrip().startswith(("{", "[", '"', "'")):
        return Leaf(None if text in ("null", "~") else text, origin, outside)
    return _set_by(_Reader(text, origin).document(), origin, outside)


def _set_by(node: Leaf | Tree | None, origin: str, outside: bool) -> Leaf | Tree:
    if isinstance(node, dict):
        return {key: _set_by(child, origin, outside) for key, child in node.items()}
    return Leaf(node.value if node else None, origin, outside)


class _Reader:
    """Turns the parser's events into a tree; nothing is ever constructed from a tag."""

    def __init__(self, text: str, name: str) -> None:
        self._name = name
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)
        self._line = 1

    def document(self) -> Leaf | Tree | None:
        try:
            return self._document()
        except yaml.MarkedYAMLError as failure:
            line = failure.problem_mark.line + 1 if failure.problem_mark else self._line
            raise self._wrong(f"YAML: {failure.problem or failure.context}", line=line) from None
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as failure:
            raise self._wrong(f"YAML ({_cause(failure)})") from None

    def _document(self) -> Leaf | Tree | None:
        self._take(yaml.StreamStartEvent)
        if isinstance(self._take(), yaml.StreamEndEvent):
            return None
        node = self._node(self._take(), ())
        self._take(yaml.DocumentEndEvent)
        if not isinstance(self._take(), yaml.StreamEndEvent):
            raise self._wrong("one document a file")
        return node

    def _node(self, event: Any, path: tuple[str, ...]) -> Leaf | Tree:
        self._plain(event, path)
        if isinstance(event, yaml.MappingStartEvent):
            return self._map(path)
        line = self._line
        value = self._list(path) if isinstance(event, yaml.SequenceStartEvent) else self._scalar(event, path)
        return Leaf(value, f"{self._name}:{line}")

    def _plain(self, event: Any, path: tuple[str, ...]) -> None:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise self._wrong("no anchors and aliases (& and *): write the value out", path)
        if event.tag:
            raise self._wrong(f"no tags (here {event.tag[:60]}): plain values only", path)
        if len(path) > MAX_DEPTH:
            raise self._wrong(f"at most {MAX_DEPTH} levels", path[:1])

    def _map(self, path: tuple[str, ...]) -> Tree:
        found: Tree = {}
        lines: dict[str, int] = {}
        while not isinstance(event := self._take(), yaml.MappingEndEvent):
            key = self._key(event, path)
            if key in lines:
                raise self._wrong(f"each key once: it stands on line {lines[key]} already", (*path, key))
            lines[key] = self._line
            found[key] = self._node(self._take(), (*path, key))
        return found

    def _key(self, event: Any, path: tuple[str, ...]) -> str:
        self._plain(event, path)
        if not isinstance(event, yaml.ScalarEvent):
            raise self._wrong("keys that are plain words", path)
        return self._text(event, path)

    def _list(self, path: tuple[str, ...]) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := self._take(), yaml.SequenceEndEvent):
            found.append(_bare(self._node(event, (*path, str(len(found))))))
        return found

    def _scalar(self, event: Any, path: tuple[str, ...]) -> Any:
        text = self._text(event, path)
        return resolve(text) if event.style is None else text

    def _text(self, event: Any, path: tuple[str, ...]) -> str:
        if not clean(event.value):
            raise self._wrong(CLEAN, path)
        return str(event.value)

    def _take(self, kind: type = object) -> Any:
        event = next(self._events)
        self._line = event.start_mark.line + 1
        if not isinstance(event, kind):
            raise self._wrong("YAML")
        return event

    def _wrong(self, allowed: str, path: tuple[str, ...] = (), line: int | None = None) -> ConfigError:
        return _error(f"{self._name}:{line or self._line}", ".".join(path), allowed)


def resolve(text: str) -> Any:
    """A plain scalar by the rules of YAML 1.2."""
    if NULL.fullmatch(text):
        return None
    if TRUE.fullmatch(text) or FALSE.fullmatch(text):
        return bool(TRUE.fullmatch(text))
    if WHOLE.fullmatch(text):
        return int(text)
    return float(text) if FLOAT.fullmatch(text) else text


def _bare(node: Leaf | Tree) -> Any:
    if isinstance(node, Leaf):
        return node.value
    return {key: _bare(child) for key, child in node.items()}


def clean(text: str) -> bool:
    """Whether a text can be written as UTF-8 and holds no NUL."""
    return not re.search("[\x00\ud800-\udfff]", text)


def _cause(failure: BaseException) -> str:
    return failure.strerror or str(failure) if isinstance(failure, OSError) else f"{type(failure).__name__}"


def _error(origin: str, path: str, allowed: str) -> ConfigError:
    return ConfigError(Problem(path, "", allowed, origin))
