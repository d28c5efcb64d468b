"""What several commands take, and the session of those that need one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.core.run_config import RunConfig

if TYPE_CHECKING:  # importing Spark takes a while
    from pyspark.sql import SparkSession

Job = Annotated[str, typer.Argument(metavar="JOB", help="A job's name, or the file of one of your own.")]
Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The config; conf/JOB.yaml unless given.")
]
Env = Annotated[
    str | None, typer.Option("--env", metavar="NAME", help="Settings of one environment, conf/env/NAME.yaml.")
]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, over all others.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


@contextmanager
def spark_for(config: RunConfig, what: str = "audit") -> Iterator[SparkSession]:
    """A session of its own, under the config's settings, that ends with the command."""
    from jobs.core.session import session

    spark = session(f"{config.job}-{what}", config.spark)
    try:
        spark.sparkContext.setLogLevel("ERROR")
        yield spark
    finally:
        spark.stop()
