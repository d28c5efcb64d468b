"""From what pydantic says to what a reader needs: key path, value, what is allowed, and the line that set it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from jobs.core.allowed import looks_secret
from jobs.core.errors import Problem
from jobs.core.keys import Path, Places, nearest

MASK = "********"
SHOWN = 120  # characters of a value that a message repeats
IN_URL = re.compile(r"(?<=//)[^/@\s]*:[^/\s]*(?=@)|(?<=password=)[^&\s]*", re.IGNORECASE)
WORDS = {
    "missing": "required, and not set",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "list_type": "a list",
    "dict_type": "a map",
    "model_type": "a map of settings",
    "float_type": "a number",
    "float_parsing": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
}


@dataclass(frozen=True)
class Finding:
    """One thing that a validator found wrong, at a path below its own."""

    path: Path
    allowed: str


class Wrong(ValueError):
    """What a validator raises when it found one thing or more."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__("; ".join(finding.allowed for finding in findings))
        self.findings = findings


def refuse(findings: Iterable[Finding]) -> None:
    """Raises Wrong if there is any finding."""
    found = tuple(findings)
    if found:
        raise Wrong(*found)


def explain(error: ValidationError, model: type[BaseModel], data: Any) -> list[Finding]:
    """All that pydantic found wrong, at full paths."""
    found = [(detail, _cleaned(detail, data)) for detail in error.errors(include_url=False)]
    told = [(detail, path) for detail, path in found if not _covered(detail, path, found)]
    return list(dict.fromkeys(finding for detail, path in told for finding in _findings(detail, path, model)))


def problem(finding: Finding, data: Any, origin: str, hidden: Iterable[str], secret: Places) -> Problem:
    """A finding with its value; nothing secret is shown, whether by its place or by its content."""
    mask = secret.covers(finding.path) or any(map(looks_secret, finding.path[-1:]))
    value = look_up(data, finding.path)
    shown = MASK if mask and value is not None else show(value)
    return Problem(".".join(finding.path), _without(shown, hidden), _without(finding.allowed, hidden), origin)


def look_up(data: Any, path: Path) -> Any:
    """The value at a path; None where there is none."""
    for key in path:
        if isinstance(data, Mapping):
            data = data.get(key)
        elif isinstance(data, list) and key.isdigit() and int(key) < len(data):
            data = data[int(key)]
        else:
            return None
    return data


def show(value: Any) -> str:
    """A value as a message repeats it: short, printable, without a password in a URL."""
    if value is None or isinstance(value, Mapping):
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    text = IN_URL.sub(MASK, text if text and text.isprintable() else repr(text))
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def _without(text: str, hidden: Iterable[str]) -> str:
    for secret in sorted(filter(None, hidden), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def _findings(detail: ErrorDetails, path: Path, model: type[BaseModel]) -> list[Finding]:
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, Wrong):
        return [Finding((*path, *finding.path), finding.allowed) for finding in cause.findings]
    if detail["type"] == "extra_forbidden":
        return [Finding(path, nearest(model, path))]
    if cause is not None:
        return [Finding(path, str(cause))]
    return [Finding(path, WORDS.get(detail["type"], detail["msg"]).format(**detail.get("ctx", {})))]


def _cleaned(detail: ErrorDetails, data: Any) -> Path:
    """pydantic's location without the names of union members and keys that are not in the data."""
    path: list[str] = []
    for part in map(str, detail["loc"]):
        below = look_up(data, (part,))
        if below is not None or (isinstance(data, Mapping) and part in data):
            path.append(part)
            data = below
    return (*path, str(detail["loc"][-1])) if detail["type"] == "missing" else tuple(path)


def _covered(detail: ErrorDetails, path: Path, found: list[tuple[ErrorDetails, Path]]) -> bool:
    """Whether there is a better message: of a union, only the member that was meant is told of."""
    below = any(len(place) > len(path) and place[: len(path)] == path for _, place in found)
    beside = any(place == path and not _is_type(other) for other, place in found)
    return below or (beside and _is_type(detail))


def _is_type(detail: ErrorDetails) -> bool:
    return detail["type"].endswith("_type")
