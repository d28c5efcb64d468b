from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.core import session

DEFAULTS = Path(__file__).resolve().parents[3] / "spark-defaults.conf"


def lines() -> dict[str, str]:
    stated = [line.split(None, 1) for line in DEFAULTS.read_text().splitlines() if line and not line.startswith("#")]
    return {key: value.strip() for key, value in stated}


@pytest.mark.parametrize(("key", "value"), lines().items(), ids=lines())
def test_a_local_session_reads_the_defaults(spark: SparkSession, key: str, value: str) -> None:
    assert spark.conf.get(key) == value


def test_every_default_has_its_reason() -> None:
    written = DEFAULTS.read_text().splitlines()
    for number, line in enumerate(written):
        if line.startswith("spark."):
            above = next(text for text in reversed(written[:number]) if not text.startswith("spark."))
            assert above.startswith("# ") and len(above) > 20, line


def test_jars_and_classes_are_for_sessions_that_no_spark_submit_started(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "PATTERNS_JARS": "a.jar,b.jar",
        "PATTERNS_CLASSES": "/a.jsa",
        "PATTERNS_JAVA_OPTIONS": "-Xint",
        "SPARK_HOME": "/spark",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    assert session._local() == {
        "spark.jars": "a.jar,b.jar",
        "spark.driver.extraClassPath": "/spark/jars/*",
        "spark.driver.extraJavaOptions": "-XX:SharedArchiveFile=/a.jsa -Xint",
    }
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")
    assert session._local() == {}


@pytest.mark.parametrize("missing", ["PATTERNS_CLASSES", "SPARK_HOME"])
def test_options_go_without_an_archive_too(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in ("PATTERNS_CLASSES", "SPARK_HOME"):
        monkeypatch.setenv(name, "/there")
    monkeypatch.delenv(missing)
    assert session.shared_classes() == {}
    assert session.shared_classes("-Xint") == {"spark.driver.extraJavaOptions": "-Xint"}


def test_a_setting_holds_for_as_long_as_it_is_asked_to(spark: SparkSession) -> None:
    key, seen = "spark.sql.adaptive.enabled", []

    def fail() -> None:
        with session.overridden(spark, key, "false"):
            seen.append(spark.conf.get(key))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [*seen, spark.conf.get(key)] == ["false", "true"]
