"""How a replay folds, as its config says it: by declared rules, or by the `evolve` of a Python module.

A fold's fingerprint is another one when its meaning may be: it covers the rules, or the source of the modules that are
named, and the state's columns. What those modules import is not covered: raise `evolve.version` when that changes.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.core.connections import Findings, Settings
from jobs.core.errors import ConfigError, Problem
from jobs.core.events import evolving, folding
from jobs.core.events.evolving import PythonFold
from jobs.core.events.folds import Fold, columns
from jobs.core.events.upcasted import taken, upcasted
from jobs.core.events.upcasting import Chain
from jobs.core.reasons import Reason
from jobs.core.values import Count

MEANING = 1  # of both kinds of fold; to raise when the same rules come to something else


def _module_name(text: str) -> str:
    if not all(part.isidentifier() for part in text.split(".")):
        raise ValueError("a Python module, as one imports it: package.module")
    return text


Module = Annotated[str, AfterValidator(_module_name)]


class Evolve(Settings):
    """A module with `evolve(state, event)`, and `initial_state()`, `restored(columns)` and `CHAIN` where it needs them."""

    module: Module
    state: str  # DDL
    version: Count = 1

    def findings(self) -> Findings:
        return columns(self.state)


@dataclass(frozen=True)
class Projection:
    """A fold that is ready to run; `partials` is EVENT, and PARTIAL to go on from -> PARTIAL."""

    state: str
    fingerprint: str
    partials: Callable[[DataFrame, DataFrame | None], DataFrame]


def declared(fold: Fold, upcast: str | None, unknown: Literal["pass", "reject"]) -> Projection:
    """Raises ConfigError."""
    module = _imported(upcast, "upcast") if upcast else None
    chain = _chain(module, "upcast") if module else None
    told = {"fold": fold.model_dump(), "upcast": _source(module) if module else None, "unknown": unknown}

    def partials(events: DataFrame, base: DataFrame | None) -> DataFrame:
        current = _current(events, chain)
        return folding.partials(_known(current, fold) if unknown == "reject" else current, fold, base)

    return Projection(fold.state, _digest(told), partials)


def evolved(evolve: Evolve) -> Projection:
    """Raises ConfigError."""
    module = _imported(evolve.module, "evolve.module")
    if not callable(getattr(module, "evolve", None)):
        raise _wrong("evolve.module", evolve.module, "a module with a function evolve(state, event)")
    own = {name: getattr(module, name) for name in ("initial_state", "restored") if hasattr(module, name)}
    fold = PythonFold(evolve.state, module.evolve, **own)
    chain = _chain(module, "evolve.module") if hasattr(module, "CHAIN") else None
    told = {"evolve": evolve.model_dump(), "source": _source(module)}
    return Projection(
        evolve.state, _digest(told), lambda events, base: evolving.partials(_current(events, chain), fold, base)
    )


def _current(events: DataFrame, chain: Chain | None) -> DataFrame:
    return taken(upcasted(events, chain)) if chain else events


def _known(events: DataFrame, fold: Fold) -> DataFrame:
    """EVENT -> EVENT. A type without a rule fails the query."""
    strange = ~F.col("event_type").isin(*fold.events)
    reason, detail = F.lit(Reason.UNKNOWN_TYPE.value), F.concat(F.lit("event type "), F.substring("event_type", 1, 100))
    return taken(events.withColumns({"_reason": F.when(strange, reason), "_detail": F.when(strange, detail)}))


def _imported(name: str, key: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as failure:  # whatever the module does when it is imported
        allowed = f"a Python module that can be imported ({type(failure).__name__}: {failure})"
        raise _wrong(key, name, allowed) from failure


def _chain(module: ModuleType, key: str) -> Chain:
    chain = getattr(module, "CHAIN", None)
    if not isinstance(chain, Chain):
        raise _wrong(key, module.__name__, "a module whose CHAIN is a jobs.core.events.upcasting.Chain")
    return chain


def _source(module: ModuleType) -> str:
    return inspect.getsource(module)


def _digest(told: dict[str, Any]) -> str:
    text = json.dumps({"meaning": MEANING, **told}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _wrong(key: str, value: str, allowed: str) -> ConfigError:
    return ConfigError(Problem(key, value, allowed, "conf"))
