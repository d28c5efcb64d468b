"""The records of one batch, and what becomes of each: written, or rejected for a reason."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame

from jobs.core import classify
from jobs.core.classify import Transform
from jobs.core.order import NOTHING, Blocking
from jobs.core.redriven import Again
from jobs.core.sources import COORDINATES


@dataclass(frozen=True)
class Judged:
    """One try at a batch, whose records are decoded."""

    again: Again
    transform: Transform
    held: DataFrame | None  # coordinates of what the sink holds of a batch in doubt
    blocking: Blocking = NOTHING

    def good(self) -> DataFrame:
        return self.again.rows.filter("_reason IS NULL")

    def fresh(self, events: DataFrame) -> DataFrame:
        """Good events that the sink does not hold."""
        return events if self.held is None else events.join(self.held, COORDINATES, "left_anti")

    def outcome(self, fresh: DataFrame) -> DataFrame:
        """With their attempts; what is rejected now has a reason."""
        return self.blocking.judge(self.again.tried(self.transform(fresh)))

    def failed(self) -> DataFrame:
        """Rejected rows with their attempts, by the decoder or since."""
        before = self.again.tried(classify.rejected(self.again.rows))
        return before.unionByName(classify.rejected(self.outcome(self.fresh(self.good()))))
