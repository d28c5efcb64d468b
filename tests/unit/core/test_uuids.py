from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid5

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.core.uuids import version_5

NAMES = [f"orders/{number}/\u00e4" for number in range(64)]


@pytest.mark.parametrize("namespace", [UUID(int=0), UUID("0be04940-1be4-55bd-ae1b-65610bcef175")])
def test_it_is_the_one_that_python_makes(rows: Callable[..., DataFrame], namespace: UUID) -> None:
    found = rows("name STRING", *((name,) for name in NAMES), (None,)).select(
        version_5(namespace, F.col("name")).alias("id")
    )
    expected = rows("id STRING", *((str(uuid5(namespace, name)),) for name in NAMES), (None,))
    assert {row["id"][19] for row in expected.collect() if row["id"]} == set("89ab")
    assert_df_equality(found, expected, ignore_nullable=True)
