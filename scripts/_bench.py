"""The bench itself, run by scripts/bench inside the environment."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import _bench_enrichment
import _bench_postgres
import _bench_replay
import psycopg2
from _events import events_of, user_of
from _lib.places import ROOT
from _orders import TOPIC, customer, orders
from _stack import Stack
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from psycopg2.extras import execute_values
from rich.console import Console
from rich.table import Table

CUSTOMERS = USERS = 100_000
JOIN = "stream_table_join"
PARTITIONS = 4
WHAT = ("join", "enrichment", "as-of", "growth", "soak", "postgres", "append", "replay", "replay-growth")
ALONE = {"replay-growth": "_bench_growth.py", "as-of": "_bench_as_of.py"}  # they need no servers
screen = Console(width=110)


class Bench:
    """One stack, its topics, and runs against them."""

    def __init__(self, stack: Stack, folder: Path, before: Path | None = None) -> None:
        self._stack, self._folder, self._runs = stack, folder, 0
        self._before = before  # another checkout of this project

    @property
    def other(self) -> str:
        """The program that the job is measured against: the job as it was, or the bare one."""
        return "before" if self._before else "bare"

    @property
    def servers(self) -> str:
        return self._stack.bootstrap_servers

    def topic(self, name: str, values: Iterable[bytes | None], keyed: bool = False) -> str:
        """A topic of such values: in turn over its partitions, or by user, so that each has its events in order."""
        admin = AdminClient({"bootstrap.servers": self._stack.bootstrap_servers})
        for future in admin.create_topics(
            [NewTopic(name, PARTITIONS, 1, config=TOPIC), NewTopic(f"{name}.dead", 1, 1, config=TOPIC)]
        ).values():
            future.result(30)
        settings = {"bootstrap.servers": self._stack.bootstrap_servers, "linger.ms": 50, "message.max.bytes": 8_000_000}
        producer = Producer({**settings, "queue.buffering.max.messages": 1_000_000})
        for number, value in enumerate(values):
            place = user_of(number, USERS) if keyed else number
            producer.produce(name, value=value, partition=place % PARTITIONS)
            if number % 10_000 == 0:
                producer.poll(0.1)
        assert producer.flush(120) == 0
        return name

    def customers(self, count: int) -> None:
        """The reference table, made anew."""
        with (
            contextlib.closing(psycopg2.connect(**self._stack.dsn())) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("DROP TABLE IF EXISTS customers")
            cursor.execute(
                "CREATE TABLE customers (customer_id text PRIMARY KEY, name text, segment text, country text,"
                " updated_at timestamptz NOT NULL DEFAULT now())"
            )
            made = [customer(number) for number in range(count)]
            execute_values(
                cursor, "INSERT INTO customers (customer_id, name, segment, country) VALUES %s", made, page_size=10_000
            )

    def run(
        self,
        program: str,
        topic: str,
        batch: int,
        more: Mapping[str, object] | None = None,
        job: str = JOIN,
        config: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """One process to the end of the topic, with `more` settings than its config has; what it measured of itself."""
        self._runs += 1
        place = self._folder / f"run{self._runs}"
        file = place.with_suffix(".yaml")
        if config:
            file.write_text(json.dumps(config))  # which is YAML
        settings = {
            "source.kafka.topic": topic,
            "dead_letters.kafka.topic": f"{topic}.dead",
            "sink.delta.path": f"{place}/sink",
            "checkpoint": f"{place}/checkpoint",
            "scaling.max_offsets_per_trigger": batch,
            "trigger.available_now": "true",
            "trigger.every": "null",
            **(more or {}),
        }
        known = "job" if program == "before" else program
        asked = json.dumps({"program": known, "job": job, "settings": settings, "file": config and str(file)})
        tree = self._before if self._before and program == "before" else ROOT
        script = str(tree / "scripts" / "_bench_run.py")
        places = {"PYTHONPATH": str(tree), "SPARK_CONF_DIR": str(tree)}
        environment = {**os.environ, **places, **self._stack.environment()}
        done = subprocess.run([sys.executable, script, asked], capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(f"{program} on {topic} failed:\n{done.stderr[-3000:]}")
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))

    def appended(self, topic: str, batch: int) -> str:
        """The log that the events of a topic make."""
        found = self.run("job", topic, batch, job="event_append")
        screen.print(f"{found['rows']:,} events appended, {found['events_per_s']:,.0f} a second")
        return f"{self._folder}/run{self._runs}/sink"

    def pairs(self, topic: str, batch: int, count: int, job: str = JOIN) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """(job, other program) so many times, the order changed each time."""
        found = []
        for number in range(count):
            order = ["job", self.other] if number % 2 == 0 else [self.other, "job"]
            done = {program: self.run(program, topic, batch, job=job) for program in order}
            found.append((done["job"], done[self.other]))
        return found


def join(bench: Bench, events: int, pairs: int, only: int | None) -> None:
    """This job against the other program: large batches and small ones, clean input and 1 % bad."""
    bench.customers(CUSTOMERS)
    shown = Table("input", "batch", *_heads(bench.other))
    for name, share in (("clean", 0.0), ("1 % bad", 0.01)):
        for batch, count in ((200_000, events), (1_000, 40_000)):
            if only not in (None, batch):
                continue
            topic = bench.topic(f"orders-{batch}-{int(share * 100)}", orders(count, CUSTOMERS, share))
            shown.add_row(name, f"{batch:,}", *_compared(bench.pairs(topic, batch, pairs), count, share))
    screen.print(shown)


def _heads(other: str) -> list[str]:
    return ["events/s job", other, "ratio", "CPU s/million job", other, "batch ms job", other, "ratio"]


def _compared(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]], count: int, share: float) -> list[str]:
    for job, other in pairs:
        rows = sorted((job["rows"], other["rows"]))  # what rejects nothing has them all
        if rows[1] > count or (rows != [count, count] if share == 0 else not 0.98 * count < rows[0] < count):
            raise SystemExit(f"row counts are wrong: {job['rows']} and {other['rows']} of {count}")
    rate = [(job["events_per_s"], other["events_per_s"]) for job, other in pairs]
    cpu = [(job["cpu_s"] / count * 1e6, other["cpu_s"] / count * 1e6) for job, other in pairs]
    took = [(statistics.median(job["batch_ms"]), statistics.median(other["batch_ms"])) for job, other in pairs]
    return [*_medians(rate), _ratio(rate), *_medians(cpu), *_medians(took), _ratio(took)]


def _medians(pairs: Sequence[tuple[float, float]]) -> list[str]:
    return [f"{statistics.median(side):,.0f}" for side in zip(*pairs, strict=True)]


def _ratio(pairs: Sequence[tuple[float, float]]) -> str:
    """The median of the pairs' own ratios, and the lowest and the highest of them."""
    found = sorted(job / other for job, other in pairs)
    return f"{statistics.median(found):.2f} ({found[0]:.2f} to {found[-1]:.2f})"


