"""What a Delta table demands of each row: CHECK constraints, NOT NULL columns, the length of char and varchar ones.

Delta names one row and stops; the table's own properties and schema say it of all rows, in one pass. A CHECK that is null is
violated: so Delta has it, other than SQL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from jobs.core.sinks import Refusal
from jobs.core.sources import COORDINATES

CHECK = "delta.constraints."
TYPE = "__CHAR_VARCHAR_TYPE_STRING"  # where Spark keeps what a string column was declared as
LENGTH = re.compile(r"(?:var)?char\((\d+)\)")
Broken = tuple[str, Column]  # what is demanded, and whether a row breaks it


def refusals(table: DeltaTable, rows: DataFrame, most: int) -> list[Refusal]:
    """The first rows that the table refuses, one more than `most` where there are more."""
    schema, properties = table.toDF().schema, table.detail().select("properties").first()
    assert properties is not None, "a table has one row of details"
    broken = [*_nulls(schema), *_lengths(schema), *_checks(properties[0])]
    why = F.coalesce(F.lit(None).cast("string"), *(F.when(is_broken, F.lit(said)) for said, is_broken in broken))
    judged = _whole(rows, schema).select(*COORDINATES, why.alias("why")).filter("why IS NOT NULL")
    return [Refusal(*row) for row in judged.orderBy(*COORDINATES).limit(most + 1).collect()]


def _whole(rows: DataFrame, schema: StructType) -> DataFrame:
    """The rows with every column of the table: what they do not bring is null."""
    known = {name.lower() for name in rows.columns}
    lacking = {field.name: F.lit(None).cast(field.dataType) for field in schema if field.name.lower() not in known}
    return rows.withColumns(lacking)


def _nulls(schema: StructType, inside: tuple[str, ...] = ()) -> Iterator[Broken]:
    for field in schema:
        path = (*inside, field.name)
        if not field.nullable:
            yield f"NOT NULL constraint violated for column: {'.'.join(path)}", _column(*path).isNull()
        if isinstance(field.dataType, StructType):
            yield from _nulls(field.dataType, path)


def _lengths(schema: StructType) -> Iterator[Broken]:
    for field in schema:
        limit = LENGTH.fullmatch(_declared(field))
        if limit:
            said = f"value too long for type {limit[0]} of column: {field.name}"
            yield said, F.length(_column(field.name)) > int(limit[1])


def _declared(field: StructField) -> str:
    return str(field.metadata.get(TYPE, ""))


def _checks(properties: Mapping[str, str]) -> Iterator[Broken]:
    for name, condition in sorted(properties.items()):
        if name.startswith(CHECK):
            said = f"CHECK constraint {name.removeprefix(CHECK)} ({condition}) violated"
            yield said, ~F.coalesce(F.expr(condition), F.lit(False))


def _column(*path: str) -> Column:
    return F.col(".".join("`" + part.replace("`", "``") + "`" for part in path))
