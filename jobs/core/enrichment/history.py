"""The history of a table that changes slowly: which version of a key's row held when, and what a key had at a time.

HISTORY  the table's keys, _from TIMESTAMP, _to TIMESTAMP (null: until further notice), _sequence, _holds BOOLEAN, _wrong STRING
         (why it may not be used), and the columns that events get

A version holds from `_from` on, and no longer at `_to`. Where a table does not say how long (as rows of change data capture do
not), a version holds until the next one of its key; one that says that the row is gone holds nothing, but ends the one before.
Of versions that begin at the same time, the one with the greatest `sequence` holds; without it they are refused, as versions
are that overlap, end before they begin, or begin at no time. In a gap nothing held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import DateType, TimestampNTZType, TimestampType

from jobs.core import joining
from jobs.core.reference_rows import Profile
from jobs.core.schema import MATCHED

FROM, TO, SEQUENCE, HOLDS, WRONG = "_from", "_to", "_sequence", "_holds", "_wrong"
OURS = [FROM, TO, SEQUENCE, HOLDS, WRONG]
FEW = 100_000  # above, it pays to look first which keys a batch has
SPREAD = 64  # parts of the rows that ask for nothing, which have no key to be parted by
UNFIT = "_unfit"  # while a version is judged
AT, IS_EVENT, PART, FOUND = "_at", "_is_event", "_part", "_found"


@dataclass(frozen=True)
class Versions:
    """What a table says, in SQL over its columns."""

    keys: Sequence[str]
    columns: Sequence[str]  # all but the keys when empty
    valid_from: str
    valid_to: str | None = None
    sequence: str | None = None
    deleted: str | None = None

    def made(self, rows: DataFrame) -> DataFrame:
        """The table -> HISTORY."""
        own = self.columns or [name for name in rows.columns if name not in self.keys]
        told = {
            FROM: _time(rows, self.valid_from),
            TO: _time(rows, self.valid_to),
            UNFIT: F.expr(self.valid_to or "NULL").isNotNull() & _time(rows, self.valid_to).isNull(),
            SEQUENCE: F.expr(self.sequence or "CAST(NULL AS BIGINT)"),
            HOLDS: ~F.coalesce(F.expr(self.deleted or "false"), F.lit(False)),
        }
        return self._bounded(rows.select(*self.keys, *(column.alias(name) for name, column in told.items()), *own))

    def profile(self, rows: DataFrame) -> Profile:
        known = reduce(and_, (F.col(key).isNotNull() for key in self.keys))
        found = rows.agg(
            F.count(F.lit(1)), F.count_if(known), F.count(F.when(known, F.col(WRONG))), F.min(WRONG)
        ).first()
        assert found is not None, "an aggregation without groups has one row"
        count, keyed, wrong, why = found
        if not keyed:
            return Profile(count, f"no row has a key ({', '.join(self.keys)})")
        return Profile(count, f"{wrong} versions are wrong, such as one that {why}" if wrong else None)

    def _bounded(self, rows: DataFrame) -> DataFrame:
        """With TO where the next version says it, and WRONG; parted and sorted by key and time."""
        following = Window.partitionBy(*self.keys).orderBy(FROM, SEQUENCE)
        begins, precedes = F.lead(FROM).over(following), F.lead(SEQUENCE).over(following)
        rows = rows.withColumns({"_next": begins, "_next_sequence": precedes})
        to = F.col(TO) if self.valid_to else F.col("_next")
        ties = F.col("_next") == F.col(FROM)
        settled = F.coalesce(F.col(SEQUENCE) < F.col("_next_sequence"), F.lit(False))
        wrong = (
            F.when(F.col(FROM).isNull(), "has no valid_from, or one that is no TIMESTAMP or DATE")
            .when(F.col(UNFIT), "has a valid_to that is no TIMESTAMP or DATE")
            .when(to < F.col(FROM), "ends before it begins")
            .when(ties & ~settled, "begins with another one of its key, and no sequence tells which of them holds")
            .when(~ties & (to.isNull() | (to > F.col("_next"))), "overlaps the next one of its key")
        )
        bounds = {TO: F.when(ties, F.col(FROM)).otherwise(to), WRONG: wrong}
        return rows.withColumns(bounds).drop("_next", "_next_sequence", UNFIT)


def _time(rows: DataFrame, sql: str | None) -> Column:
    """Null where it is no time: a number could be of any unit."""
    found = F.expr(sql or "NULL")
    kind = rows.select(found.alias("time")).schema["time"].dataType
    return (found if isinstance(kind, (DateType, TimestampType, TimestampNTZType)) else F.lit(None)).cast("timestamp")


def as_of(
    events: DataFrame, history: DataFrame, on: Mapping[str, str], cast: Mapping[str, str], at: str, many: bool = False
) -> DataFrame:
    """DECODED x HISTORY -> DECODED with the columns of the version that held at the time in `at`, and MATCHED.

    `on` is event column: key column. Events and versions of a key are sorted together, so it costs no more where a key has many
    versions; with `many` in all, those of keys that no event has are left out before. Null keys and times never match, and rows
    with a reason are not asked for.
    """
    keys = {right: joining.key(events, left, cast) for left, right in on.items()}
    good = F.col("_reason").isNull() & F.col(at).isNotNull()
    asked = reduce(and_, (key.isNotNull() for key in keys.values()), good)
    parts = F.when(asked, F.lit(0)).otherwise(1 + F.pmod(F.xxhash64("_partition", "_offset"), F.lit(SPREAD)))
    named = [F.col(name).alias(f"_key_{name}") for name in on.values()]
    held = history.filter(F.col(TO).isNull() | (F.col(FROM) < F.col(TO)))
    asking = events.select(
        "*",
        *(F.when(asked, key).alias(f"_key_{name}") for name, key in keys.items()),
        F.when(asked, F.col(at)).alias(AT),
        F.lit(True).alias(IS_EVENT),
        parts.alias(PART),
    )
    columns = joining.added(events, held.drop(*OURS), on)
    version = F.struct(FROM, TO, HOLDS, *columns.values()).alias(FOUND)
    telling = held.select(*named, F.col(FROM).alias(AT), F.lit(False).alias(IS_EVENT), F.lit(0).alias(PART), version)
    by = [f"_key_{name}" for name in on.values()]
    if many:
        telling = telling.join(F.broadcast(asking.select(*by).distinct()), by, "left_semi")
    return _last(asking, telling, by, events.columns, list(columns))


def _last(asking: DataFrame, telling: DataFrame, by: list[str], own: list[str], names: list[str]) -> DataFrame:
    """Each event with the last version that began before it, or with it, if that still holds."""
    before = Window.partitionBy(PART, *by).orderBy(AT, IS_EVENT).rowsBetween(Window.unboundedPreceding, 0)
    both = asking.unionByName(telling, allowMissingColumns=True)
    found = both.withColumn(FOUND, F.last(FOUND, ignorenulls=True).over(before)).filter(IS_EVENT)
    holds = F.col(f"{FOUND}.{HOLDS}") & (F.col(f"{FOUND}.{TO}").isNull() | (F.col(AT) < F.col(f"{FOUND}.{TO}")))
    columns = [F.when(holds, F.col(f"{FOUND}.{name}")).alias(name) for name in names]
    return found.select(*own, *columns, F.when(holds, F.lit(True)).alias(MATCHED))
