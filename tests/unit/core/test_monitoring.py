from __future__ import annotations

from pathlib import Path

import pytest
from _configs import config, told

from jobs.core.monitoring import Monitoring


def test_nothing_is_served_unless_a_config_says_so(tmp_path: Path) -> None:
    found = config(tmp_path).monitoring
    assert found == Monitoring()
    assert (found.host, found.port, found.ready.max_lag, found.log_format) == ("127.0.0.1", None, None, "text")
    assert (found.ready.for_.ms, found.ready.no_progress.ms) == (60_000, 300_000)


@pytest.mark.parametrize("host", ["0.0.0.0", "::1", "metrics.internal"])
def test_another_address_has_to_be_named(tmp_path: Path, host: str) -> None:
    found = config(tmp_path, f"monitoring.host='{host}'", "monitoring.port=0", "monitoring.ready.for=10s").monitoring
    assert (found.host, found.port, found.ready.for_.ms) == (host, 0, 10_000)


@pytest.mark.parametrize(
    ("override", "value", "hint"),
    [
        ("monitoring.port=65536", "65536", "at most 65535"),
        ("monitoring.port=-1", "-1", "at least 0"),
        ("monitoring.port=true", "true", "a whole number"),
        ("monitoring.host=localhost:9108", "localhost:9108", "a host name or an address, without a port"),
        ("monitoring.host=''", "", "a host name or an address, without a port"),
        ("monitoring.ready.max_lag=-1", "-1", "at least 0"),
        ("monitoring.ready.for=soon", "soon", "a number with a unit"),
        ("monitoring.ready.for=0s", "0s", "a number with a unit"),
        ("monitoring.every=never", "never", "a number with a unit"),
        ("monitoring.log_format=xml", "xml", "'text' or 'json'"),
        ("monitoring.prot=9108", "9108", "unknown key; nearest: monitoring.port"),
    ],
)
def test_what_is_refused(tmp_path: Path, override: str, value: str, hint: str) -> None:
    path, shown, allowed = told(tmp_path, override)
    assert path == override.partition("=")[0]
    assert shown.strip("'") == value
    assert hint in allowed


def test_a_job_in_good_health_can_keep_its_limits(tmp_path: Path) -> None:
    short = ["monitoring.ready.no_progress=15s", "trigger.every=5s"]
    assert config(tmp_path, *short).monitoring.port is None
    path, _, allowed = told(tmp_path, *short, "monitoring.port=0")
    assert path == "monitoring.ready.no_progress"
    assert allowed == "more than 15s: trigger.every, and the 10 s after which Spark tells of an idle query"
    config(tmp_path, "monitoring.ready.no_progress=16s", "trigger.every=5s", "monitoring.port=0")


def test_only_kafka_has_a_lag(tmp_path: Path) -> None:
    files = ["source.kafka=null", "source.file.path=data/in"]
    path, _, allowed = told(tmp_path, *files, "monitoring.port=0", "monitoring.ready.max_lag=5")
    assert path == "monitoring.ready.max_lag"
    assert allowed.startswith("only with a source in Kafka")
