"""A job's steps by its config: literal rows in, the whole expected DataFrame out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.core import layers
from jobs.core.enrichment.chain import Chain, chain
from jobs.stream_enrichment import Config

Rows = Callable[..., DataFrame]
NOON = datetime(2026, 1, 7, 12, tzinfo=timezone.utc)
JOB = """\
job: invoices
source:
  file: {path: "FOLDER/in"}
  schema: order_id STRING, customer_id STRING, product STRING, pieces INT, ordered_at TIMESTAMP
  event_time: ordered_at
enrich:
  customer:
    table:
      delta: {path: "FOLDER/customers", key: customer_id, columns: [segment]}
    on: {customer_id: customer_id}
    default: {segment: "'none'"}
  price:
    as_of:
      delta: {path: "FOLDER/prices", key: product, columns: [price]}
      valid_from: since
    on: {product: product}
    on_miss: dead_letter
  total:
    expressions: {total: "CAST(price * pieces AS DECIMAL(12,2))"}
sink:
  delta: {path: "FOLDER/sink"}
dead_letters:
  delta: {path: "FOLDER/dead"}
checkpoint: "FOLDER/checkpoint"
"""
ORDER = """
    order_id STRING, customer_id STRING, product STRING, pieces INT, ordered_at TIMESTAMP, _partition INT, _offset BIGINT,
    _reason STRING, _detail STRING
"""
INVOICE = f"{ORDER}, segment STRING, price DECIMAL(9,2), total DECIMAL(12,2), customer STRING, priced STRING"


def day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=timezone.utc)


@pytest.fixture
def steps(spark: SparkSession, rows: Rows, folder: Path) -> Chain:
    """Of a customer c1, and a product that became dearer on the fifth."""
    tables = {
        "customers": rows("customer_id STRING, segment STRING", ("c1", "gold")),
        "prices": rows("product STRING, since TIMESTAMP, price DECIMAL(9,2)", *PRICES),
    }
    for name, table in tables.items():
        table.write.format("delta").save(f"{folder}/{name}")
    (folder / "job.yaml").write_text(JOB.replace("FOLDER", str(folder)))
    config = layers.load(Config, folder / "job.yaml", None, (), {}).config
    made = chain(spark, config, lambda: NOON)
    made.prepare(NOON)
    return made


PRICES = ("p1", day(1), D("2.00")), ("p1", day(5), D("3.00"))


def invoices(steps: Chain, orders: DataFrame) -> DataFrame:
    states = {"customer": "_enrichment['customer']", "priced": "_enrichment['price']"}
    found = steps(orders).selectExpr("*", *(f"{text} AS {name}" for name, text in states.items()))
    return found.drop("_enrichment")


def expect(found: DataFrame, expected: DataFrame) -> None:
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True, ignore_metadata=True)


def test_each_order_has_its_customer_and_the_price_of_its_time(steps: Chain, rows: Rows) -> None:
    known, dearer, unknown = ("o1", "c1", "p1", 2, day(4)), ("o2", "c1", "p1", 2, day(5)), ("o3", "c9", "p1", 1, day(9))
    orders = [(*order, 0, number, None, None) for number, order in enumerate((known, dearer, unknown))]
    more: list[tuple[Any, ...]] = [
        ("gold", D("2.00"), D("4.00"), "fresh", "fresh"),
        ("gold", D("3.00"), D("6.00"), "fresh", "fresh"),
        ("none", D("3.00"), D("3.00"), "default", "fresh"),
    ]
    expect(
        invoices(steps, rows(ORDER, *orders)),
        rows(INVOICE, *((*order, *columns) for order, columns in zip(orders, more))),
    )


def test_a_price_that_there_was_not_yet_is_a_reason_and_a_rejected_order_keeps_its_own(
    steps: Chain, rows: Rows
) -> None:
    early, rejected = ("o1", "c1", "p1", 2, datetime(2025, 12, 31, tzinfo=timezone.utc), 0, 1), ("o2",) + (None,) * 4
    found = invoices(steps, rows(ORDER, (*early, None, None), (*rejected, 0, 2, "WRONG_TYPE", "$.pieces")))
    expected = rows(
        INVOICE,
        (*early, "NO_REFERENCE", "price: no row for product", "gold", None, None, "fresh", "missed"),
        (*rejected, 0, 2, "WRONG_TYPE", "$.pieces", "none", None, None, "default", "missed"),
    )
    expect(found, expected)
