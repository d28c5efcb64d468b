"""Poison rows: what a sink refuses for its data becomes dead letters, and the rest of its batch is written.

A batch is written as ever. Only if it fails, and the failure is the data's, the sink is asked which rows it refuses. These get
a reason, and the batch is written again by the same path: same counts, dead letters before the ledger's record, and a restart
that finds the same rows. Other rows than those that the sink refuses are not touched, and a batch without any pays nothing.
Dead letters that the first try sent may be sent a second time; as ever, they count once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import astuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.core.classify import Transform
from jobs.core.errors import RowsRefused, SinkFailed
from jobs.core.failures import Kind, kind, words
from jobs.core.reasons import Reason
from jobs.core.sinks import Refusal
from jobs.core.sources import COORDINATES

log = logging.getLogger(__name__)
REFUSED = "_topic STRING, _partition INT, _offset BIGINT, _refused STRING"


def until_taken(
    transform: Transform,
    write: Callable[[Transform], None],
    ask: Callable[[Transform, int], list[Refusal]],
    allowed: int,
    batch_id: int,
) -> None:
    """Writes what the transform gives, without the rows that `ask` says the sink refuses.

    Raises RowsRefused for more than are allowed, SinkFailed where no row is at fault, and what `write` raises of another kind.
    """
    refused: list[Refusal] = []
    while True:
        rest = without(transform, refused)
        try:
            return write(rest)
        except Exception as failure:
            if kind(failure) is not Kind.DATA:
                raise
            refused = [*refused, *_more(ask(rest, allowed - len(refused)), failure, batch_id)]
        if len(refused) > allowed:
            raise RowsRefused(batch_id, str(refused[0]), allowed)
        log.warning("%d rows of batch %d are refused, and become dead letters: %s", len(refused), batch_id, refused[0])


def _more(found: list[Refusal], failure: Exception, batch_id: int) -> list[Refusal]:
    if not found:
        raise SinkFailed("the sink", batch_id, words(failure)) from failure
    return found


def without(transform: Transform, refused: list[Refusal]) -> Transform:
    """The transform, whose outcome has a reason for each refused row."""
    return (lambda events: marked(transform(events), refused)) if refused else transform


def marked(outcome: DataFrame, refused: list[Refusal]) -> DataFrame:
    """DECODED -> DECODED: refused rows get reason and detail."""
    named = {(row.topic, row.partition, row.offset): astuple(row) for row in reversed(refused)}
    listed = F.broadcast(outcome.sparkSession.createDataFrame(list(named.values()), REFUSED))
    is_refused = F.col("_refused").isNotNull() & F.col("_reason").isNull()
    reason = F.when(is_refused, F.lit(Reason.SINK_REJECTED.value)).otherwise(F.col("_reason"))
    detail = F.when(is_refused, F.col("_refused")).otherwise(F.col("_detail"))
    joined = outcome.join(listed, COORDINATES, "left").withColumns({"_reason": reason, "_detail": detail})
    return joined.select(*outcome.columns)
