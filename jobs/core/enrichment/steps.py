"""The steps of an enrichment: each takes DECODED and gives DECODED with more columns, and a state for each row.

| state | the row |
| --- | --- |
| fresh | has what a table's current version says, of now or of then, or a service just now |
| cached, stale | has what a service said before (`core.enrichment.asking`) |
| default | has what the step's `default` says: there was no row, or no answer |
| missed | has nulls: there was no row, or no answer |

A row with a reason is passed on as it is: no step asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from jobs.core import joining
from jobs.core.enrichment import history
from jobs.core.enrichment.asking import DETAIL, STATE
from jobs.core.enrichment.outcomes import judged, nothing
from jobs.core.enrichment.settings import Step
from jobs.core.errors import ConfigError, Problem
from jobs.core.ledger import REFERENCE_VERSION
from jobs.core.reference import VERSION, ReferenceTable
from jobs.core.schema import JOINED, MATCHED


class Enriching(Protocol):
    """One step of a chain."""

    name: str

    @property
    def looks_ahead(self) -> bool:
        """Whether it reads its events before it gives any."""

    @property
    def tells(self) -> bool:
        """Whether it has a state for each row."""

    def prepare(self, now: datetime) -> None:
        """Before each try at a batch: what it has found for the one before is of no account."""

    def __call__(self, events: DataFrame) -> DataFrame:
        """DECODED -> DECODED with the step's columns, and STATE if it tells any."""

    def tick(self) -> None:
        """Between batches."""

    def note(self) -> dict[str, str]:
        """What a batch was made with, for its record in the ledger."""


@dataclass
class FromExpressions:
    """Columns by SQL."""

    name: str
    step: Step
    looks_ahead = tells = False

    def prepare(self, now: datetime) -> None: ...

    def tick(self) -> None: ...

    def note(self) -> dict[str, str]:
        return {}

    def check(self, known: Sequence[str]) -> None:
        """Raises ConfigError for a column that there is already, which a correction would have to find as it came."""
        taken = {name.lower() for name in known}
        for name in self.step.expressions or {}:
            if name.lower() in taken:
                why = "another name: what rows are corrected by has to stay as it came, for on_late: re_emit"
                raise ConfigError(Problem(f"enrich.{self.name}.expressions.{name}", "", why, "conf"))

    def __call__(self, events: DataFrame) -> DataFrame:
        columns = {name: F.expr(text) for name, text in (self.step.expressions or {}).items()}
        return events.withColumns(columns)


@dataclass
class FromTable:
    """Columns of a reference table, which every row of a batch sees at one version."""

    name: str
    step: Step
    table: ReferenceTable
    tells = True

    @property
    def looks_ahead(self) -> bool:
        return False

    def prepare(self, now: datetime) -> None: ...

    def tick(self) -> None:
        self.table.tick()

    def note(self) -> dict[str, str]:
        return {f"{REFERENCE_VERSION}.{self.name}": self.table.version}

    def __call__(self, events: DataFrame) -> DataFrame:
        assert self.step.table, "it is a reference table"
        rows = self.table.current(self.step.table.broadcast_max_rows).drop(VERSION)
        self._check(events, rows)
        return self._judged(events, rows, joining.matched(events, rows, self.step.on, self.step.cast))

    def _check(self, events: DataFrame, rows: DataFrame) -> None:
        joining.check_types(events.schema, rows.schema, self.step.on, self.step.cast, f"enrich.{self.name}")

    def _judged(self, events: DataFrame, rows: DataFrame, joined: DataFrame) -> DataFrame:
        state = F.when(F.col(MATCHED), "fresh").otherwise("missed")
        names = list(joining.added_names(events, rows, self.step.on).values())
        return judged(joined.withColumns({STATE: state, DETAIL: nothing()}).drop(MATCHED), self.name, self.step, names)


@dataclass
class FromHistory(FromTable):
    """Columns of the version that held at an event's time, of a history that every row of a batch sees alike."""

    at: str  # the event's time
    many: bool = False  # versions: then it pays to look first which keys a batch has

    @property
    def looks_ahead(self) -> bool:
        return self.many

    def __call__(self, events: DataFrame) -> DataFrame:
        self._check(events, self._rows())
        check_time(events.schema, self.at, self.name)
        return self._judged(events, self._rows().drop(*history.OURS), self.found(events))

    def found(self, events: DataFrame) -> DataFrame:
        """DECODED -> DECODED with the history's columns and MATCHED."""
        return history.as_of(events, self._rows(), self.step.on, self.step.cast, self.at, self.many)

    def _rows(self) -> DataFrame:
        return self.table.current().drop(VERSION)


@dataclass
class FromStream:
    """Columns of another stream, which the query's plan has joined already (`core.enrichment.streams`)."""

    name: str
    step: Step
    names: list[str]
    looks_ahead, tells = False, True

    def prepare(self, now: datetime) -> None: ...

    def tick(self) -> None: ...

    def note(self) -> dict[str, str]:
        return {}

    def __call__(self, events: DataFrame) -> DataFrame:
        state = F.when(F.col(JOINED), "fresh").otherwise("missed")
        judging = events.withColumns({STATE: state, DETAIL: nothing()}).drop(JOINED)
        return judged(judging, self.name, self.step, self.names)


def check_time(events: StructType, at: str, name: str) -> None:
    """Raises ConfigError where there is no such time."""
    found = events[at].dataType.simpleString() if at in events.names else "no column"
    if found != "timestamp":
        allowed = f"a column of type TIMESTAMP that there is before this step ({at} is {found})"
        raise ConfigError(Problem(f"enrich.{name}.as_of.at", at, allowed, "conf"))
