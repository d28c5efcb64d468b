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

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import reduce
from typing import NamedTuple, Protocol

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import LongType, StringType, StructField, StructType

from jobs.core import joining
from jobs.core.breaker import CircuitBreaker
from jobs.core.decode import nullable
from jobs.core.enrichment import history
from jobs.core.enrichment.asking import AGE, CALLS, CALLS_MS, DETAIL, LOOKUP, STATE, Asking
from jobs.core.enrichment.settings import Step
from jobs.core.errors import BreakerOpen, ConfigError, LookupFailed, Problem
from jobs.core.failures import Away, words
from jobs.core.joining import JOINED, MATCHED
from jobs.core.reasons import INSTEAD, WAITING, Reason
from jobs.core.reference import VERSION, ReferenceTable
from jobs.core.retry import is_transient
from jobs.core.watched import STATES, LookupStatus

BROADCAST_MAX_ROWS = 1_000_000  # answers, as of a reference table
NUMBERS = [StructField(name, LongType()) for name in (AGE, CALLS, CALLS_MS)]
OURS = [StructField(STATE, StringType()), StructField(DETAIL, StringType()), *NUMBERS]


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
        return {f"reference_version.{self.name}": self.table.version}

    def __call__(self, events: DataFrame) -> DataFrame:
        assert self.step.table, "it is a reference table"
        rows = self.table.current(self.step.table.broadcast_max_rows).drop(VERSION)
        self._check(events, rows)
        return self._judged(events, rows, joining.matched(events, rows, self.step.on, self.step.cast))

    def _check(self, events: DataFrame, rows: DataFrame) -> None:
        joining.check_types(events.schema, rows.schema, self.step.on, self.step.cast, f"enrich.{self.name}")

    def _judged(self, events: DataFrame, rows: DataFrame, joined: DataFrame) -> DataFrame:
        state = F.when(F.col(MATCHED), "fresh").otherwise("missed")
        names = list(joining.added(events, rows, self.step.on))
        return judged(joined.withColumns({STATE: state, DETAIL: _nothing()}).drop(MATCHED), self.name, self.step, names)


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
        judging = events.withColumns({STATE: state, DETAIL: _nothing()}).drop(JOINED)
        return judged(judging, self.name, self.step, self.names)


class Answers(NamedTuple):
    """To all keys of one batch."""

    rows: DataFrame  # persisted
    keys: int
    calls: int
    why: str | None  # some have none, if they have not
    trouble: str | None  # what a call failed of, also where an older answer stands in


class NotAsked(Exception):
    """All that a batch needs is kept."""


@dataclass(frozen=True)
class Told:
    """Of all batches since the start."""

    keys: Mapping[str, int] = field(default_factory=dict)  # by state
    calls: int = 0
    calls_ms: int = 0
    age_ms: int = 0  # of the last batch

    def plus(self, keys: Mapping[str, int], calls: int, calls_ms: int, age_ms: int) -> Told:
        """With one more."""
        counted = {state: self.keys.get(state, 0) + count for state, count in keys.items()}
        return Told(counted, self.calls + calls, self.calls_ms + calls_ms, age_ms)


