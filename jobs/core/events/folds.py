"""How a config says what events come to: for each type of event one rule, over columns that are declared.

    state: user_id STRING, name STRING, logins BIGINT, tags ARRAY<STRING>
    events:
      user_created: set                       # state becomes data: columns that it lacks are null
      user_updated: merge                     # fields that are given overwrite, null too; absent ones stay
      user_logged_in: {increment: {logins: 1}}
      user_paid: {increment: {paid: amount}}  # by a field of data; null or absent: by nothing. A null counts as 0
      user_tagged: {append: {tags: tag}}      # a field of data onto an array, null too; absent: nothing. A null is empty
      user_deleted: delete                    # there is no state; the next event that makes one begins anew

Fields of data that are no columns are left out, and a type of event without a rule changes nothing. An event of a stream
that has no state:

    set                       makes one
    merge, increment, append  makes one, all null, and changes it (`on_missing: create`); or is passed over (`ignore`)
    delete                    changes nothing
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from jobs.core import checks
from jobs.core.connections import Findings, Settings
from jobs.core.problems import Finding
from jobs.core.schema import Array, Decimal, Scalar, SchemaError, Type, parse_ddl
from jobs.core.values import Column, Line, Whole

OWN = ("stream_id", "stream_version", "has_state")
COUNTED = ("TINYINT", "SMALLINT", "INT", "BIGINT")
WORDS = ("set", "merge", "delete")


class Rule(Settings):
    """Exactly one of set, merge, increment, append and delete."""

    set: bool = False
    merge: bool = False
    increment: dict[Column, Whole | Column] | None = None  # column: how much, or the field of data that says it
    append: dict[Column, Column] | None = None  # column: the field of data
    delete: bool = False
    on_missing: Literal["create", "ignore"] | None = None  # merge, increment, append: create unless it says otherwise

    def findings(self) -> Findings:
        yield from checks.one_of(self, "set", "merge", "increment", "append", "delete")
        for kind in ("increment", "append"):
            if getattr(self, kind) == {}:
                yield Finding((kind,), "column: field of data, at least one pair")
        if self.on_missing and (self.set or self.delete):
            yield Finding(("on_missing",), "only with merge, increment, append")

    @property
    def ignores(self) -> bool:
        return self.on_missing == "ignore"

    @property
    def creates(self) -> bool:
        return not self.delete and not self.ignores

    @property
    def changes(self) -> dict[str, str]:
        """Fields of data that increment or append reads, by the column that they change."""
        given = {**(self.increment or {}), **(self.append or {})}
        return {column: field for column, field in given.items() if isinstance(field, str)}


def _spelt(given: Any) -> Any:
    """`set` for `{set: true}`."""
    return {given: True} if isinstance(given, str) and given in WORDS else given


class Fold(Settings):
    state: str  # DDL
    events: dict[Line, Annotated[Rule, BeforeValidator(_spelt, json_schema_input_type=Literal[WORDS] | Rule)]] = Field(
        min_length=1
    )

    def findings(self) -> Findings:
        try:
            kinds = self.kinds
        except SchemaError as failure:
            return [Finding(("state",), str(failure))]
        return [*columns(self.state), *_targets(self, kinds), *_conflicts(self, kinds)]

    @property
    def kinds(self) -> dict[str, Type]:
        """The state's columns with their types. Raises SchemaError."""
        return {field.name: field.type for field in parse_ddl(self.state)}

    def types(self, kind: str) -> list[str]:
        """Types of event by the kind of their rule."""
        return [name for name, rule in self.events.items() if getattr(rule, kind) not in (None, False)]

    def targets(self, kind: Literal["increment", "append"]) -> list[str]:
        """Columns that rules of a kind change, in the state's order."""
        changed = {column for name in self.types(kind) for column in getattr(self.events[name], kind)}
        return [column for column in self.kinds if column in changed]


def columns(state: str) -> Iterator[Finding]:
    """What is wrong with a state's columns, at `state`."""
    try:
        known = parse_ddl(state)
    except SchemaError as failure:
        yield Finding(("state",), str(failure))
        return
    for field in known:
        if field.name.lower() in OWN:
            yield Finding(("state",), f"another name for {field.name}: {', '.join(OWN)} stand beside the columns")
        if not field.nullable:
            yield Finding(("state",), f"{field.name} without NOT NULL: a state may begin with any event")


def _targets(fold: Fold, kinds: dict[str, Type]) -> Iterator[Finding]:
    """Columns that are there, and of a type that can be changed so."""
    for name, rule in fold.events.items():
        for column in rule.increment or {}:
            yield from _target((name, "increment", column), column, kinds, _is_counted(kinds.get(column)), SUMS)
        for column in rule.append or {}:
            yield from _target(
                (name, "append", column), column, kinds, isinstance(kinds.get(column), Array), "an ARRAY"
            )


SUMS = f"a column of type {', '.join(COUNTED)} or DECIMAL: sums of others depend on their order"


def _target(path: tuple[str, ...], column: str, kinds: dict[str, Type], fits: bool, what: str) -> Iterator[Finding]:
    if column not in kinds:
        yield Finding(("events", *path), f"a column of the state: {', '.join(kinds)}")
    elif not fits:
        yield Finding(("events", *path), what)


def _is_counted(kind: Type | None) -> bool:
    return isinstance(kind, Decimal) or (isinstance(kind, Scalar) and kind.name in COUNTED)


def _conflicts(fold: Fold, kinds: dict[str, Type]) -> Iterator[Finding]:
    """A field of data has one type, wherever it is read, and no other's name but for the case."""
    read: dict[str, tuple[str, Type]] = {name.lower(): (name, kind) for name, kind in kinds.items()}
    if not fold.types("set") and not fold.types("merge"):
        read = {}
    for name, rule in fold.events.items():
        for column, field in rule.changes.items():
            target = kinds.get(column)
            kind = target.element if rule.append and isinstance(target, Array) else target
            if kind and read.setdefault(field.lower(), (field, kind)) != (field, kind):
                path = ("events", name, "append" if rule.append else "increment", column)
                yield Finding(
                    path, f"a field that is read as one type only: {read[field.lower()][0]} is another one already"
                )
