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
from _faults.kinds import KINDS, ROW, Places, Settings
from _faults.servers import Servers
from _faults.verdict import Row
from jobs.core import audit as audits
from jobs.core import layers
from jobs.core.config import JobConfig, Recover
from jobs.core.ledger import NOWHERE
from jobs.core.migrations import migrate
from jobs.core.postgres import Database
from jobs.core.running import Running

PLACE = ["_topic", "_partition", "_offset"]
CUSTOMER = "customer_id text PRIMARY KEY, segment text, edition int DEFAULT 0, updated_at timestamptz DEFAULT now()"
SEGMENTS = {"c0": "gold", "c1": "silver"}
OF_CUSTOMERS = ("on_miss", "wait_for", "max_staleness")  # settings that each kind of job has at another place


def orders(count: int, first: int = 0) -> list[bytes | None]:
    """Known and unknown customers in turn, each order in a currency of its own; every tenth is bad, in one of several ways."""
    bad = (b"{", b"null", None, b'{"customer_id": "c1"}')
    return [
        bad[n // 10 % len(bad)]
        if n % 10 == 9
        else json.dumps({"order_id": f"o{n}", "customer_id": f"c{n % 3}", "currency": f"K{n}"}).encode()
        for n in range(first, first + count)
    ]


class Case:
    """`kind` is one of `_faults.kinds`.

    `settings` go over the defaults here, a group at a time, but for those of `OF_CUSTOMERS`.
    """

    def __init__(self, servers: Servers, spark: SparkSession, path: Path, kind: str, **settings: Any) -> None:
        self.servers, self.spark, self.path = servers, spark, path
        self.kind = KINDS[kind]
        self.sink = self.kind.sink
        self.name = f"{kind}_{uuid.uuid4().hex[:8]}"
        self.customers, self.table = f"customers_{self.name}", f"orders_{self.name}"
        self.topic, self.dead = servers.topic("orders"), servers.topic("dead")
        self.faults, self.sent, self._edition = path / "faults", 0, 0
        self._settings, self._more = settings, {points.STAGED: "1"} if kind == "staged" else {}
        self.segments: dict[str, set[str]] = {customer: {segment} for customer, segment in SEGMENTS.items()}
        self.faults.mkdir(parents=True)
        self._make_tables()
        self.config = self.load()

    def _given(self) -> Settings:
        """What every kind says."""
        sinks = {"delta": {"path": str(self.path / "sink")}, "postgres": {"table": self.table}}
        stack = self.servers.stack
        return {
            "job": self.name,
            "kafka": {"bootstrap_servers": stack.bootstrap_servers, "timeout": "30s"},
            "postgres": {"url": stack.jdbc_url, "user": stack.user, "password": "${POSTGRES_PASSWORD}"},
            "source": {"kafka": {"topic": self.topic}, "schema": self.kind.schema, "required": ["order_id"]},
            "sink": {self.sink: sinks[self.sink]},
            "dead_letters": {"kafka": {"topic": self.dead}},
            "checkpoint": str(self.path / "checkpoint"),
            "retry": {"attempts": 3, "wait_initial": "50ms", "wait_max": "500ms", "timeout": "10s"},
            "breaker": {"open_for": "500ms", "probes": 1},
            "trigger": {"every": "100ms"},
        }

    def _all(self, settings: Settings) -> Settings:
        asked = {**self._settings, **settings}
        customers = {name: asked.pop(name) for name in OF_CUSTOMERS if name in asked}
        places = Places(self.customers, self.servers.stack.rates_url, str(self.path / "parked"))
        return {**self._given(), **self.kind.joined(places, **customers), **asked}

    def start(self, *more: str, **armed: points.Act) -> Driver:
        """A process; `armed` is by point."""
        for point, act in armed.items():
            points.arm(self.faults, point, act)
        environment = {**self.servers.environment(), **self._more}
        places = (self.path / "job.yaml", self.faults, self.path / "log")
        return Driver(*places, environment, *more, job=self.kind.job.__name__)

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
        assert self._begun(config).wait(120), "the job did not end"

    def begin(self, **settings: Any) -> Running:
        """A start in this process."""
        return self._begun(self.load(**settings))

    def _begun(self, config: JobConfig) -> Running:
        running: Running = self.kind.job.start(self.spark, config)
        return running

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

    def outcomes(self) -> tuple[int, int, int]:
        """How many records the ledger has as written, as dead letters, and as waiting."""
        counts = [record["counts"] for record in self.ledger()]
        written, dead, waiting = (sum(one[name] for one in counts) for name in ("written", "dead_letters", "parked"))
        return written, dead, waiting

    def version(self) -> str:
        """Of the customers, by the newest record."""
        noted: str = self.ledger()[-1]["note"][self.kind.noted]
        return noted

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
        wrong = verdict.problems(sent, self.rows(), letters, self.segments, end, self.kind.rates)
        return [*wrong, *self.audit(), *self._ledger(end)]

    def check(self) -> None:
        """All that was sent has its outcome, once."""
        assert self.caught_up(), (self.end(), self.sent)
        problems = self.problems()
        assert not problems, problems

    def change(self, customer: str, segment: str) -> None:
        """A new version of the reference table, and its next edition, which all of its rows name."""
        self.segments.setdefault(customer, set()).add(segment)
        self._edition += 1
        again = "ON CONFLICT (customer_id) DO UPDATE SET segment = excluded.segment"
        self.servers.ask(
            f"INSERT INTO {self.customers} VALUES (%s, %s) {again};"
            f"UPDATE {self.customers} SET edition = %s, updated_at = now()",
            (customer, segment, self._edition),
        )

    def mixed(self) -> dict[str, set[str]]:
        """Versions that batches note whose rows have seen others, or more than one edition of the table, and which."""
        rows, seen = self.rows(), dict[str, set[str]]()
        for batch in (record for record in self.ledger() if record["kind"] == "batch"):
            seen.setdefault(batch["note"][self.kind.noted], set()).update(_versions(batch, rows))
        if self.kind.named:
            return {noted: found - {noted} for noted, found in seen.items() if found - {noted}}
        return {noted: found for noted, found in seen.items() if len(found) > 1}

    def rows(self) -> list[Row]:
        if self.sink == "postgres":
            found = self.servers.ask(f"SELECT {', '.join([*PLACE, *self.kind.row])} FROM {self.table}")
            return [Row(row[:3], *row[3:]) for row in found]
        if not (self.path / "sink" / "_delta_log").exists():
            return []
        table = self.spark.read.format("delta").load(str(self.path / "sink")).selectExpr(*PLACE, *self.kind.row)
        return [Row(tuple(row[:3]), *row[3:]) for row in table.collect()]

    def audit(self) -> list[str]:
        """What does not hold by the job's own audit."""
        return [f"audit: {check}" for check in audits.audit(self.spark, self.config).checks if not check.holds]

    def _ledger(self, end: Mapping[str, int]) -> list[str]:
        read = sum(record["counts"]["read"] for record in self.ledger() if record["kind"] == "batch")
        return [] if read >= sum(end.values()) else [f"the ledger has {read} records read, and ends at {end}"]

    def _make_tables(self) -> None:
        ask = self.servers.ask
        ask(f"CREATE TABLE {self.customers} ({CUSTOMER})")
        for customer in SEGMENTS.items():
            ask(f"INSERT INTO {self.customers} VALUES (%s, %s)", customer)
        if self.sink == "postgres":
            ask(f"CREATE TABLE {self.table} ({ROW})")

    def load(self, **settings: Any) -> JobConfig:
        """As the loader reads it from the file, which is what a process gets, too."""
        file = self.path / ("other.yaml" if settings else "job.yaml")
        file.write_text(json.dumps(self._all(settings)))
        config: JobConfig = layers.load(self.kind.job.Config, file, None, (), self.servers.environment()).config
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