@dataclass
class FromLookup:
    """Columns that a service has by key; what it says holds for all passes over one batch."""

    name: str
    step: Step
    asking: Asking
    breaker: CircuitBreaker
    _now: float = 0.0
    _answers: Answers | None = field(default=None, repr=False)
    _told: Told = field(default_factory=lambda: Told())
    looks_ahead = tells = True

    def status(self) -> LookupStatus:
        told = self._told
        return LookupStatus(self.breaker.state, told.keys, told.calls, told.calls_ms / 1_000, told.age_ms / 1_000)

    def prepare(self, now: datetime) -> None:
        if self._answers is not None:
            self._answers.rows.unpersist()
        self._now, self._answers = now.timestamp(), None

    def tick(self) -> None: ...

    def note(self) -> dict[str, str]:
        return {}

    def __call__(self, events: DataFrame) -> DataFrame:
        keyed = events.withColumn(LOOKUP, lookup_key(events, self.step))
        if self._answers is None:
            self._answers = self._asked(keyed)
        names = joining.outputs(events, self.columns)
        rows = self._answers.rows.select(
            LOOKUP, STATE, DETAIL, *(F.col(name).alias(out) for name, out in names.items())
        )
        joined = keyed.join(joining.hinted(rows, self._answers.keys, BROADCAST_MAX_ROWS), LOOKUP, "left")
        joined = joined.withColumn(STATE, F.coalesce(STATE, F.lit("missed")))
        return judged(joined.drop(LOOKUP), self.name, self.step, list(names.values()))

    def _asked(self, keyed: DataFrame) -> Answers:
        """Those to all keys. Raises Away."""
        assert self.step.lookup, "it is a lookup"
        keys = keyed.select(LOOKUP).filter(F.col(LOOKUP).isNotNull())
        parts = keys.repartition(
            self.step.lookup.parallel, LOOKUP
        ).distinct()  # what is parted is made distinct in its part
        answers = self._called(parts)
        if answers.why and self.step.lookup.on_failure == "stand":
            answers.rows.unpersist()
            raise Away(self.name, answers.why)
        return answers

    def _called(self, keys: DataFrame) -> Answers:
        """The breaker hears of calls that failed, whether or not something older stood in; while it is open, none is made."""
        made: list[Answers] = []
        try:
            with self.breaker.calling(lambda failure: not isinstance(failure, NotAsked), timed=False):
                made.append(self._made(keys, may_call=True))
                self._tell(made[0])
        except (Away, NotAsked):
            pass
        except BreakerOpen:
            made.append(self._made(keys, may_call=False))
        return made[0]

    def _tell(self, answers: Answers) -> None:
        """Raises Away, and NotAsked where all was kept, which says nothing of the service."""
        if answers.trouble:
            raise Away(self.name, answers.trouble)
        if not answers.calls:
            raise NotAsked

    @property
    def columns(self) -> dict[str, str]:
        """Column: SQL over an answer."""
        http = self.step.lookup.http if self.step.lookup else None
        own = {name: f"`{name}`" for name in self.asking.answer.schema.names}
        return dict(http.columns) if http and http.columns else own

    def _made(self, keys: DataFrame, may_call: bool) -> Answers:
        asking = replace(self.asking, now=self._now, may_call=may_call)
        own = asking.answer.schema.fields  # all of them null where there is no answer
        fields = [StructField(known.name, nullable(known.dataType)) for known in own]
        shape = StructType([StructField(LOOKUP, StringType()), *fields, *OURS])
        columns = [F.expr(text).alias(name) for name, text in self.columns.items()]
        answers = keys.mapInArrow(asking, shape).select(LOOKUP, *(one.name for one in OURS), *columns).persist()
        counts = {f"n_{state}": F.count_if(F.col(STATE) == state) for state in STATES}
        sums = {name: F.coalesce(F.sum(name), F.lit(0)) for name in (CALLS, CALLS_MS)}
        why = F.max(F.when(F.col(STATE).isin("failed", "stale"), F.col(DETAIL)))
        whole = {"why": why, AGE: F.coalesce(F.max(AGE), F.lit(0))}
        try:
            row = answers.agg(*(column.alias(name) for name, column in {**counts, **sums, **whole}.items())).first()
        except PySparkException as failure:
            answers.unpersist()
            raise failure if is_transient(failure) else LookupFailed(self.name, words(failure)) from failure
        assert row is not None, "an aggregation without groups has one row"
        found = {state: int(row[f"n_{state}"]) for state in STATES}
        self._told = self._told.plus(found, row[CALLS], row[CALLS_MS], row[AGE])
        failed = f"{found['failed']} keys have no answer: {row['why']}" if found["failed"] else None
        return Answers(answers, sum(found.values()), row[CALLS], failed, row["why"])


def check_time(events: StructType, at: str, name: str) -> None:
    """Raises ConfigError where there is no such time."""
    found = events[at].dataType.simpleString() if at in events.names else "no column"
    if found != "timestamp":
        allowed = f"a column of type TIMESTAMP that there is before this step ({at} is {found})"
        raise ConfigError(Problem(f"enrich.{name}.as_of.at", at, allowed, "conf"))


def lookup_key(events: DataFrame, step: Step) -> Column:
    """The key's columns as a JSON object; null, and so never asked for, where one is null or the row has a reason."""
    keys = {right: joining.key(events, left, step.cast) for left, right in step.on.items()}
    whole = reduce(Column.__and__, (key.isNotNull() for key in keys.values()), F.col("_reason").isNull())
    return F.when(whole, F.to_json(F.struct(*(key.alias(name) for name, key in keys.items()))))


def judged(joined: DataFrame, name: str, step: Step, names: list[str]) -> DataFrame:
    """DECODED with a step's columns, STATE and DETAIL -> DECODED with STATE, defaults, and a reason where the step says so."""
    on_failure = step.lookup.on_failure if step.lookup else "keep"
    missed, unfit, failed = (F.col(STATE) == state for state in ("missed", "unfit", "failed"))
    reason = (
        F.when(missed, F.lit(OF_MISSES.get(step.on_miss)))
        .when(failed, F.lit(OF_FAILURES.get(on_failure)))
        .when(unfit, F.lit(OF_FAILURES.get("dead_letter" if on_failure == "stand" else on_failure)))
    )
    is_new = F.col("_reason").isNull() & reason.isNotNull()
    detail = F.concat(F.lit(f"{name}: "), F.coalesce(F.col(DETAIL), F.lit(f"no row for {', '.join(step.on)}")))
    has_none = missed | unfit | failed
    types = {column: joined.schema[column].dataType for column in names}
    filled = {
        column: F.when(has_none, F.expr(text).try_cast(types[column])).otherwise(F.col(column))
        for column, text in step.default.items()
    }
    known = F.col(INSTEAD) if INSTEAD in joined.columns else _nothing()
    instead = F.when(reason == WAITING, F.when(missed, OF_MISSES["dead_letter"]).otherwise(OF_FAILURES["dead_letter"]))
    told = {
        **({INSTEAD: F.coalesce(known, instead)} if step.waits else {}),
        "_reason": F.coalesce("_reason", reason),
        "_detail": F.when(is_new, detail).otherwise(F.col("_detail")),
        STATE: F.when(has_none, F.lit("default" if step.default else "missed")).otherwise(F.col(STATE)),
    }
    return joined.withColumns({**filled, **told}).drop(DETAIL)


OF_MISSES = {"dead_letter": Reason.NO_REFERENCE.value, "wait": WAITING}
OF_FAILURES = {"dead_letter": Reason.NO_ANSWER.value, "wait": WAITING}


def _nothing() -> Column:
    return F.lit(None).cast("string")
