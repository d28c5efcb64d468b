"""Within a run of the bench of lookups: the program that asks for each event, and the calls that a job should have made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.enrichment.settings import Lookup

if TYPE_CHECKING:  # it takes a while, and most runs do without it
    import pandas as pd


def one_call_an_event(orders: DataFrame, lookup: Lookup) -> DataFrame:
    """ORDER -> ORDER with `rate`, by as many calls at once as two tasks of the job make."""
    assert lookup.http, "it is asked by HTTP"
    url, threads = str(lookup.http.url), lookup.http.concurrency

    def asked(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        with httpx.Client(trust_env=False) as client, ThreadPoolExecutor(threads) as side_by_side:

            def rate_of(currency: str) -> float:
                answer = client.get(url.format(currency=currency))
                answer.raise_for_status()
                return float(answer.json()["rate"])

            for batch in batches:
                yield batch.assign(rate=list(side_by_side.map(rate_of, batch["currency"])))

    found = orders.mapInPandas(asked, f"{', '.join(f'`{n}` {t}' for n, t in orders.dtypes)}, rate DOUBLE")
    return found.withColumn("rate", found["rate"].cast("decimal(18,8)"))


def calls_wanted(
    spark: SparkSession, rows: DataFrame, ends: Sequence[Mapping[str, int]], lookup: Lookup
) -> dict[str, int]:
    """Calls and keys that the sink's rows account for; `ends` are the offsets at which each batch ended, by partition."""
    within = "_partition = part AND _offset >= first AND _offset < end"
    keyed = rows.join(F.broadcast(_pieces(spark, ends)), F.expr(within)).select("batch", "currency").distinct()
    if lookup.cache.ttl.seconds_total > 1:
        keyed = keyed.groupBy("currency").agg(F.min("batch").alias("batch"))
    task = F.expr(f"pmod(hash(to_json(struct(currency))), {lookup.parallel})")  # as Spark parts them
    size = 1 if lookup.http and lookup.http.method == "GET" else lookup.batch
    asked = keyed.groupBy("batch", task).agg(F.count("*").alias("keys"))
    calls, keys = asked.agg(F.sum(F.expr(f"ceil(keys / {size})")), F.sum("keys")).first() or (0, 0)
    return {"calls": int(calls), "keys": int(keys)}


def _pieces(spark: SparkSession, ends: Sequence[Mapping[str, int]]) -> DataFrame:
    """What each batch has of each partition."""
    pieces = [
        (number, int(part), before.get(part, 0), end)
        for number, (before, batch) in enumerate(zip([{}, *ends], ends))
        for part, end in batch.items()
    ]
    return spark.createDataFrame(pieces, "batch INT, part INT, first LONG, end LONG")
