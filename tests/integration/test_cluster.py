"""The main job on a real cluster: what travels is all that the workers need."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from _cluster import QUICK, Account, account, cluster, open_to_all
from _lib import travel, venv
from _lib.places import ROOT

RECORDS = 400
SIZES = {  # over those of conf/env/cluster.yaml, which two small workers do not have
    "spark.executor.cores": 1,
    "spark.executor.memory": "600m",
    "spark.driver.memory": "1g",
    "spark.default.parallelism": 2,
    "spark.sql.shuffle.partitions": 2,
    "spark.databricks.delta.snapshotPartitions": 1,
    "spark.driver.extraJavaOptions": QUICK,
    "spark.executor.extraJavaOptions": QUICK,
    "spark.ui.enabled": "false",
    "spark.executorEnv.PYTHONVERBOSE": 1,  # each import, and the file that it came from, on standard error
}


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that other users may enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory(prefix="stream-patterns-cluster-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def checkout(folder: Path) -> Path:
    """A copy that nobody else can read; archives that are built already are shared with this one."""
    folder.mkdir(mode=0o700)
    for name in ("conf", "jobs", "scripts"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("spark-defaults.conf", "pyproject.toml"):
        shutil.copy2(ROOT / name, folder)
    (ROOT / "build").mkdir(exist_ok=True)
    (folder / "build").symlink_to(ROOT / "build")
    environment(folder / ".venv")
    return folder


def environment(made: Path) -> None:
    """Stands for the copy's own: the packages and the Python of the tests, with the stamp that the copy asks for."""
    library = made / "lib" / travel.MINOR
    for folder in (made / "bin", library):
        folder.mkdir(parents=True)
    (library / "site-packages").symlink_to(venv.site_packages())
    python = made / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    subprocess.run([python, "-c", "from _lib import venv; venv.stamp()"], cwd=made.parent / "scripts", check=True)


def submitted(copy: Path, config: Path, master: str, who: Account, stack: Any) -> subprocess.CompletedProcess[str]:
    settings = [part for key, value in SIZES.items() for part in ("--set", f"spark.{key}={value}")]
    named = ["--config", str(config), "--env", "cluster", "--master", master, "--python", who.python]
    command = [sys.executable, str(copy / "scripts" / "submit"), "stream_table_join", *named, *settings]
    variables = {**os.environ, **stack.environment(), "SPARK_LOCAL_IP": "127.0.0.1"}
    piped = {"capture_output": True, "text": True, "timeout": 300}
    return subprocess.run(command, env=variables, cwd=copy, umask=0o022, **piped)


def settings(broker: Any, table: Callable[..., str], shared: Path) -> dict[str, Any]:
    """Two partitions of known and unknown customers in turn, every tenth record bad."""
    topic, dead = broker.topic("orders", 2), broker.topic("dead")
    for partition in range(2):
        broker.send(topic, [record(n) for n in range(partition, RECORDS, 2)], partition)
    customers = table("customer_id text primary key, segment text", [("c0", "gold"), ("c1", "silver")])
    return {
        "source": {
            "kafka": {"topic": topic},
            "schema": "order_id STRING, customer_id STRING",
            "required": ["order_id"],
        },
        "reference": {"jdbc": {"table": customers, "key": "customer_id", "columns": ["segment"]}},
        "join": {"on": {"customer_id": "customer_id"}},
        "sink": {"delta": {"path": f"file://{open_to_all(shared / 'sink')}"}},
        "checkpoint": f"file://{shared / 'checkpoint'}",
        "dead_letters": {"kafka": {"topic": dead}},
    }


def record(number: int) -> bytes:
    return (
        b"{" if number % 10 == 0 else json.dumps({"order_id": f"o{number}", "customer_id": f"c{number % 4}"}).encode()
    )


def test_the_job_on_a_standalone_cluster(
    job: Callable[..., Any],
    broker: Any,
    table: Callable[..., str],
    stack: Any,
    tmp_path: Path,
    place: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """The workers have Spark, Java and Python, and cannot read the checkout (or, run by the same user, do not)."""
    who, copy = account(), checkout(place / "checkout")
    record_property("workers", f"user {who.name}, {who.python}")
    if not who.switch:
        warnings.warn("the workers ran as the user who runs the tests: no other could be had", stacklevel=1)
    assert who.can("cat", str(copy / "jobs" / "__init__.py")) == (not who.switch)
    made = job(settings(broker, table, open_to_all(place / "shared")))
    with cluster(place, who) as (running, master):
        done = submitted(copy, tmp_path / "job.yaml", master, who, stack)
    said = running.said()
    assert done.returncode == 0, done.stderr[-3000:] + said[-3000:]
    assert stack.password not in said
    assert str(ROOT) not in said
    assert str(copy) not in said
    assert "/deps/msgspec/__init__.py" in said
    report = made.audit()
    assert report.holds, report.checks
    assert (report.counts.read, report.lag, report.reasons) == (RECORDS, 0, {"MALFORMED": RECORDS // 10})
