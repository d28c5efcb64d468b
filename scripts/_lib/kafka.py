"""A real Kafka broker from its JARs alone: one node, broker and controller in one process, on loopback."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from _lib.processes import Process, failed, free_ports, start, until

READY_S = 90
STOP = ((signal.SIGTERM, 10), (signal.SIGKILL, 5))
SETTINGS = """process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.cleaner.dedupe.buffer.size=16777216
"""
FORMAT = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")  # a JVM that lives for a second
QUIET = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true")


def ports() -> dict[str, int]:
    return dict(zip(("port", "controller"), free_ports(2), strict=True))


def launch(folder: Path, log: Path, java: Path, jars: Sequence[Path], at: dict[str, int]) -> Process:
    """Formats the data at the first start, starts the broker and waits until it serves."""
    folder.mkdir(parents=True, exist_ok=True)
    settings, made = folder / "server.properties", folder / "data" / "meta.properties"
    settings.write_text(SETTINGS.format(data=folder / "data", **at))
    classes = ("-cp", os.pathsep.join(map(str, jars)))
    fresh = not made.exists()
    if fresh:
        _format([java, *FORMAT, *QUIET, *classes], settings, log)
    cluster, seen = _cluster(made), log.stat().st_size
    process = start([java, "-Xms256m", "-Xmx512m", *QUIET, *classes, "kafka.Kafka", settings], log, folder, os.environ)
    if until(lambda: _serves(at["port"], cluster) or not process.alive, READY_S) and process.alive:
        return process
    process.stop(STOP)
    if fresh:
        shutil.rmtree(folder / "data")  # it names the ports: the next attempt has others
    raise failed("the Kafka broker did not start", log, seen)


def _format(java: Sequence[str | Path], settings: Path, log: Path) -> None:
    cluster = base64.urlsafe_b64encode(b"\x00" + uuid.uuid4().bytes[1:]).decode().rstrip("=")  # no `-` in front
    command = [*java, "kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", settings]
    with log.open("ab") as out:
        seen = out.tell()
        code = subprocess.run(command, stdout=out, stderr=out, check=False).returncode
    if code != 0:
        raise failed("Kafka's data folder could not be made", log, seen)


def _cluster(made: Path) -> str:
    """The cluster's id, as its data folder has it."""
    return next(line[len("cluster.id=") :] for line in made.read_text().splitlines() if line.startswith("cluster.id="))


def _serves(port: int, cluster: str) -> bool:
    """This broker, and no other that took the port, answers and counts itself among those that are up."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        found = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0}).list_topics(timeout=5)
    except (OSError, KafkaException):
        return False
    return len(found.brokers) == 1 and found.cluster_id == cluster
