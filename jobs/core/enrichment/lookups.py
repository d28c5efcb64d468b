"""A step that looks up what a service has by key: each key of a batch is asked for once, in the executors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import reduce
from typing import NamedTuple

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import LongType, StringType, StructField, StructType

from jobs.core import joining
from jobs.core.breaker import CircuitBreaker
from jobs.core.enrichment.asking import AGE, BYTES, CALLS, CALLS_MS, DETAIL, LOOKUP, STATE, Asking
from jobs.core.enrichment.outcomes import judged
from jobs.core.enrichment.settings import Step
from jobs.core.errors import BreakerOpen, LookupFailed
from jobs.core.failures import Away, words
from jobs.core.retry import is_transient
from jobs.core.schema import named_beside
from jobs.core.watched import STATES, LookupStatus

BROADCAST_MAX_ROWS = 1_000_000  # answers, as of a reference table
BROADCAST_MAX_BYTES = 256 << 20  # of all of them, as they came: the driver collects what is broadcast
NUMBERS = [StructField(name, LongType()) for name in (AGE, BYTES, CALLS, CALLS_MS)]
OURS = [StructField(STATE, StringType()), StructField(DETAIL, StringType()), *NUMBERS]


class Answers(NamedTuple):
    """To all keys of one batch."""

    rows: DataFrame  # persisted
    keys: int
    bytes: int
    calls: int
    why: str | None  # some have none, if they have not
    trouble: str | None  # what a call failed of, also where an older answer stands in
    wanting: bool  # whether any key has not got the answer that a call should have brought


class NotAsked(Exception):
    """All that a batch needs is kept."""


@dataclass(frozen=True)
class Tally:
    """Of all batches since the start."""

    keys: Mapping[str, int] = field(default_factory=dict)  # by state
    calls: int = 0
    calls_ms: int = 0
    age_ms: int = 0  # of the last batch

    def plus(self, keys: Mapping[str, int], calls: int, calls_ms: int, age_ms: int) -> Tally:
        """With one more."""
        counted = {state: self.keys.get(state, 0) + count for state, count in keys.items()}
        return Tally(counted, self.calls + calls, self.calls_ms + calls_ms, age_ms)


@dataclass
class FromLookup:
    """Columns that a service has by key; what it says holds for all passes over one batch."""

    name: str
    step: Step
    asking: Asking
    breaker: CircuitBreaker
    _now: float = 0.0
    _answers: Answers | None = field(default=None, repr=False)
    _tally: Tally = Tally()
    looks_ahead = tells = True

    def status(self) -> LookupStatus:
        tally = self._tally
        return LookupStatus(self.breaker.state, tally.keys, tally.calls, tally.calls_ms / 1_000, tally.age_ms / 1_000)

    @property
    def in_trouble(self) -> bool:
        """Whether some of the batch in hand has no answer, or an older one, as none came that is of use."""
        return self._answers is not None and self._answers.wanting

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
        names = named_beside(events.columns, self.columns)
        rows = self._answers.rows.select(
            LOOKUP, STATE, DETAIL, AGE, *(F.col(name).alias(out) for name, out in names.items())
        )
        most = BROADCAST_MAX_ROWS if self._answers.bytes <= BROADCAST_MAX_BYTES else 0
        joined = keyed.join(joining.hinted(rows, self._answers.keys, most), LOOKUP, "left")
        joined = joined.withColumn(STATE, F.coalesce(STATE, F.lit("missed")))
        too_old = {names[column]: condition for column, condition in self._too_old().items()}
        return judged(joined.drop(LOOKUP), self.name, self.step, list(names.values()), too_old).drop(AGE)

    def _too_old(self) -> dict[str, Column]:
        """Of columns that may not be as old as others: whether a row's is, in an answer that serves all the same."""
        assert self.step.lookup, "it is a lookup"
        limits = {column: self.step.lookup.cache.max_stale_s(column) for column in self.columns}
        return {
            column: (F.col(STATE) == "stale") & (F.col(AGE) > int(limit * 1_000))
            for column, limit in limits.items()
            if limit < self.asking.limits.max_stale
        }

    def _asked(self, keyed: DataFrame) -> Answers:
        """Those to all keys. Raises Away."""
        assert self.step.lookup, "it is a lookup"
        keys = keyed.select(LOOKUP).filter(F.col(LOOKUP).isNotNull())
        # Parted first, they are distinct without another shuffle.
        answers = self._called(keys.repartition(self.step.lookup.parallel, LOOKUP).distinct())
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
        fields = [StructField(known.name, known.dataType) for known in asking.answer.schema]  # null without an answer
        shape = StructType([StructField(LOOKUP, StringType()), *fields, *OURS])
        columns = [F.expr(text).alias(name) for name, text in self.columns.items()]
        answers = keys.mapInArrow(asking, shape).select(LOOKUP, *(one.name for one in OURS), *columns).persist()
        counts = [f"count_if({STATE} = '{state}') AS n_{state}" for state in STATES]
        sums = [f"coalesce(sum({name}), 0) AS {name}" for name in (BYTES, CALLS, CALLS_MS)]
        why = f"max(CASE WHEN {STATE} IN ('failed', 'stale') THEN {DETAIL} END) AS why"
        try:
            row = answers.selectExpr(*counts, *sums, why, f"coalesce(max({AGE}), 0) AS {AGE}").first()
        except PySparkException as failure:
            answers.unpersist()
            raise failure if is_transient(failure) else LookupFailed(self.name, words(failure)) from failure
        assert row is not None, "an aggregation without groups has one row"
        found = {state: int(row[f"n_{state}"]) for state in STATES}
        self._tally = self._tally.plus(found, row[CALLS], row[CALLS_MS], row[AGE])
        failed = f"{found['failed']} keys have no answer: {row['why']}" if found["failed"] else None
        wanting = any(found[state] for state in ("failed", "stale", "unfit"))
        return Answers(answers, sum(found.values()), row[BYTES], row[CALLS], failed, row["why"], wanting)


def lookup_key(events: DataFrame, step: Step) -> Column:
    """The key's columns as a JSON object; null, and so never asked for, where one is null or the row has a reason."""
    keys = {right: joining.key(events, left, step.cast) for left, right in step.on.items()}
    whole = reduce(Column.__and__, (key.isNotNull() for key in keys.values()), F.col("_reason").isNull())
    return F.when(whole, F.to_json(F.struct(*(key.alias(name) for name, key in keys.items()))))
