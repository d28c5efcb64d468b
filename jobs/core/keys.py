"""What keys a config model knows: how to spell them outside of files, which are secret, which is nearest to a typo."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

Path = tuple[str, ...]
SHOWN = 2  # places where a key is known
UNKNOWN = "unknown key"  # with which it is said that a key is none


def fields(model: type[BaseModel]) -> dict[str, Any]:
    """Each key, as a file writes it, with its type."""
    return {info.alias or name: info.annotation for name, info in model.model_fields.items()}


def members(annotation: Any) -> list[Any]:
    """The types that a union holds; any other type alone."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return members(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [member for part in get_args(annotation) for member in members(part)]
    return [annotation]


def group(annotation: Any) -> type[BaseModel] | None:
    """The group of settings that a type stands for, if it does."""
    return next((m for m in members(annotation) if isinstance(m, type) and issubclass(m, BaseModel)), None)


def walk(model: type[BaseModel], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every key path of a model with its type, groups before what is in them."""
    for key, annotation in fields(model).items():
        yield (*above, key), annotation
        inner = group(annotation)
        if inner:
            yield from walk(inner, (*above, key))


def secret_paths(model: type[BaseModel]) -> frozenset[Path]:
    return _where(model, lambda path, annotation: SecretStr in members(annotation))


def schema_paths(model: type[BaseModel]) -> frozenset[Path]:
    """Keys whose text may be the name of a .ddl file."""
    return _where(model, lambda path, annotation: path[-1] == "schema" and str in members(annotation))


def spell(model: type[BaseModel], words: list[str], any_case: bool, joiner: str) -> Path:
    """`[SOURCE, KAFKA, TOPIC]` -> the key path; what is below a free map is one key, as written."""
    if not words:
        return ()
    known = fields(model)
    head = words[0].lower() if any_case else words[0]
    key = next((k for k in known if k.lower() == head), head) if any_case else head
    inner = group(known.get(key))
    if inner:
        return (key, *spell(inner, words[1:], any_case, joiner))
    return (key, *_below(known.get(key), words[1:], any_case, joiner))


def _below(annotation: Any, words: list[str], any_case: bool, joiner: str) -> list[str]:
    depth = max(map(_map_depth, members(annotation)))
    if not depth:
        return [word.lower() if any_case else word for word in words]
    own = max(len(words) - depth + 1, 0)
    return [joiner.join(words[:own]), *words[own:]] if own else words


def _map_depth(annotation: Any) -> int:
    if get_origin(annotation) is not dict:
        return 0
    return 1 + max(map(_map_depth, members(get_args(annotation)[1])))


def nearest(model: type[BaseModel], path: Path) -> str:
    """The known key that was most likely meant, else the known ones beside it."""
    known = siblings(model, path[:-1])
    near = get_close_matches(path[-1].lower(), known, 1)
    if near:
        return f"{UNKNOWN}; nearest: {'.'.join((*path[:-1], near[0]))}"
    elsewhere = sorted(
        (place for place, _ in walk(model) if place[-1] == path[-1]), key=lambda place: _far(place, path)
    )
    if elsewhere:
        return f"{UNKNOWN} here; known as {' and '.join('.'.join(place) for place in elsewhere[:SHOWN])}"
    return f"{UNKNOWN}; known here: {', '.join(known)}"


def _far(place: Path, path: Path) -> tuple[int, int]:
    """How far a key lies from where it was written: by what both have in front, then by its depth."""
    shared = next((n for n, (one, other) in enumerate(zip(place, path)) if one != other), len(path))
    return -shared, len(place)


def siblings(model: type[BaseModel], path: Path) -> list[str]:
    """The keys of the group at a path."""
    found: type[BaseModel] | None = model
    for key in path:
        found = group(fields(found).get(key)) if found else None
    return list(fields(found)) if found else []


def _where(model: type[BaseModel], holds: Callable[[Path, Any], bool]) -> frozenset[Path]:
    return frozenset(path for path, annotation in walk(model) if holds(path, annotation))
