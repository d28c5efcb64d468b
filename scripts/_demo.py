"""The demo itself, run by scripts/demo inside the environment.

Orders stream in, about one in a hundred of them bad in every way; the join runs under spark-submit; half-way through, some
customers change in PostgreSQL, and later orders show it. Then the audit counts every record.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import _demo_report
import psycopg2
from _lib.classes import QUICK
from _orders import TOPIC, customer, orders
from _stack import ServerFailed, Stack
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from psycopg2.extras import execute_values
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jobs.core.errors import JobError

ROOT = Path(__file__).resolve().parents[1]
CUSTOMERS = 10_000
CHANGED = 500
STALL_S = 90  # the job has stopped if nothing moves for so long
screen = Console()


class DemoFailed(Exception):
    """Why the demo is not what it should be."""


def main() -> int:
    asked = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _folder(asked.keep) as folder:
            _demo(asked.rows, folder, asked.keep)
    except (DemoFailed, ServerFailed, JobError) as failure:
        print(f"demo: FAILED: {failure}")
        return 1
    except KeyboardInterrupt:
        print("demo: FAILED: interrupted")
        return 130
    print("demo: OK")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The stream-table join on a real broker and a real database.")
    parser.add_argument("--rows", type=int, default=100_000, help="how many orders stream in")
    parser.add_argument("--keep", action="store_true", help="leave broker, database and data as they are at the end")
    asked = parser.parse_args()
    if asked.rows < 100:
        parser.error(f"--rows {asked.rows}: at least 100 are needed to show anything")
    return asked


@contextlib.contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    if keep:
        yield Path(tempfile.mkdtemp(prefix="stream-patterns-demo-"))
        return
    with tempfile.TemporaryDirectory(prefix="stream-patterns-demo-") as name:
        yield Path(name)


def _demo(rows: int, folder: Path, keep: bool) -> None:
    with _step("starting Kafka and PostgreSQL"):
        stack = Stack.start(folder / "stack")
    try:
        with _step(f"making topics and {CUSTOMERS:,} customers"):
            _topics(stack)
            _customers(stack)
        os.environ.update(stack.environment())
        report = _demo_report.DemoReport(_settings(folder)[1::2], folder / "audit.log")
        began = time.monotonic()
        with _job(folder) as job:
            _stream(stack, folder, rows, job, report.prepare)
            took = time.monotonic() - began
        with _step("auditing"):
            found = report.read()
        screen.print(*_demo_report.tables(found, took), sep="\n")
        if wrong := _demo_report.wrong(found.report, rows):
            raise DemoFailed(wrong)
    finally:
        if keep:
            screen.print(f"kept: {folder} (scripts/stack down --dir {folder / 'stack'} stops the servers)")
        else:
            stack.stop()


@contextlib.contextmanager
def _step(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    screen.print(f"[dim]{what}: {time.monotonic() - began:.1f} s[/dim]")


def _topics(stack: Stack) -> None:
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    for future in admin.create_topics(
        [NewTopic("orders", 4, 1, config=TOPIC), NewTopic("orders.dead-letters", 1, 1, config=TOPIC)]
    ).values():
        future.result(30)


def _customers(stack: Stack) -> None:
    with contextlib.closing(psycopg2.connect(**stack.dsn())) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE customers (customer_id text PRIMARY KEY, name text NOT NULL, segment text NOT NULL,"
            " country text NOT NULL, updated_at timestamptz NOT NULL DEFAULT now())"
        )
        made = [customer(number) for number in range(CUSTOMERS)]
        execute_values(cursor, "INSERT INTO customers (customer_id, name, segment, country) VALUES %s", made)


def _change_customers(stack: Stack) -> None:
    with contextlib.closing(psycopg2.connect(**stack.dsn())) as connection, connection, connection.cursor() as cursor:
        changed = tuple(customer(number)[0] for number in range(CHANGED))
        cursor.execute(
            "UPDATE customers SET segment = 'platinum', updated_at = now() WHERE customer_id IN %s", (changed,)
        )


def _settings(folder: Path) -> list[str]:
    settings = {
        "sink.delta.path": folder / "enriched_orders",
        "checkpoint": folder / "checkpoint",
        "trigger.every": "1s",
        "reference.refresh.every": "1s",
        "scaling.max_offsets_per_trigger": 25_000,
    }
    return [text for key, value in settings.items() for text in ("--set", f"{key}={value}")]


@contextlib.contextmanager
def _job(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The job under spark-submit, as a user starts it; ended by SIGTERM, as a cluster ends it."""
    submit = [str(Path(os.environ["SPARK_HOME"]) / "bin" / "spark-submit"), "--jars", os.environ["PATTERNS_JARS"]]
    submit += ["--driver-java-options", QUICK]
    command = [*submit, str(ROOT / "jobs" / "stream_table_join.py"), "--env", "local", *_settings(folder)]
    with (folder / "job.log").open("wb") as log:
        job = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            yield job
        finally:
            code = _ended(job)
    if code != 0:
        raise DemoFailed(f"the job ended with exit {code}: {_last_words(folder)}")


