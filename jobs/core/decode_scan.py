"""JSON text -> a tree, read strictly (RFC 8259) in one pass, without recursion however deep it is.

What a JSON library hides is kept: how numbers were written, keys that came twice, lone surrogates, U+0000, the depth.
`NaN`, `Infinity` and `-Infinity`, which some writers emit, are read as numbers: no column takes them.
"""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import dataclass, field
from typing import Union

from jobs.core.decode_scalars import NOT_FINITE, Number

SPACE = " \t\r\n"
_STRING = r'"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*"'
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|NaN|-?Infinity"
VALUE = re.compile(rf"[{SPACE}]*(?:({_STRING})|({_NUMBER})(?![\w.+-])|(true|false|null)(?!\w)|([\[{{]))")
KEY = re.compile(rf"[{SPACE}]*({_STRING})[{SPACE}]*:")
CLOSE = re.compile(rf"[{SPACE}]*([\]}}])")
NEXT = re.compile(rf"[{SPACE}]*([,\]}}])")
END = re.compile(rf"[{SPACE}]*")
UNFIT_TEXT = re.compile("[\x00\ud800-\udfff]")
LITERALS = {"true": True, "false": False, "null": None}

Open = Union["dict[str, object]", "list[object]", "deque[object]"]


class Malformed(ValueError):
    """The text is not JSON; `text` says whether a lone surrogate or U+0000 came before that point."""

    def __init__(self, position: int, text: bool) -> None:
        super().__init__(f"no JSON from character {position} on")
        self.text = text


@dataclass
class Scanned:
    """What was found; `value` is whole down to the limit of levels."""

    value: object = None
    trailing: bool = False
    text: bool = False  # a lone surrogate or U+0000 in a string
    duplicate: bool = False
    not_finite: bool = False  # NaN or an infinity somewhere
    depth: int = 0


def scan(text: str, limit: int) -> Scanned:
    """Reads one value, and whether something follows it. Raises Malformed."""
    return _Scan(text, limit).run()


@dataclass
class _Scan:
    text: str
    limit: int
    at: int = 0
    fresh: bool = False  # the innermost container was just opened, and is not empty
    stack: list[Open] = field(default_factory=list)
    found: Scanned = field(default_factory=Scanned)

    def run(self) -> Scanned:
        self.found.value = self._value()
        while self.stack:
            if self.fresh or not self._closed():
                self._item(self.stack[-1])
        self._match(END)
        self.found.trailing = self.at < len(self.text)
        return self.found

    def _item(self, container: Open) -> None:
        self.fresh = False
        if isinstance(container, dict):
            key = self._string(self._match(KEY)[1])
            self.found.duplicate |= key in container
            container[key] = self._value()
        else:
            container.append(self._value())

    def _value(self) -> object:
        string, number, literal, opening = self._match(VALUE).groups()
        if string is not None:
            return self._string(string)
        if number is not None:
            self.found.not_finite |= number in NOT_FINITE
            return Number(number)
        return self._open(opening) if opening else LITERALS[literal]

    def _open(self, opening: str) -> Open:
        """Enters a container, unless it is empty; lists below the limit keep nothing."""
        depth = len(self.stack) + 1
        self.found.depth = max(depth, self.found.depth)
        container: Open = {} if opening == "{" else [] if depth <= self.limit else deque(maxlen=0)
        closing = CLOSE.match(self.text, self.at)
        if closing is None:
            self.fresh = True
            self.stack.append(container)
        else:
            self._leave(container, closing)
        return container

    def _closed(self) -> bool:
        """Past a comma, or out of the container."""
        following = self._match(NEXT)
        if following[1] == ",":
            return False
        self._leave(self.stack.pop(), following)
        return True

    def _leave(self, container: Open, closing: re.Match[str]) -> None:
        if (closing[1] == "}") is not isinstance(container, dict):
            raise Malformed(self.at, self.found.text)
        self.at = closing.end()

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise Malformed(self.at, self.found.text)
        self.at = found.end()
        return found

    def _string(self, quoted: str) -> str:
        if "\\" not in quoted:
            return quoted[1:-1]
        value: str = json.loads(quoted)
        self.found.text |= UNFIT_TEXT.search(value) is not None
        return value
