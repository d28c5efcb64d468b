"""What keys a config model knows: how to spell them outside of files, which are secret, which is nearest to a typo."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

Path = tuple[str, ...]
ANY = "*"
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


def entry(annotation: Any) -> Any:
    """The type of what a free map has under each name; None where it is no map."""
    return next((get_args(m)[1] for m in members(annotation) if get_origin(m) is dict), None)


def walk(model: type[BaseModel], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every key path of a model with its type, groups before what is in them; ANY is each name of a free map."""
    for key, annotation in fields(model).items():
        yield (*above, key), annotation
        yield from _inside(annotation, (*above, key))


def _inside(annotation: Any, above: Path) -> Iterator[tuple[Path, Any]]:
    inner, each = group(annotation), entry(annotation)
    if inner:
        yield from walk(inner, above)
    elif each is not None:
        yield (*above, ANY), each
        yield from _inside(each, (*above, ANY))


@dataclass(frozen=True)
class Places:
    """Paths, in which ANY is each name of a free map."""

    paths: frozenset[Path]

    def __contains__(self, path: Path) -> bool:
        return path in self.paths or any(_fits(place, path) for place in self.paths if ANY in place)

    def covers(self, path: Path) -> bool:
        """Whether it is one of them, or lies below one."""
        return any(path[:length] in self for length in range(1, len(path) + 1))

    def within(self, data: Any) -> Iterator[Path]:
        """Those that some data has, by the names that are there."""
        return (path for place in self.paths for path in _expanded(data, place))


NOWHERE = Places(frozenset())


def secret_paths(model: type[BaseModel]) -> Places:
    return _where(model, lambda path, annotation: SecretStr in members(annotation))


def schema_paths(model: type[BaseModel]) -> Places:
    """Keys whose text may be the name of a .ddl file."""
    return _where(model, lambda path, annotation: path[-1] == "schema" and str in members(annotation))


def spell(model: type[BaseModel], words: list[str], any_case: bool, joiner: str) -> Path:
    """`[SOURCE, KAFKA, TOPIC]` -> the key path; what is below a free map is one key, as written."""
    if not words:
        return ()
    known = fields(model)
    head = words[0].lower() if any_case else words[0]
    key = next((k for k in known if k.lower() == head), head) if any_case else head
    inner, each = group(known.get(key)), group(entry(known.get(key)))
    if inner:
        return (key, *spell(inner, words[1:], any_case, joiner))
    if each:
        name = words[1].lower() if any_case and words[1:] else "".join(words[1:2])
        return (key, *([name] if name else []), *spell(each, words[2:], any_case, joiner))
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
    found: Any = model
    for key in path:
        inner = group(found)
        found = fields(inner).get(key) if inner else entry(found)
    inner = group(found)
    return list(fields(inner)) if inner else []


def _where(model: type[BaseModel], holds: Callable[[Path, Any], bool]) -> Places:
    return Places(frozenset(path for path, annotation in walk(model) if holds(path, annotation)))


def _fits(place: Path, path: Path) -> bool:
    return len(place) == len(path) and all(key in (ANY, found) for key, found in zip(place, path))


def _expanded(data: Any, place: Path) -> Iterator[Path]:
    if not place:
        yield ()
    elif isinstance(data, Mapping):
        for name in data if place[0] == ANY else {place[0]} & data.keys():
            yield from ((name, *rest) for rest in _expanded(data[name], place[1:]))
