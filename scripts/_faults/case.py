"""One job with a topic, a sink, dead letters and a folder of its own, to which faults happen; and whether it bears them."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from _faults import points, verdict
from _faults.driver import Driver
from _faults.servers import Servers
from _faults.verdict import Row
from jobs.core import audit as audits
from jobs.core import layers
from jobs.core.config import Recover
from jobs.core.ledger import NOWHERE
from jobs.core.migrations import migrate
from jobs.core.postgres import Database
from jobs.stream_table_join import Config, start

ROW = "order_id text, customer_id text, segment text, _reference_version text, _topic text, _partition int, _offset bigint"
COLUMNS = ["_topic", "_partition", "_offset", "order_id", "customer_id", "segment", "_reference_version"]
SEGMENTS = {"c0": "gold", "c1": "silver"}
Settings = dict[str, Any]


def orders(count: int, first: int = 0) -> list[bytes | None]:
    """Known and unknown customers in turn; every tenth record is bad, in one of several ways."""
    bad = (b"{", b"null", None, b'{"customer_id": "c1"}')
    return [
        bad[n // 10 % len(bad)]
        if n % 10 == 9
        else json.dumps({"order_id": f"o{n}", "customer_id": f"c{n % 3}"}).encode()
        for n in range(first, first + count)
    ]


class Case:
    """`sink` is delta, postgres, or staged, which is postgres without its short way for small batches.

    `settings` go over the defaults here, a group at a time.
    """

    def __init__(self, servers: Servers, spark: SparkSession, path: Path, sink: str, **settings: Any) -> None:
        self.servers, self.spark, self.path = servers, spark, path
        self.sink = "postgres" if sink == "staged" else sink
        self.name = f"{sink}_{uuid.uuid4().hex[:8]}"
        self.customers, self.table = f"customers_{self.name}", f"orders_{self.name}"
        self.topic, self.dead = servers.topic("orders"), servers.topic("dead")
        self.faults, self.sent = path / "faults", 0
        self._settings, self._more = settings, {points.STAGED: "1"} if sink == "staged" else {}
        self.segments: dict[str, set[str]] = {customer: {segment} for customer, segment in SEGMENTS.items()}
        self.faults.mkdir(parents=True)
        self._make_tables()
        self.config = self.load()

    def settings(self) -> Settings:
        sinks = {"delta": {"path": str(self.path / "sink")}, "postgres": {"table": self.table}}
        stack = self.servers.stack
        given = {
            "job": self.name,
            "kafka": {"bootstrap_servers": stack.bootstrap_servers, "timeout": "30s"},
            "postgres": {"url": stack.jdbc_url, "user": stack.user, "password": "${POSTGRES_PASSWORD}"},
            "source": {
                "kafka": {"topic": self.topic},
                "schema": "order_id STRING, customer_id STRING",
                "required": ["order_id"],
            },
            "reference": {
                "jdbc": {"table": self.customers, "key": "customer_id", "columns": ["segment"]},
                "refresh": {"every": "500ms", "watermark": "updated_at"},
            },
            "join": {"on": {"customer_id": "customer_id"}},
            "sink": {self.sink: sinks[self.sink]},
            "dead_letters": {"kafka": {"topic": self.dead}},
            "checkpoint": str(self.path / "checkpoint"),
            "retry": {"attempts": 3, "wait_initial": "50ms", "wait_max": "500ms", "timeout": "10s"},
            "breaker": {"open_for": "500ms", "probes": 1},
            "trigger": {"every": "100ms"},
        }
        return {**given, **self._settings}

    def start(self, *more: str, **armed: points.Act) -> Driver:
        """A process; `armed` is by point."""
        for point, act in armed.items():
            points.arm(self.faults, point, act)
        environment = {**self.servers.environment(), **self._more}
        return Driver(self.path / "job.yaml", self.faults, self.path / "log", environment, *more)

    @contextlib.contextmanager
    def running(self, *more: str) -> Iterator[Driver]:
        """A process that is killed at the end, if it still runs."""
        driver = self.start(*more)
        try:
            yield driver
        finally:
            driver.kill()

    def drain(self, recover: Recover | None = None, **settings: Any) -> None:
        """A start in this process, all that is there, and an end."""
        config = self.load(trigger={"available_now": True}, **settings).recovering(recover)
        assert start(self.spark, config).wait(120), "the job did not end"

    def send(self, count: int, partition: int = 0) -> None:
        """So many orders more."""
        self.send_values(orders(count, self.sent), partition)

    def send_values(self, values: Sequence[bytes | None], partition: int = 0) -> None:
        self.servers.send(self.topic, values, partition)
        self.sent += len(values)

    def ledger(self) -> list[dict[str, Any]]:
        """Records, oldest first, as they lie there."""
        if self.sink == "postgres":
            columns = ["seq", "kind", "batch_id", "start", "end", "counts", "note"]
            asked = "SELECT seq, kind, batch_id, start_offsets, end_offsets, counts, note FROM stream_patterns.ledger"
            found = self.servers.ask(f"{asked} WHERE job = %s ORDER BY seq", (self.name,))
            return [dict(zip(columns, row, strict=True)) for row in found]
        files = (self.path / "sink" / "_ledger" / self.name).glob("[0-9]*.json")
        lines = [json.loads(line) for file in files for line in _text(file).splitlines()]
        return [record for _, record in sorted({line["seq"]: line for line in lines}.items())]

    def batches(self) -> int:
        return sum(record["kind"] == "batch" for record in self.ledger())

    def end(self) -> dict[str, int]:
        """Where the ledger's last record ends, an offset a partition."""
        known = [record for record in self.ledger() if record["kind"] != "release" and record["end"] != NOWHERE]
        ends: dict[str, int] = json.loads(known[-1]["end"])[0].get(self.topic, {}) if known else {}
        return ends

    def covered(self) -> int:
        return sum(self.end().values())

    def caught_up(self) -> bool:
        return self.covered() >= self.sent

    def problems(self) -> list[str]:
        """What does not hold: by the job's own audit, and by a check that knows nothing of the job's code."""
        end = self.end()
        sent, letters = self.servers.records(self.topic), self.servers.records(self.dead)
        return [*verdict.problems(sent, self.rows(), letters, self.segments, end), *self.audit(), *self._ledger(end)]

    def check(self) -> None:
        """All that was sent has its outcome, once."""
        assert self.caught_up(), (self.end(), self.sent)
        assert self.problems() == []

    def change(self, customer: str, segment: str) -> None:
        """A new version of the reference table."""
        self.segments.setdefault(customer, set()).add(segment)
        again = "ON CONFLICT (customer_id) DO UPDATE SET segment = excluded.segment, updated_at = now()"
        self.servers.ask(f"INSERT INTO {self.customers} VALUES (%s, %s, now()) {again}", (customer, segment))

    def mixed(self) -> dict[int, set[str]]:
        """Batches whose rows have seen other versions of the reference table than the ledger says of the batch, and which."""
        rows, found = self.rows(), {}
        for batch in (record for record in self.ledger() if record["kind"] == "batch"):
            others = _versions(batch, rows) - {batch["note"]["reference_version"]}
            found.update({batch["batch_id"]: others} if others else {})
        return found

    def rows(self) -> list[Row]:
        if self.sink == "postgres":
            found = self.servers.ask(f"SELECT {', '.join(COLUMNS)} FROM {self.table}")
            return [Row(row[:3], *row[3:]) for row in found]
        if not (self.path / "sink" / "_delta_log").exists():
            return []
        table = self.spark.read.format("delta").load(str(self.path / "sink")).select(*COLUMNS)
        return [Row(tuple(row[:3]), *row[3:]) for row in table.collect()]

    def audit(self) -> list[str]:
        """What does not hold by the job's own audit."""
        return [f"audit: {check}" for check in audits.audit(self.spark, self.config).checks if not check.holds]

    def _ledger(self, end: Mapping[str, int]) -> list[str]:
        read = sum(record["counts"]["read"] for record in self.ledger() if record["kind"] == "batch")
        return [] if read >= sum(end.values()) else [f"the ledger has {read} records read, and ends at {end}"]

    def _make_tables(self) -> None:
        ask = self.servers.ask
        ask(f"CREATE TABLE {self.customers} (customer_id text PRIMARY KEY, segment text, updated_at timestamptz)")
        for customer, segment in SEGMENTS.items():
            ask(f"INSERT INTO {self.customers} VALUES (%s, %s, now())", (customer, segment))
        if self.sink == "postgres":
            ask(f"CREATE TABLE {self.table} ({ROW})")

    def load(self, **settings: Any) -> Config:
        """As the loader reads it from the file, which is what a process gets, too."""
        file = self.path / ("other.yaml" if settings else "job.yaml")
        file.write_text(json.dumps({**self.settings(), **settings}))
        config = layers.load(Config, file, None, (), self.servers.environment()).config
        if self.sink == "postgres" and not settings:
            assert config.postgres
            migrate(Database(config.postgres), config)
        return config


def _versions(batch: Mapping[str, Any], rows: list[Row]) -> set[str]:
    """That the batch's rows name; a miss names none."""
    start, end = (dict.items(next(iter((json.loads(batch[side])[0] or {}).values()), {})) for side in ("start", "end"))
    first, after = dict(start), dict(end)
    inside = (row for row in rows if first.get(str(row.place[1]), 0) <= row.place[2] < after.get(str(row.place[1]), 0))
    return {row.version for row in inside if row.version is not None}


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError:  # folded into a segment meanwhile
        return ""
