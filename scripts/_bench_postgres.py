"""The PostgreSQL sink against what psycopg2 alone reaches with the same rows: COPY and one upsert, and `execute_values`.

All three end with the same table, which is compared. The sink's rows lie decoded in Spark's cache and have to be turned
into CSV, COPY's are CSV already, and those of `execute_values` are Python tuples: each gets what its program would have.
"""

from __future__ import annotations

import io
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import psycopg2
import pyarrow as pa
import pyarrow.csv
from _stack import Stack
from psycopg2.extras import execute_values
from pyspark.sql import DataFrame, SparkSession
from rich.table import Table

from jobs.core import migrations
from jobs.core.config import JobConfig
from jobs.core.ledger import Counts, Entry
from jobs.core.postgres import Database
from jobs.core.session import session
from jobs.core.sinks import Mark
from jobs.core.sinks.places import place

COLUMNS = "order_id text, customer_id text, amount numeric(10,2), ordered_at timestamptz, name text, segment text"
NAMES = [column.split()[0] for column in COLUMNS.split(", ")]
UPSERT = (
    "INSERT INTO {table} AS held SELECT DISTINCT ON (order_id) * FROM {rows} ORDER BY order_id, ordered_at DESC"
    " ON CONFLICT (order_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in NAMES[1:])
    + " WHERE held.ordered_at <= excluded.ordered_at"
)


class Contest:
    """One batch of rows, and a table for each way of writing it."""

    def __init__(self, spark: SparkSession, stack: Stack, count: int) -> None:
        self._spark, self._stack, self.count = spark, stack, count
        self._connection = psycopg2.connect(**stack.dsn())
        self.rows = made(spark, count).persist()
        table = self.rows.drop("_topic", "_partition", "_offset").toArrow()
        self.csv = _csv(table)
        self.tuples = _latest(table)
        self._ready: tuple[Any, Any]  # the sink with its ledger, connected before the clock starts

    def run(self, name: str, way: Callable[[str], None]) -> float:
        """Seconds of one way into an empty table of its own."""
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {name}")
            cursor.execute(f"CREATE TABLE {name} ({COLUMNS}, PRIMARY KEY (order_id))")
        if name == "sink":
            self._ready = self._opened(name)
        begun = time.perf_counter()
        way(name)
        return time.perf_counter() - begun

    def copy_and_upsert(self, table: str) -> None:
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute(f"CREATE TEMPORARY TABLE draft ({COLUMNS}) ON COMMIT DROP")
            cursor.copy_expert("COPY draft FROM STDIN (FORMAT csv)", io.BytesIO(self.csv), 1 << 20)
            cursor.execute(UPSERT.format(table=table, rows="draft"))

    def values(self, table: str) -> None:
        upsert = UPSERT.replace(
            "SELECT DISTINCT ON (order_id) * FROM {rows} ORDER BY order_id, ordered_at DESC", "{rows}"
        )
        with self._connection, self._connection.cursor() as cursor:
            execute_values(cursor, upsert.format(table=table, rows="VALUES %s"), self.tuples, page_size=1_000)

    def sink(self, table: str) -> None:
        target, ledger = self._ready
        end = json.dumps([{"t": {"0": self.count}}])
        mark = Mark(table, "bench", 0, "[null]", end)
        target.append(self.rows, mark)
        counts = Counts(self.count, self.count)
        ledger.append(Entry("batch", table, "bench", 0, mark.start, end, counts, "2026-01-05T00:00:00Z"))

    def _opened(self, table: str) -> tuple[Any, Any]:
        postgres = {"url": self._stack.jdbc_url, "user": self._stack.user, "password": self._stack.password}
        sink = {"table": table, "mode": "upsert", "key": ["order_id"], "version": "ordered_at"}
        whole = {"job": table, "postgres": postgres, "source": {"rate": {}}, "checkpoint": "unused"}
        config = JobConfig.model_validate({**whole, "sink": {"postgres": sink}})
        assert config.postgres
        migrations.migrate(Database(config.postgres), config)
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute("DELETE FROM stream_patterns.ledger")
        return place(self._spark, config)

    def same(self, *tables: str) -> bool:
        """Whether the tables hold the same rows."""
        with self._connection, self._connection.cursor() as cursor:
            sums = []
            for table in tables:
                cursor.execute(f"SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {table} AS t")
                sums.append(cursor.fetchone())
        return len(set(sums)) == 1


def made(spark: SparkSession, count: int) -> DataFrame:
    """ORDERS with their customer and coordinates, about one in twenty a newer version of an earlier one."""
    return spark.range(count, numPartitions=4).selectExpr(
        f"concat('o', pmod(xxhash64(id), {count * 10})) AS order_id",
        "concat('c', id % 1000) AS customer_id",
        "CAST(id % 1000 / 100 AS DECIMAL(10,2)) AS amount",
        "timestamp_millis(1767607200000 + id) AS ordered_at",
        "concat('name ', id % 1000) AS name",
        "'gold' AS segment",
        "'orders' AS _topic",
        "0 AS _partition",
        "id AS _offset",
    )


def _csv(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pa.csv.write_csv(table, buffer, pa.csv.WriteOptions(include_header=False))
    return buffer.getvalue()


def _latest(table: pa.Table) -> list[tuple[Any, ...]]:
    """One tuple a key, as `execute_values` cannot have two."""
    return list({row["order_id"]: tuple(row.values()) for row in table.to_pylist()}.values())


def postgres(stack: Stack, count: int, pairs: int) -> Table:
    """Rounds of all three, the order turned each time: medians, and the medians of the rounds' ratios."""
    settings = {"spark.master": "local[2]", "spark.ui.enabled": "false", "spark.driver.memory": "4g"}
    spark = session("bench", {**settings, "spark.driver.maxResultSize": "3g"})
    spark.sparkContext.setLogLevel("ERROR")
    shown = Table("rows", "way", "rows/s", "ms", "the sink's ratio")
    for size in (count, 1_000):
        contest = Contest(spark, stack, size)
        ways = {"copy": contest.copy_and_upsert, "vals": contest.values, "sink": contest.sink}
        for name, way in ways.items():  # warms up, and is compared
            contest.run(name, way)
        if not contest.same(*ways):
            raise SystemExit("the three ways do not end with the same rows")
        rounds = [
            {name: contest.run(name, ways[name]) for name in _turned(list(ways), number)} for number in range(pairs)
        ]
        for name, told in {"copy": "COPY + upsert", "vals": "execute_values", "sink": "this sink"}.items():
            took = statistics.median(one[name] for one in rounds)
            ratio = statistics.median(one[name] / one["sink"] for one in rounds)
            shown.add_row(f"{size:,}", told, f"{size / took:,.0f}", f"{took * 1e3:,.0f}", f"{ratio:.2f}")
        contest.rows.unpersist()
    spark.stop()
    return shown


def _turned(names: list[str], by: int) -> list[str]:
    by %= len(names)
    return names[by:] + names[:by]
