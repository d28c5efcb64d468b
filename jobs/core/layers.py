"""A job's config from its layers, each over the one before; maps merge, lists replace.

    conf/defaults.yaml < conf/<job>.yaml or --config FILE < conf/env/<env>.yaml
    < environment variables (PATTERNS__SOURCE__KAFKA__TOPIC) < --set source.kafka.topic=x

The result knows which layer set each key. Everything that is wrong is told at once, as one ConfigError. No Spark here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path as File
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from pydantic import SecretStr, ValidationError

from jobs.core.allowed import looks_secret
from jobs.core.errors import ConfigError, Problem
from jobs.core.interpolation import Values, leaves, literals, plain, resolve
from jobs.core.keys import Path, Places, schema_paths, secret_paths, spell
from jobs.core.problems import MASK, Finding, explain, look_up, problem, show
from jobs.core.run_config import RunConfig
from jobs.core.yaml_files import Leaf, Tree, clean, parse_value, read, read_text

CONF = File(__file__).resolve().parents[2] / "conf"
DEFAULTS = "defaults.yaml"  # a folder of one's own needs none
PREFIX = "PATTERNS__"
BUILT_IN = "built-in default"
C = TypeVar("C", bound=RunConfig)
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Loaded(Generic[C]):
    """A config, and for each dotted key the layer that set it."""

    config: C
    origins: dict[str, str]

    def show(self) -> str:
        """One line a key: `key = value  # layer`; secrets are masked, and unset keys left out."""
        rows = [(f"{key} = {text}", self._origin(key)) for key, text in self._rows()]
        width = min(max(len(setting) for setting, _ in rows), 60)
        return "\n".join(f"{setting:<{width}}  # {origin}" for setting, origin in rows)

    def _rows(self) -> Iterator[tuple[str, str]]:
        for path, value in _flat(self.config.model_dump(by_alias=True), ()):
            key = ".".join(path)
            if value is not None or key in self.origins:
                yield key, _shown(value)

    def _origin(self, key: str) -> str:
        return self.origins.get(key, BUILT_IN)


def load(
    model: type[C],
    config_file: File | None = None,
    env: str | None = None,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] = MappingProxyType({}),
    conf_dir: File | None = None,
    default_name: str | None = None,
) -> Loaded[C]:
    """The config of a job from all its layers; `default_name` is the file's where none is given. Raises ConfigError."""
    folder = conf_dir or CONF
    file = config_file or folder / f"{default_name or model.__module__.rpartition('.')[2]}.yaml"
    secret = secret_paths(model)
    layers = _layers(model, folder, file, env, overrides, environ)
    tree = reduce(merge, layers)
    values = resolve(tree, secret, environ)
    _inline_schemas(values, schema_paths(model).within(values.data), file.parent)
    written_out = [(finding, leaf.origin) for layer in layers for finding, leaf in literals(layer, secret)]
    return Loaded(_validated(model, _Told(tree, values, secret, str(file)), written_out), origins(tree, secret))


def conf_dir() -> File:
    """Where configs are: PATTERNS_CONF_DIR, else `conf/` of the working folder if it has any, else the shipped ones."""
    given = os.environ.get("PATTERNS_CONF_DIR")
    here = File("conf")
    return File(given) if given else here if any(here.glob("*.yaml")) else CONF


def merge(lower: Tree, upper: Tree) -> Tree:
    """`upper` over `lower`: maps merge, everything else replaces."""
    merged = dict(lower)
    for key, node in upper.items():
        below = merged.get(key)
        merged[key] = merge(below, node) if isinstance(below, dict) and isinstance(node, dict) else node
    return merged


def origins(tree: Tree, secret: Places) -> dict[str, str]:
    """Dotted key -> the layer that set it; a secret's `{file: ...}` counts as the secret."""
    placed = ((path[:-1] if path[:-1] in secret else path, leaf.origin) for path, leaf in leaves(tree))
    return {".".join(path): origin for path, origin in placed}


def _layers(
    model: type[C], folder: File, file: File, env: str | None, overrides: Sequence[str], environ: Mapping[str, str]
) -> list[Tree]:
    """All layers, lowest first; what is wrong with any of them is told together."""
    readers: list[Callable[[], Tree]] = [
        lambda: read(folder / DEFAULTS) if (folder / DEFAULTS).exists() else {},
        lambda: read(file),
        lambda: read(_environment(folder, env)) if env is not None else {},
        lambda: reduce(merge, _each(partial(_variable, model), sorted(environ.items())), {}),
        lambda: reduce(merge, _each(partial(_override, model), overrides), {}),
    ]
    return _each(lambda reader: reader(), readers)


