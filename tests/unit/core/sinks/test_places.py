from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.core.config import JobConfig
from jobs.core.sinks.places import folders, ledger_path, place
from jobs.core.sinks.tables import DeltaTableSink, ParquetSink
from jobs.core.sinks.views import ConsoleSink, MemorySink


def config(target: dict[str, Any], **more: Any) -> JobConfig:
    whole = {"job": "join", "source": {"rate": {}}, "sink": target, "checkpoint": "data/cp", **more}
    return JobConfig.model_validate(whole)


@pytest.mark.parametrize(
    ("target", "kind", "path"),
    [
        ({"delta": {"path": "data/t"}}, DeltaTableSink, "data/t/_ledger/join"),
        ({"parquet": {"path": "data/t"}}, ParquetSink, "data/t/_ledger/join"),
        ({"memory": {"name": "seen"}}, MemorySink, "data/cp.ledger"),
        ({"console": {}}, ConsoleSink, "data/cp.ledger"),
    ],
    ids=["delta", "parquet", "memory", "console"],
)
def test_each_sink_and_the_ledger_beside_it(spark: SparkSession, target: dict[str, Any], kind: type, path: str) -> None:
    sink, ledger = place(spark, config(target))
    assert isinstance(sink, kind)
    assert ledger.path == ledger_path(config(target)) == path


def test_a_ledger_goes_where_the_config_says() -> None:
    assert ledger_path(config({"console": {}}, ledger="data/books")) == "data/books"


def test_all_folders_of_a_job(tmp_path: Path) -> None:
    paths = {name: str(tmp_path / name) for name in ("out", "dead")}
    whole = config({"parquet": {"path": paths["out"]}}, dead_letters={"delta": {"path": paths["dead"]}})
    assert folders(whole) == [
        paths["out"],
        paths["dead"],
        f"{paths['out']}/_ledger/join",
        f"{paths['out']}/_ledger/join.lease",
    ]