def _ended(job: subprocess.Popen[bytes]) -> int:
    if job.poll() is None:
        job.send_signal(signal.SIGTERM)
    try:
        return job.wait(60)
    except subprocess.TimeoutExpired:
        job.kill()
        return job.wait()


def _stream(
    stack: Stack, folder: Path, rows: int, job: subprocess.Popen[bytes], before_last: Callable[[], None]
) -> None:
    """Half of the orders, then changed customers, then the rest once the job has seen the change."""
    shown = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("records"),
        TimeElapsedColumn(),
    ]
    with Progress(*shown, console=screen) as progress:
        bar = progress.add_task("starting the job", total=rows)

        def seen() -> int:
            entries = _ledger(folder)
            progress.update(bar, completed=sum(entry["counts"]["read"] for entry in entries))
            return sum(entry["counts"]["read"] for entry in entries)

        _produce(stack, 0, rows // 2)
        _until(lambda: seen() > 0, job, folder, seen)
        progress.update(bar, description="joining")
        _until(lambda: seen() >= rows // 2, job, folder, seen)
        before = _versions(folder)
        _change_customers(stack)
        progress.update(bar, description=f"{CHANGED} customers changed")
        _produce_until_newer(stack, folder, rows // 2, job, before, seen)
        sent = _sent(stack)
        _produce(stack, sent, rows - sent)
        progress.update(bar, description="joining with the new version")
        before_last()
        _until(lambda: seen() >= rows, job, folder, seen)
        progress.update(bar, description="joined")


def _produce_until_newer(
    stack: Stack, folder: Path, first: int, job: subprocess.Popen[bytes], before: set[str], seen: Callable[[], int]
) -> None:
    """A record now and then, so that there are batches, until one of them was joined with a newer version."""

    def newer() -> bool:
        sent = _sent(stack)
        if seen() >= sent:
            _produce(stack, sent, 1)
        return _versions(folder) != before

    _until(newer, job, folder, seen)


def _sent(stack: Stack) -> int:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": stack.bootstrap_servers, "group.id": "demo"})
    try:
        return sum(consumer.get_watermark_offsets(TopicPartition("orders", p), timeout=10)[1] for p in range(4))
    finally:
        consumer.close()


def _produce(stack: Stack, first: int, count: int) -> None:
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "linger.ms": 20, "message.max.bytes": 8_000_000})
    for number, value in enumerate(orders(count, CUSTOMERS, first=first), first):
        producer.produce("orders", value=value, key=f"o{number}", partition=number % 4, on_delivery=_delivered)
        if number % 1000 == 0:
            producer.poll(0)
    if producer.flush(60):
        raise DemoFailed("the broker did not take all orders within 60 s")


def _delivered(error: KafkaError | None, message: object) -> None:
    if error is not None:
        raise DemoFailed(f"the broker did not take an order: {error}")


def _until(done: Callable[[], bool], job: subprocess.Popen[bytes], folder: Path, seen: Callable[[], int]) -> None:
    last, moved = seen(), time.monotonic()
    while not done():
        if job.poll() is not None:
            raise DemoFailed(f"the job ended with exit {job.returncode}: {_last_words(folder)}")
        if (now := seen()) != last:
            last, moved = now, time.monotonic()
        if time.monotonic() - moved > STALL_S:
            raise DemoFailed(f"no batch in {STALL_S} s: {_last_words(folder)}")
        time.sleep(0.2)


def _ledger(folder: Path) -> list[dict[str, dict[str, int]]]:
    path = folder / "enriched_orders" / "_ledger" / "stream_table_join"
    found: dict[int, dict[str, dict[str, int]]] = {}
    for file in sorted(path.glob("*.json")) if path.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # folded into a segment meanwhile: the next look finds it there
            found |= {entry["seq"]: entry for entry in map(json.loads, file.read_text().splitlines())}
    return list(found.values())


def _versions(folder: Path) -> set[str]:
    return {str(entry["note"]["reference_version"]) for entry in _ledger(folder)}


def _last_words(folder: Path) -> str:
    """What the job said last, log lines aside; its whole log is kept for whoever wants to know more."""
    text = (folder / "job.log").read_text(errors="replace")
    kept = Path(tempfile.gettempdir()) / f"stream-patterns-demo-{os.getpid()}.log"
    kept.write_text(text)
    said = [
        line
        for line in text.splitlines()
        if re.match(r"[A-Za-z_.]+(Error|Exception|Missing|Mismatch|Refused|Stale)\b", line)
    ]
    return f"{said[-1] if said else 'it did not say why'} (its log: {kept})"


if __name__ == "__main__":
    sys.exit(main())
