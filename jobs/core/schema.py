"""A record's schema as DDL, parsed without Spark: what columns there are, of which types.

    column   name type [NOT NULL] [COMMENT 'text']
    type     BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, DECIMAL(p,s), STRING, BINARY, DATE, TIMESTAMP,
             ARRAY<type>, MAP<STRING, type>, STRUCT<name: type, ...>

Spark reads the same text; what is not in this list is refused here, before it starts. Columns that begin with `_` are
ours (coordinates, versions), and so refused at the top level.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

MATCHED = "_matched"  # true where an event has a row of a table, else null
JOINED = "_joined"  # the same of a record of another stream
SCALARS = (
    *("BOOLEAN", "TINYINT", "SMALLINT", "INT", "BIGINT", "FLOAT", "DOUBLE"),
    *("STRING", "BINARY", "DATE", "TIMESTAMP"),
)
SYNONYMS = {
    "INTEGER": "INT",
    "LONG": "BIGINT",
    "SHORT": "SMALLINT",
    "BYTE": "TINYINT",
    "NUMERIC": "DECIMAL",
    "DEC": "DECIMAL",
}
MAX_DEPTH = 32
MAX_PRECISION = 38
TOKEN = re.compile(
    r"\s+|--[^\n]*|(?P<quoted>`[^`\n]+`)|(?P<word>\w+)|(?P<text>'[^'\n]*')|(?P<sign>[<>(),:])|(?P<other>.)",
    re.DOTALL | re.ASCII,
)


@dataclass(frozen=True)
class Scalar:
    name: str


@dataclass(frozen=True)
class Decimal:
    precision: int
    scale: int


@dataclass(frozen=True)
class Array:
    element: Type


@dataclass(frozen=True)
class Map:
    """Keys are always STRING."""

    value: Type


@dataclass(frozen=True)
class Struct:
    fields: tuple[Field, ...]


Type = Scalar | Decimal | Array | Map | Struct


@dataclass(frozen=True)
class Field:
    """One column, or one field of a struct."""

    name: str
    type: Type
    nullable: bool = True


class SchemaError(ValueError):
    """The DDL does not parse; the message says where."""


class Token(NamedTuple):
    kind: str
    text: str
    start: int


def parse_ddl(text: str) -> tuple[Field, ...]:
    """Columns of a record. Raises SchemaError, naming line and column."""
    parser = _Parser(text)
    fields = parser.fields(depth=0, end="end")
    for field, token in zip(fields, parser.top_names, strict=True):
        if field.name.startswith("_"):
            raise parser.error(token, f"column {field.name}: names that begin with `_` are reserved")
    return fields


def parse_type(text: str) -> Type:
    """One type alone. Raises SchemaError."""
    parser = _Parser(text)
    found = parser.type(depth=1)
    parser.expect("end")
    return found


def column_names(fields: tuple[Field, ...]) -> list[str]:
    return [field.name for field in fields]


def named_beside(known: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """Of columns that come to events, which have those that are known: what each is called there. Case makes no difference."""
    taken, found = {name.lower() for name in (*known, MATCHED, JOINED)}, dict[str, str]()
    for name in names:
        found[name] = name
        while found[name].lower() in taken:
            found[name] = f"ref_{found[name]}"
        taken.add(found[name].lower())
    return found


class _Parser:
    """Recursive descent over tokens, one method a rule."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [Token(m.lastgroup, m[0], m.start()) for m in TOKEN.finditer(text) if m.lastgroup]
        self._tokens.append(Token("end", "the end", len(text)))
        self._next = 0
        self.top_names: list[Token] = []

    def fields(self, depth: int, end: str) -> tuple[Field, ...]:
        found: dict[str, Field] = {}
        while True:
            token = self._peek()
            field = self._field(depth)
            if field.name.lower() in found:
                raise self.error(token, f"column {field.name} is there twice")
            found[field.name.lower()] = field
            if depth == 0:
                self.top_names.append(token)
            if not self._accept(","):
                break
        self.expect(end)
        return tuple(found.values())

    def type(self, depth: int) -> Type:
        token = self._take()
        name = SYNONYMS.get(token.text.upper(), token.text.upper())
        if depth > MAX_DEPTH:
            raise self.error(token, f"nested deeper than {MAX_DEPTH} levels")
        if token.kind == "word" and name in SCALARS:
            return Scalar(name)
        rules = {"DECIMAL": self._decimal, "ARRAY": self._array, "MAP": self._map, "STRUCT": self._struct}
        if name not in rules:
            raise self.error(token, f"expected a type, found {token.text}{_nearest(name, [*SCALARS, *rules])}")
        return rules[name](depth)

    def expect(self, text: str) -> Token:
        token = self._take()
        if text not in (token.kind, token.text):
            raise self.error(token, f"expected {'the end' if text == 'end' else text}, found {token.text}")
        return token

    def error(self, token: Token, cause: str) -> SchemaError:
        before = self._text[: token.start]
        line, column = before.count("\n") + 1, token.start - (before.rfind("\n") + 1) + 1
        return SchemaError(f"line {line}, column {column}: {cause}")

    def _field(self, depth: int) -> Field:
        token = self._take()
        if token.kind not in ("word", "quoted") or token.text[0].isdigit():
            raise self.error(token, f"expected a column name, found {token.text}")
        if depth:  # a colon is for structs only, as in Spark
            self._accept(":")
        kind = self.type(depth + 1)
        nullable = not self._accept("NOT")
        if not nullable:
            self._keyword("NULL")
        if self._accept("COMMENT"):
            self.expect("text")
        return Field(token.text.strip("`"), kind, nullable)

    def _decimal(self, depth: int) -> Type:
        if not self._accept("("):
            return Decimal(10, 0)
        start = self._peek()
        precision = self._number()
        scale = self._number() if self._accept(",") else 0
        self.expect(")")
        if not 1 <= precision <= MAX_PRECISION or scale > precision:
            raise self.error(start, f"DECIMAL(p,s) needs 1 <= p <= {MAX_PRECISION} and s <= p")
        return Decimal(precision, scale)

    def _array(self, depth: int) -> Type:
        self.expect("<")
        element = self.type(depth + 1)
        self.expect(">")
        return Array(element)

    def _map(self, depth: int) -> Type:
        self.expect("<")
        key = self._peek()
        if self.type(depth + 1) != Scalar("STRING"):
            raise self.error(key, "a map's keys must be STRING")
        self.expect(",")
        value = self.type(depth + 1)
        self.expect(">")
        return Map(value)

    def _struct(self, depth: int) -> Type:
        self.expect("<")
        return Struct(self.fields(max(depth, 1), ">"))

    def _number(self) -> int:
        token = self._take()
        if not re.fullmatch(r"[0-9]{1,4}", token.text):
            raise self.error(token, f"expected a number, found {token.text}")
        return int(token.text)

    def _keyword(self, word: str) -> None:
        token = self._take()
        if token.text.upper() != word:
            raise self.error(token, f"expected {word}, found {token.text}")

    def _accept(self, text: str) -> bool:
        found = self._peek().kind != "quoted" and self._peek().text.upper() == text
        self._next += found
        return found

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token


def _nearest(word: str, known: list[str]) -> str:
    near = get_close_matches(word, known, 1)
    return f" (nearest: {near[0]})" if near else f"; known: {', '.join(known)}"
