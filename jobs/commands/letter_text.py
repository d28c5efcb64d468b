"""Dead letters as lines for people and as JSON for programs; values and headers as text where they are, else as hex."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # they come with Spark, which takes a while
    from pyspark.sql import Row

    from jobs.core.redrive import Done

GROUPS = ("reason", "attempt", "day")


def line(letter: Row, as_json: bool) -> str:
    """LISTED -> one line."""
    told = letter.asDict()
    if as_json:
        return json.dumps(told)
    place = f"{told['topic']} {told['partition']} {told['offset']}"
    size = "no value" if told["bytes"] is None else f"{told['bytes']} bytes"
    why = f"{told['reason']}  attempt {told['attempt']}  {size}  {_safe(told['detail'] or '')}"
    return f"{told['rejected_at']}  {place}  {why}".rstrip()


def whole(letter: Row, as_json: bool) -> str:
    """SHOWN -> all of it."""
    told = letter.asDict(recursive=True)
    key, value, headers = told.pop("key"), told.pop("value"), told.pop("headers") or ()
    if as_json:
        named = [{"key": header["key"], "value": _bytes(header["value"])} for header in headers]
        return json.dumps({**told, "key": _bytes(key), "headers": named, "value": _bytes(value)}, indent=2)
    own = [("header", f"{_safe(header['key'])}: {_plain(header['value'])}") for header in headers]
    pairs = [(name, "-" if known is None else _safe(str(known))) for name, known in told.items()]
    return "\n".join(
        f"{name:<11} {text}" for name, text in [*pairs, ("key", _plain(key)), *own, ("value", _plain(value))]
    )


def counts(found: Sequence[Row], as_json: bool) -> str:
    """How many, by each of GROUPS."""
    by: dict[str, Counter[Any]] = {name: Counter() for name in GROUPS}
    for row, (name, counter) in product(found, by.items()):
        counter[row[name]] += row["n"]
    total = sum(by["reason"].values())
    if as_json:
        return json.dumps(
            {"dead_letters": total, **{name: dict(sorted(counter.items())) for name, counter in by.items()}}
        )
    lines = [(name, value, count) for name, counter in by.items() for value, count in sorted(counter.items())]
    return "\n".join(f"{name:<8} {value!s:<18} {count:>10}" for name, value, count in [*lines, ("all", "", total)])


def sent(done: Done, dry_run: bool, as_json: bool) -> str:
    """What a redrive did, or would do."""
    if as_json:
        return json.dumps({**asdict(done), "dry_run": dry_run})
    told = f"redriven {done.redriven}, parked {done.parked}, sent before {done.already}"
    return f"dry run: {told}" if dry_run else told


def _bytes(value: bytes | None) -> dict[str, str] | None:
    """As text where it is text that a terminal can show, else as hex."""
    if value is None:
        return None
    try:
        text = bytes(value).decode()
    except UnicodeDecodeError:
        text = "\0"
    return {"text": text} if all(sign.isprintable() or sign in "\n\t" for sign in text) else {"hex": value.hex()}


def _plain(value: bytes | None) -> str:
    told = _bytes(value)
    return "null" if told is None else told.get("text", f"hex {told.get('hex')}")


def _safe(text: str) -> str:
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
