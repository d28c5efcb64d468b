"""The Spark session, alike under spark-submit, in Jupyter and in tests.

Settings come from `spark-defaults.conf` (through SPARK_CONF_DIR), then from the config's `spark` map. JARs come from
spark-submit's `--jars` or, in a local session, from PATTERNS_JARS (comma-separated paths). There PATTERNS_CLASSES may name an
archive of Spark's classes, with which a JVM starts sooner, and PATTERNS_JAVA_OPTIONS what else it is started with.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[2]


def session(name: str, settings: Mapping[str, str] | None = None) -> SparkSession:
    """The running session or a new one; `settings` are `spark.*` keys."""
    _find_defaults()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(name)
    for key, value in {**_local(), **(settings or {})}.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


@contextmanager
def overridden(spark: SparkSession, key: str, value: str) -> Iterator[None]:
    """A setting of the session that holds for as long as this lasts."""
    before = spark.conf.get(key)
    spark.conf.set(key, value)
    try:
        yield
    finally:
        spark.conf.set(key, str(before))


def _find_defaults() -> None:
    if (ROOT / "spark-defaults.conf").is_file():
        os.environ.setdefault("SPARK_CONF_DIR", str(ROOT))


def shared_classes(more: str = "") -> dict[str, str]:
    """Settings of a JVM that maps the archive of PATTERNS_CLASSES, if it names one, and takes the options `more`.

    What is archived has to come first on the class path, as it did when it was archived.
    """
    archive, home = os.environ.get("PATTERNS_CLASSES"), os.environ.get("SPARK_HOME")
    options = [*([f"-XX:SharedArchiveFile={archive}"] if archive and home else []), *([more] if more else [])]
    first = {"spark.driver.extraClassPath": f"{home}/jars/*"} if archive and home else {}
    return {**first, **({"spark.driver.extraJavaOptions": " ".join(options)} if options else {})}


def _local() -> dict[str, str]:
    """Only where no spark-submit has set up the JVM: it has its own way for JARs and options."""
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        return {}
    jars = os.environ.get("PATTERNS_JARS", "")
    options = os.environ.get("PATTERNS_JAVA_OPTIONS", "")
    return {**({"spark.jars": jars} if jars else {}), **shared_classes(options)}