def _each(step: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """The step on every item, and only then an error with the problems of all."""
    done: list[R] = []
    problems: list[Problem] = []
    for item in items:
        try:
            done.append(step(item))
        except ConfigError as failure:
            problems += failure.problems
    if problems:
        raise ConfigError(*problems)
    return done


def _environment(folder: File, env: str) -> File:
    known = sorted(file.stem for file in (folder / "env").glob("*.yaml"))
    if env not in known:
        raise ConfigError(
            Problem("", show(env), f"an environment that {folder / 'env'} has: {', '.join(known) or 'none'}", "--env")
        )
    return folder / "env" / f"{env}.yaml"


def _variable(model: type[C], variable: tuple[str, str]) -> Tree:
    name, text = variable
    if not name.upper().startswith(PREFIX):
        return {}
    origin = f"environment variable {name}"
    path = spell(model, name[len(PREFIX) :].split("__"), any_case=True, joiner="__")
    if not text:
        raise ConfigError(Problem(".".join(path), "", "not empty: unset it, or say null", origin))
    secret = path in secret_paths(model) and clean(text)
    return _nested(path, Leaf(text, origin, outside=True) if secret else parse_value(text, origin, outside=True))


def _override(model: type[C], override: str) -> Tree:
    key, equals, text = override.partition("=")
    path = spell(model, key.strip().split("."), any_case=False, joiner=".")
    if not equals or not all(path):
        shown = MASK if looks_secret(override) else show(override)
        raise ConfigError(Problem("", shown, "--set key=value, as in --set source.kafka.topic=orders", "--set"))
    if not text:
        raise ConfigError(Problem(key, "", "not empty: say null to unset it", f"--set {key}"))
    return _nested(path, parse_value(text, f"--set {key}"))


def _nested(path: Path, node: Leaf | Tree) -> Tree:
    inner = node if len(path) == 1 else _nested(path[1:], node)
    return {path[0]: inner}


def _inline_schemas(values: Values, places: Iterable[Path], folder: File) -> None:
    """The text of .ddl files instead of their names, so that the config can travel without them."""
    for path in places:
        group, text = look_up(values.data, path[:-1]), look_up(values.data, path)
        if isinstance(text, str) and text.endswith(".ddl"):
            try:
                group[path[-1]] = _ddl(folder, text)
            except ConfigError as failure:
                values.findings.append(Finding(path, f"DDL, or a .ddl file in {folder}: {failure.problems[0].allowed}"))


def _ddl(folder: File, name: str) -> str:
    if ".." in File(name).parts:
        raise ConfigError(Problem("", name, "a path without `..`", ""))
    return read_text(folder / name)


@dataclass(frozen=True)
class _Told:
    """What it takes to say where a problem is."""

    tree: Tree
    values: Values
    secret: Places
    file: str

    def problem(self, finding: Finding, data: Any) -> Problem:
        return problem(finding, data, self._origin(finding.path), self.values.hidden, self.secret)

    def _origin(self, path: Path) -> str:
        """Of the leaf at the path, below it, or beside it."""
        for length in range(len(path), 0, -1):
            beside = (leaf.origin for place, leaf in leaves(self.tree) if place[:length] == path[:length])
            found = next(beside, None)
            if found:
                return found
        return self.file


def _validated(model: type[C], told: _Told, written_out: list[tuple[Finding, str]]) -> C:
    unusable = told.values.findings
    problems = [replace(told.problem(finding, {}), value=MASK, origin=origin) for finding, origin in written_out]
    problems += [told.problem(finding, plain(told.tree)) for finding in unusable]
    places = {finding.path for finding in [*unusable, *(finding for finding, _ in written_out)]}
    try:
        config = model.model_validate(told.values.data)
    except ValidationError as error:
        found = explain(error, model, told.values.data)
        problems += [told.problem(f, told.values.data) for f in found if not _within(f.path, places)]
    if problems:
        raise ConfigError(*problems) from None
    return config


def _within(path: Path, places: set[Path]) -> bool:
    return any(path[: len(place)] == place for place in places)


def _flat(value: Any, above: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, (*above, str(key)))
    else:
        yield above, value


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, str):
        text = " ".join(value.split())
        return text if text.isprintable() else json.dumps(text)
    return json.dumps(value, ensure_ascii=False)
