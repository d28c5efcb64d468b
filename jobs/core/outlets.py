"""Where the rows of a batch go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.core import dead_letters
from jobs.core.lateness import LateRecords
from jobs.core.parking import Parking
from jobs.core.reasons import LATE, WAITING
from jobs.core.sinks import Mark, Outlet, Sink

Phase = Callable[[str], AbstractContextManager[None]]  # times a part of a batch, by name


@contextmanager
def untimed(phase: str) -> Iterator[None]:
    yield


@dataclass
class Outlets:
    """One for the good rows, and one for each kind of the others."""

    good: Sink
    dead: Outlet | None
    parked: Parking | None
    late: LateRecords | None = None
    max_refused: int = 1_000

    @property
    def refusable(self) -> int:
        """How many rows of a batch the sink may refuse: none where they have no place to go to."""
        return self.max_refused if self.dead else 0

    def reject(
        self,
        failed: DataFrame,
        reasons: set[str],
        mark: Mark,
        now: datetime,
        again: DataFrame | None = None,
        phase: Phase = untimed,
    ) -> None:
        """Rejected rows with their attempts, of these reasons: parks the waiting, puts the late aside, and sends the rest.

        `again` are the coordinates of a batch in doubt: an earlier attempt may have done the same with some of them.
        """
        in_doubt = again is not None
        waiting, late = (failed.filter(F.col("_reason") == apart) for apart in (WAITING, LATE))
        dead = failed.filter(~F.col("_reason").isin(WAITING, LATE))
        if self.parked and (in_doubt or WAITING in reasons):
            self.parked.park(waiting, mark, now, again)
        if self.late and LATE in reasons:
            dead_letters.send(self.late.to, dead_letters.letters(late, mark.job), mark, in_doubt)
        if self.dead and reasons - {WAITING, LATE}:
            with phase("dead_letters"):
                dead_letters.send(self.dead, dead_letters.letters(dead, mark.job), mark, in_doubt)
