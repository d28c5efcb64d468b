"""UUIDs of version 5 (RFC 9562) as a column: the same name has the same one, in Python's `uuid5` too."""

from __future__ import annotations

from uuid import UUID

from pyspark.sql import Column
from pyspark.sql import functions as F


def version_5(namespace: UUID, name: Column) -> Column:
    """Of a text, within a namespace; of null, null."""
    digest = F.sha1(F.concat(F.lit(namespace.bytes), name.cast("binary")))
    variant = F.translate(F.substring(digest, 17, 1), "0123456789abcdef", "89ab" * 4)
    third = F.concat(F.lit("5"), F.substring(digest, 14, 3))
    fourth = F.concat(variant, F.substring(digest, 18, 3))
    parts = (F.substring(digest, 1, 8), F.substring(digest, 9, 4), third, fourth, F.substring(digest, 21, 12))
    return F.when(name.isNotNull(), F.concat_ws("-", *parts))