def growth(bench: Bench, events: int) -> None:
    """Batch time against the size of the reference table, broadcast and shuffled."""
    topic, batch = bench.topic("orders", orders(events, CUSTOMERS, 0.0)), 100_000
    shown = Table("reference rows", "batch ms broadcast", "shuffled", "ratio")
    for count in (10**3, 10**4, 10**5, 10**6):
        bench.customers(count)
        sides = [bench.run("job", topic, batch, {"reference.broadcast_max_rows": most}) for most in (10**7, 1)]
        took = [statistics.median(found["batch_ms"]) for found in sides]
        shown.add_row(f"{count:,}", *(f"{ms:,.0f}" for ms in took), f"{took[0] / took[1]:.2f}")
    screen.print(shown)
    screen.print(
        "Broadcasting should end where its ratio passes 1, or where the table no longer fits into an executor."
    )


def soak(bench: Bench, batches: int) -> None:
    """Memory after few batches and after many."""
    bench.customers(CUSTOMERS)
    shown = Table(
        "batches", "heap after collection MB", "cached partitions", "Python MB", "median of the last ten batches ms"
    )
    for count in (batches // 10, batches):
        topic = bench.topic(f"orders-{count}", orders(1_000 * count, CUSTOMERS, 0.01))
        found = bench.run("job", topic, 1_000)
        last = statistics.median(found["batch_ms"][-10:])
        shown.add_row(
            str(count), *(f"{found[key]:,.0f}" for key in ("heap_mb", "cached_blocks", "python_mb")), f"{last:,.0f}"
        )
    screen.print(shown)


def append(bench: Bench, events: int, pairs: int) -> None:
    """Events into a log, against a plain append of the same rows; and what a batch costs as the log grows."""
    batch = 100_000
    topic = bench.topic("events", events_of(events, USERS))
    found = bench.pairs(topic, batch, pairs, "event_append")
    shown = Table("batch", *_heads(bench.other))
    shown.add_row(f"{batch:,}", *_compared(found, events, 0.0))
    screen.print(shown)
    took = found[0][0]["batch_ms"]
    tenth = max(1, len(took) // 10)
    first, last = (statistics.median(part) for part in (took[:tenth], took[-tenth:]))
    screen.print(f"Median of the first and of the last {tenth} batches: {first:,.0f} and {last:,.0f} ms.")


def replay(bench: Bench, folder: Path, events: int, rounds: int) -> None:
    """A topic of events, appended to a log, and folded by several programs; all come to the same states."""
    topic = bench.topic("events", events_of(events, USERS), keyed=True)
    log = bench.appended(topic, max(events // 10, 1_000))
    screen.print(_bench_replay.replay(bench.servers, topic, log, folder, events, rounds))


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--against", type=Path, help="another checkout of this project, in the bare program's place")
    parser.add_argument("--batch", type=int, choices=[200_000, 1_000], help="only batches of this size")
    parser.add_argument("--batches", type=int, default=500)
    parser.add_argument("--rows", type=int, default=500_000)
    asked = parser.parse_args()
    if asked.what in ALONE:
        return subprocess.run([sys.executable, Path(__file__).with_name(ALONE[asked.what])]).returncode
    with (
        tempfile.TemporaryDirectory(prefix="stream-patterns-bench-") as name,
        Stack.start(Path(name) / "stack") as stack,
    ):
        bench = Bench(stack, Path(name), asked.against and asked.against.resolve())
        if asked.what == "postgres":
            screen.print(_bench_postgres.postgres(stack, asked.rows, asked.pairs))
        elif asked.what == "join":
            join(bench, asked.events, asked.pairs, asked.batch)
        elif asked.what == "enrichment":
            screen.print(_bench_enrichment.enrichment(bench, stack, asked.events, asked.pairs))
        elif asked.what == "replay":
            replay(bench, Path(name), asked.events, asked.pairs)
        elif asked.what == "append":
            append(bench, asked.events, asked.pairs)
        elif asked.what == "growth":
            growth(bench, asked.events)
        else:
            soak(bench, asked.batches)
    return 0


if __name__ == "__main__":
    sys.exit(main())
