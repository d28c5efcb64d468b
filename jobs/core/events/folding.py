"""A declared fold (`core.events.folds`) as Spark's own aggregations: EVENT -> PARTIAL -> STATE.

PARTIAL  stream_id STRING, stream_version BIGINT, has_state BOOLEAN, the state's columns; a row for each stream
STATE    stream_id, stream_version, the state's columns; a row for each stream that has a state

A PARTIAL is all that a stream's events up to `stream_version` come to, also where they come to nothing (it was deleted, or
every event was passed over): PARTIAL of the events 1..n, with the events n+1..m, gives the PARTIAL of 1..m. That is what a
snapshot keeps, and what a projection goes on from. Events that a PARTIAL covers already change nothing, so it does no harm
to give them again; what is missing in between, nobody sees here.

Order is that of `stream_version`, in whatever order rows come; a version comes once in a stream. There is one shuffle, by
stream. `set`, `merge` and `delete` are combined before it, column by column: the last event that writes a column has its
value, and `set` and `delete` write them all. `increment` and `append` count from the last event that wrote their column, and
rules with `on_missing: ignore` from the one that made the state; windows over the same partitions find both, so there all
events are shuffled, and sorted by stream. No stream's events are held in memory, but for what `append` puts into its array.
A sum that leaves its column's type fails the query.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.core.events.fitting import fields, fitted, state_type
from jobs.core.events.folds import Fold

VERSION = "stream_version"
NEVER = 0  # versions begin with 1


def partials(events: DataFrame, fold: Fold, base: DataFrame | None = None) -> DataFrame:
    """EVENT, and PARTIAL to go on from -> PARTIAL. Data that do not fit fail it (`core.events.fitting.unfit` finds them)."""
    effects = _effects(fitted(events, fold), fold)
    rows = effects if base is None else effects.unionByName(_standing(base, fold))
    return _aggregated(_since_written(_once_made(rows, fold), fold), fold)


def states(partials: DataFrame) -> DataFrame:
    """PARTIAL -> STATE."""
    return partials.filter("has_state").drop("has_state")


def _effects(events: DataFrame, fold: Fold) -> DataFrame:
    """FITTED -> EFFECT: what an event writes, adds and appends, and whether it makes or ends a state, or waits for one."""
    read = {field.name for field in fields(fold)}
    resets, merges = _is(fold, "set") | _is(fold, "delete"), _is(fold, "merge")
    makes = F.col("event_type").isin(*(name for name, rule in fold.events.items() if rule.creates))
    waits = F.col("event_type").isin(*(name for name, rule in fold.events.items() if rule.ignores))
    columns = {"_resets": resets, "_makes": makes, "_waits": waits, "_ends": _is(fold, "delete")}
    for known in state_type(fold):
        name, is_read = known.name, known.name in read
        columns[f"_w_{name}"] = resets | (merges & F.col("_given")[name]) if is_read else resets
        columns[f"_v_{name}"] = F.col("_values")[name] if is_read else F.lit(None).cast(known.dataType)
    columns |= {f"_i_{name}": _amount(fold, name) for name in fold.targets("increment")}
    columns |= {f"_a_{name}": _element(fold, name) for name in fold.targets("append")}
    return events.select("stream_id", VERSION, *(column.alias(name) for name, column in columns.items()))


def _standing(base: DataFrame, fold: Fold) -> DataFrame:
    """PARTIAL -> EFFECT: it writes every column, at the version up to which it goes."""
    there, state = F.col("has_state"), state_type(fold)
    columns = {"_resets": F.lit(True), "_makes": there, "_waits": F.lit(False), "_ends": ~there}
    for known in state:
        columns[f"_w_{known.name}"] = F.lit(True)
        columns[f"_v_{known.name}"] = F.when(there, F.col(known.name))
    columns |= {f"_i_{name}": F.lit(None).cast(state[name].dataType) for name in fold.targets("increment")}
    columns |= {f"_a_{name}": F.lit(None).cast(_boxed(state[name].dataType)) for name in fold.targets("append")}
    return base.select("stream_id", VERSION, *(column.alias(name) for name, column in columns.items()))


def _once_made(effects: DataFrame, fold: Fold) -> DataFrame:
    """EFFECT -> EFFECT: what waits for a state does nothing before the event that made it."""
    if not any(rule.ignores for rule in fold.events.values()):
        return effects
    reset = F.coalesce(_over(F.max, "_resets"), F.lit(NEVER))
    found = effects.withColumn("_reset", reset)
    found = found.withColumn("_made", _over(F.min, F.col("_makes") & (F.col(VERSION) >= F.col("_reset"))))
    acts = ~F.col("_waits") | F.coalesce(F.col(VERSION) > F.col("_made"), F.lit(False))
    written = {name: F.col(name) & acts for name in effects.columns if name.startswith("_w_")}
    added = {name: F.when(acts, F.col(name)) for name in effects.columns if name.startswith(("_i_", "_a_"))}
    return found.withColumns({**written, **added}).select(*effects.columns)


def _since_written(effects: DataFrame, fold: Fold) -> DataFrame:
    """EFFECT -> EFFECT: what is added to a column before the last event that wrote it is gone."""
    kept = {
        f"{kind}{name}": F.when(
            F.col(VERSION) > F.coalesce(_over(F.max, f"_w_{name}"), F.lit(NEVER)), F.col(kind + name)
        )
        for kind, rule in (("_i_", "increment"), ("_a_", "append"))
        for name in fold.targets(rule)  # type: ignore[arg-type]
    }
    return effects.withColumns(kept) if kept else effects


def _aggregated(effects: DataFrame, fold: Fold) -> DataFrame:
    """EFFECT -> PARTIAL."""
    there = F.max_by(~F.col("_ends"), F.when(F.col("_makes") | F.col("_ends"), F.col(VERSION)))
    columns = [_column(known, fold).alias(known.name) for known in state_type(fold)]
    has_state = F.coalesce(there, F.lit(False)).alias("has_state")
    return effects.groupBy("stream_id").agg(F.max(VERSION).alias(VERSION), has_state, *columns)


def _column(known: T.StructField, fold: Fold) -> Column:
    """The last value written, and what came after it."""
    name, kind = known.name, known.dataType
    value = F.max_by(f"_v_{name}", F.when(F.col(f"_w_{name}"), F.col(VERSION)))
    if name in fold.targets("increment"):
        total = F.sum(f"_i_{name}")
        return F.when(total.isNull(), value).otherwise(F.coalesce(value, F.lit(0)) + total).cast(kind)
    if name in fold.targets("append"):
        boxes = F.collect_list(F.when(F.col(f"_a_{name}").isNotNull(), F.struct(VERSION, f"_a_{name}")))
        added = F.transform(F.array_sort(boxes), lambda box: box[f"_a_{name}"]["value"])
        return F.when(F.size(added) == 0, value).otherwise(F.concat(F.coalesce(value, F.array().cast(kind)), added))
    return value


def _amount(fold: Fold, column: str) -> Column:
    """By how much each event raises a column; null: by nothing."""
    kind, amounts = state_type(fold)[column].dataType, [F.lit(None).cast(state_type(fold)[column].dataType)]
    for name in fold.types("increment"):
        by = (fold.events[name].increment or {}).get(column)
        if by is not None:
            amount = F.col("_values")[by] if isinstance(by, str) else F.lit(by).cast(kind)
            amounts.append(F.when(F.col("event_type") == name, amount))
    return F.coalesce(*amounts)


def _element(fold: Fold, column: str) -> Column:
    """What each event appends to a column, in a box, as it may be null; null: nothing."""
    elements = [F.lit(None).cast(_boxed(state_type(fold)[column].dataType))]
    for name in fold.types("append"):
        field = (fold.events[name].append or {}).get(column)
        if field is not None:
            box = F.when(F.col("_given")[field], F.struct(F.col("_values")[field].alias("value")))
            elements.append(F.when(F.col("event_type") == name, box))
    return F.coalesce(*elements)


def _boxed(kind: T.DataType) -> T.StructType:
    assert isinstance(kind, T.ArrayType), "the config has checked that it is an array"
    return T.StructType([T.StructField("value", kind.elementType)])


def _is(fold: Fold, kind: str) -> Column:
    return F.col("event_type").isin(*fold.types(kind))


def _over(of: object, what: str | Column) -> Column:
    """The first or last version in a stream of which something is so."""
    condition = F.col(what) if isinstance(what, str) else what
    return of(F.when(condition, F.col(VERSION))).over(Window.partitionBy("stream_id"))  # type: ignore[operator,no-any-return]
