"""What is too large for a topic is cut, and says what it was; what fits is untouched."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from chispa import assert_df_equality
from pyspark.sql import DataFrame

from jobs.core.oversize import RESERVED, cut

RECORD = "key BINARY, value BINARY, headers ARRAY<STRUCT<key: STRING, value: BINARY>>"
LIMIT = RESERVED + 100
HEADERS = [("é", b"12"), ("n", None)]  # 2 + 2 bytes and 1, and 10 for each


def told(value: bytes) -> list[tuple[str, bytes]]:
    digest = hashlib.sha256(value).hexdigest().encode()
    return [("patterns-value-bytes", str(len(value)).encode()), ("patterns-value-sha256", digest)]


def test_a_value_gets_the_room_that_key_and_headers_leave(rows: Callable[..., DataFrame]) -> None:
    large, fitting, wide = bytes(range(200)), b"v" * 100, b"k" * 500
    given = rows(
        RECORD,
        (b"key", large, HEADERS),
        (b"key", large[:72], HEADERS),
        (b"key", large[:73], HEADERS),
        (None, fitting, []),
        (None, None, HEADERS),
        (wide, b"v", []),
    )
    expected = rows(
        RECORD,
        (b"key", large[:72], [*HEADERS, *told(large)]),
        (b"key", large[:72], HEADERS),
        (b"key", large[:72], [*HEADERS, *told(large[:73])]),
        (None, fitting, []),
        (None, None, HEADERS),
        (wide, b"", told(b"v")),
    )
    assert_df_equality(cut(given, LIMIT), expected, ignore_nullable=True)
