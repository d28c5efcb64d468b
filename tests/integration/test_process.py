"""The job as a process of its own: exit codes, and a secret that must not be seen anywhere."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.core.session import ROOT

CANARY = "canary-4f1d9c"


def submit(config: Path, environment: dict[str, str], log: Path, *more: str) -> subprocess.Popen[bytes]:
    """spark-submit, as a user would; what it says goes to `log`."""
    program = str(Path(os.environ["SPARK_HOME"]) / "bin" / "spark-submit")
    jars = ["--jars", os.environ["PATTERNS_JARS"]]
    command = [program, "--master", "local[2]", "--conf", "spark.ui.enabled=false", *jars, *more]
    with log.open("wb") as out:
        script = [str(ROOT / "jobs" / "stream_table_join.py"), "--config", str(config), "--env", "local"]
        return subprocess.Popen([*command, *script], env={**os.environ, **environment}, stdout=out, stderr=out)


def until(done: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, limit_s: float = 120) -> None:
    deadline = time.monotonic() + limit_s
    while not done():
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue


def settings(broker: Any, table: Callable[..., str], path: Path) -> dict[str, Any]:
    orders = broker.topic("orders")
    broker.send(orders, [b'{"order_id": "o1", "customer_id": "c1"}', b"{"] * 20)
    return {
        "source": {"kafka": {"topic": orders}, "schema": "order_id STRING, customer_id STRING"},
        "reference": {"jdbc": {"table": table("customer_id text", [("c1",)]), "key": "customer_id"}},
        "join": {"on": {"customer_id": "customer_id"}},
        "sink": {"delta": {"path": str(path / "sink")}},
        "dead_letters": {"kafka": {"topic": broker.topic("dead")}},
        "scaling": {"max_offsets_per_trigger": 4},
        "trigger": {"every": "100ms"},
    }


def test_a_reference_table_gone_too_long_ends_the_job_with_4(
    broker: Any, table: Any, job: Any, stack: Any, database: Any, tmp_path: Path
) -> None:
    given = settings(broker, table, tmp_path)
    given["reference"] |= {"refresh": {"every": "200ms"}, "max_staleness": "1s"}
    made = job(given)
    log, ledger = tmp_path / "log", tmp_path / "sink" / "_ledger" / "join"
    running = submit(tmp_path / "job.yaml", stack.environment(), log)
    until(lambda: bool(list(ledger.glob("*.json"))), running, log)
    database.cursor().execute(f"DROP TABLE {given['reference']['jdbc']['table']}")
    assert running.wait(90) == 4, log.read_text()[-3000:]
    assert "ReferenceStale: reference" in log.read_text()
    report = made.audit()
    assert report.holds, report.checks


def test_no_secret_is_seen_when_everything_fails(broker: Any, table: Any, configured: Any, tmp_path: Path) -> None:
    events = tmp_path / "events"
    events.mkdir()
    closed = {"url": "jdbc:postgresql://127.0.0.1:9/patterns", "user": "patterns", "password": "${POSTGRES_PASSWORD}"}
    configured({**settings(broker, table, tmp_path), "postgres": closed})
    log = tmp_path / "log"
    watched = ["--conf", "spark.eventLog.enabled=true", "--conf", f"spark.eventLog.dir=file://{events}"]
    verbose = ["--conf", "spark.log.level=INFO"]
    running = submit(tmp_path / "job.yaml", {"POSTGRES_PASSWORD": CANARY}, log, *watched, *verbose)
    assert running.wait(120) == 3, log.read_text()[-3000:]
    assert "DependencyMissing: reference table" in log.read_text()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.parent.parent == events or path.parent == events for path in written), "no event log was written"
    assert [path for path in written if CANARY.encode() in path.read_bytes()] == []
