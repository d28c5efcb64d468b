"""The data of events as typed columns: EVENT -> FITTED, for a fold that says what it reads.

FITTED  stream_id, stream_version, event_type, `_values` STRUCT<field: type, ...>, `_given` STRUCT<field: BOOLEAN, ...>

A field that is null is `_given`, an absent one is not. `data` may be JSON text or VARIANT. Text is read by `from_json`: an
integer that is a string, a fraction or beyond its type does not fit; an array or an object in a string's place is taken as its
text. VARIANT takes what Spark casts to the type.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from jobs.core.events.folds import Fold
from jobs.core.reasons import Reason

UNFIT = "un fit"  # no field has this name: it would be no column
WHICH = ("stream_id", "stream_version", "event_type")


def state_type(fold: Fold) -> T.StructType:
    """The state's columns, as Spark has them."""
    found = T.StructType.fromDDL(fold.state)
    assert isinstance(found, T.StructType), "the config has checked that these are columns"
    return found


def fitted(events: DataFrame, fold: Fold) -> DataFrame:
    """EVENT -> FITTED. An event that does not fit fails the query, which names it."""
    read = _read(events, fold)
    name = F.format_string("stream %s, version %d: data of %s do not fit the fold", *WHICH)
    version = F.when(F.col("_unfit"), F.raise_error(name)).otherwise(F.col("stream_version"))
    return read.withColumn("stream_version", version).select(*WHICH, "_values", "_given")


def unfit(events: DataFrame, fold: Fold) -> DataFrame:
    """EVENT -> those that would fail it, with `_reason` and `_detail`."""
    found = _read(events, fold).filter("_unfit").drop("_values", "_given", "_unfit")
    detail = F.format_string("$.data: fields of another type than the state %s", F.lit(fold.state))
    return found.withColumns({"_reason": F.lit(Reason.WRONG_TYPE.value), "_detail": F.substring(detail, 1, 200)})


def fields(fold: Fold) -> list[T.StructField]:
    """What the fold reads of data: columns, for set and merge, and what rules name."""
    state, found = state_type(fold), {}
    if fold.types("set") or fold.types("merge"):
        found = {known.name: known.dataType for known in state}
    for rule in fold.events.values():
        for column, field in rule.changes.items():
            kind = state[column].dataType
            found[field] = kind.elementType if rule.append and isinstance(kind, T.ArrayType) else kind
    return [T.StructField(name, kind) for name, kind in found.items()]


def _read(events: DataFrame, fold: Fold) -> DataFrame:
    """EVENT with `_values`, `_given` and `_unfit`."""
    known = fields(fold)
    read = [name for name, rule in fold.events.items() if rule.set or rule.merge or rule.changes]
    wanted = F.col("event_type").isin(*read) if known else F.lit(False)
    if isinstance(events.schema["data"].dataType, T.VariantType):
        return _of_variants(events, known, wanted)
    return _of_texts(events, known, wanted)


def _of_texts(events: DataFrame, known: list[T.StructField], wanted: Column) -> DataFrame:
    """`null` is looked for in the keys of such texts alone that have the word."""
    schema = T.StructType([*known, T.StructField(UNFIT, T.StringType())])
    values = F.from_json("data", schema, {"columnNameOfCorruptRecord": UNFIT})
    keys = F.when(wanted & F.contains("data", F.lit("null")), F.json_object_keys("data"))
    read = events.withColumns({"_values": F.when(wanted, values), "_keys": keys})
    given = {field.name: _value(field.name).isNotNull() | _among(field.name) for field in known}
    return read.withColumns({"_given": _struct(given), "_unfit": _value(UNFIT).isNotNull()}).drop("_keys")


def _of_variants(events: DataFrame, known: list[T.StructField], wanted: Column) -> DataFrame:
    paths = {field.name: f"$.{field.name}" for field in known}
    parts = {name: F.when(wanted, F.variant_get("data", path, "variant")) for name, path in paths.items()}
    values = {
        field.name: F.when(wanted, F.try_variant_get("data", paths[field.name], field.dataType.simpleString()))
        for field in known
    }
    read = events.withColumns({"_values": _struct(values), "_parts": _struct(parts)})
    given = {name: F.col("_parts")[name].isNotNull() for name in paths}
    lost = [given[name] & _value(name).isNull() & ~F.is_variant_null(F.col("_parts")[name]) for name in paths]
    unfit = F.greatest(F.lit(False), F.lit(False), *(F.coalesce(one, F.lit(False)) for one in lost))
    return read.withColumns({"_given": _struct(given), "_unfit": unfit}).drop("_parts")


def _among(name: str) -> Column:
    return F.coalesce(F.array_contains("_keys", name), F.lit(False))


def _value(name: str) -> Column:
    return F.col("_values")[name]


def _struct(columns: dict[str, Column]) -> Column:
    return F.struct(*(column.alias(name) for name, column in columns.items()), F.lit(None).cast("string").alias(UNFIT))
