"""Damage to a checkpoint, a refused start, and the ways back: each on a real broker, each with an audit at the end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs.commands import checkpoint as commands
from jobs.commands import inspection, offsets
from jobs.core import kafka
from jobs.core.audit import Report
from jobs.core.checkpoint import Checkpoint
from jobs.core.errors import CheckpointDamaged, DependencyMissing, LedgerMismatch

ORDERS = 10


class Case:
    """A job that has read ten orders in two batches; every fifth order is bad."""

    def __init__(self, job: Callable[..., Any], settings: dict[str, Any], broker: Any, topic: str, path: Path) -> None:
        self.broker, self.topic, self.path = broker, topic, path
        self._job, self._settings = job, settings
        self.send(ORDERS)
        assert self.made().start().wait(120)

    def send(self, count: int, **record: Any) -> None:
        values = [b"{" if n % 5 == 4 else order(n) for n in range(count)]
        self.broker.send(self.topic, values, **record)

    def made(self, recover: Any = None, **settings: Any) -> Any:
        made = self._job({**self._settings, **settings})
        made.config = made.config.recovering(recover)
        return made

    def run(self, recover: Any = None, **settings: Any) -> Report:
        report: Report = self.made(recover, **settings).run()
        return report

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"

    @property
    def ledger(self) -> list[Path]:
        return sorted((self.path / "sink" / "_ledger" / "join").glob("*.json"))

    def batches_of_unknown_outcome(self, count: int) -> None:
        """The sink has their rows, the ledger does not tell of them."""
        for file in self.ledger[-count:]:
            file.unlink()


def order(number: int) -> bytes:
    return json.dumps({"order_id": f"o{number}", "customer_id": f"c{number % 2 + 1}"}).encode()


@pytest.fixture
def settings(broker: Any, rows: Callable[..., DataFrame], tmp_path: Path) -> dict[str, Any]:
    table = rows("customer_id STRING, segment STRING", ("c1", "gold"), ("c2", "silver")).coalesce(1)
    table.write.format("delta").save(str(tmp_path / "customers"))
    topic = broker.topic("orders")
    return {
        "kafka": {"bootstrap_servers": broker.servers},
        "postgres": None,
        "source": {"kafka": {"topic": topic}, "schema": "order_id STRING, customer_id STRING"},
        "reference": {"delta": {"path": str(tmp_path / "customers"), "key": "customer_id"}},
        "join": {"on": {"customer_id": "customer_id"}},
        "sink": {"delta": {"path": str(tmp_path / "sink")}},
        "dead_letters": {"delta": {"path": str(tmp_path / "letters")}},
        "scaling": {"max_offsets_per_trigger": 5},
    }


@pytest.fixture
def case(broker: Any, job: Any, settings: dict[str, Any], tmp_path: Path) -> Case:
    return Case(job, settings, broker, settings["source"]["kafka"]["topic"], tmp_path)


@pytest.fixture
def in_postgres(
    broker: Any, job: Any, settings: dict[str, Any], migrated: Any, table: Callable[..., str], tmp_path: Path
) -> Case:
    """The same, into a table in PostgreSQL with its ledger."""
    columns = "order_id text, customer_id text, segment text, _reference_version text"
    place = table(f"{columns}, _topic text, _partition int, _offset bigint", [])
    server = {"url": migrated.jdbc_url, "user": migrated.user, "password": "${POSTGRES_PASSWORD}"}
    own = {"job": f"recovered_{place}", "postgres": server, "sink": {"postgres": {"table": place}}}
    return Case(job, {**settings, **own}, broker, settings["source"]["kafka"]["topic"], tmp_path)


def check(report: Report, read: int, written: int, dead: int) -> None:
    assert report.holds, report.checks
    counts = report.counts
    assert (counts.read, counts.written, counts.dead_letters, report.lag) == (read, written, dead, 0)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "metadata deleted": (lambda cp: (cp / "metadata").unlink(), "metadata is missing"),
    "newest offsets truncated": (lambda cp: truncate(cp / "offsets/1"), r"offsets/1 was changed: .*\.1\.crc"),
    "offsets deleted": (lambda cp: (cp / "offsets/1").unlink(), "offsets/1 is missing, and commits/1 is there"),
    "stray offsets": (lambda cp: shutil.copy(cp / "offsets/1", cp / "offsets/999"), "offsets/999 is a stray"),
    "offsets emptied": (
        lambda cp: [file.unlink() for file in (cp / "offsets").iterdir()],
        "offsets/ is empty, and commits/1 is there",
    ),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_refused_and_recovers_from_the_ledger(
    case: Case, damage: Callable[[Path], Any], said: str
) -> None:
    damage(case.checkpoint)
    case.send(5)
    with pytest.raises(CheckpointDamaged, match=said) as refused:
        case.run()
    assert refused.value.exit_code == 4
    check(case.run("from-ledger"), 15, 12, 3)
    assert len(list(case.path.glob("checkpoint.2*Z"))) == 1


@pytest.mark.parametrize("deleted", ["1", "*"], ids=["newest", "all"])
def test_a_batch_whose_commit_is_gone_runs_again_and_changes_nothing(case: Case, deleted: str) -> None:
    for file in case.checkpoint.glob(f"commits/{deleted}"):
        file.unlink()
    report = case.run()
    check(report, 10, 8, 2)
    assert report.batches == 2


def test_a_lost_checkpoint_is_refused_and_the_ledger_goes_on_exactly(case: Case) -> None:
    shutil.rmtree(case.checkpoint)
    with pytest.raises(LedgerMismatch, match="missing or empty, the sink holds batch 1"):
        case.run()
    case.send(5)
    report = case.run("from-ledger")
    check(report, 15, 12, 3)
    assert report.batches == 3
    check(case.run("from-ledger"), 15, 12, 3)


def test_what_the_sink_holds_without_a_record_is_found_however_batches_are_cut(case: Case) -> None:
    case.batches_of_unknown_outcome(1)
    shutil.rmtree(case.checkpoint)
    case.send(5)
    check(case.run("from-ledger", scaling={"max_offsets_per_trigger": 3}), 15, 12, 3)
    last = json.loads(case.ledger[-1].read_text())
    assert "in_doubt_until" not in last["note"]


def test_a_recovery_cut_short_after_its_record_is_refused_and_repeated(case: Case) -> None:
    case.batches_of_unknown_outcome(1)
    shutil.rmtree(case.checkpoint)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("jobs.core.checkpoint.begin", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            case.run("from-ledger")
    with pytest.raises(LedgerMismatch, match="missing or empty, the sink holds recovery 0"):
        case.run()
    check(case.run("from-ledger"), 10, 8, 2)


def test_reprocessing_reads_all_again_and_writes_what_is_missing(spark: SparkSession, case: Case) -> None:
    spark.sql(f"DELETE FROM delta.`{case.path}/sink` WHERE _offset = 6")
    case.send(5)
    check(case.run("reprocess", scaling={"max_offsets_per_trigger": 6}), 15, 12, 3)
    again = spark.read.format("delta").load(f"{case.path}/sink").groupBy("_offset").count().collect()
    assert {row["_offset"]: row["count"] for row in again} == {n: 1 for n in range(15) if n % 5 != 4}
    check(case.run(), 15, 12, 3)


def test_a_checkpoint_of_another_query_is_refused_and_recovered(case: Case) -> None:
    shutil.rmtree(case.checkpoint)
    shutil.move(case.path / "sink", case.path / "first")
    case.run()
    shutil.rmtree(case.path / "sink")
    shutil.move(case.path / "first", case.path / "sink")
    with pytest.raises(LedgerMismatch, match="the checkpoint belongs to query"):
        case.run()
    case.send(5)
    check(case.run("from-ledger"), 15, 12, 3)


def test_an_empty_ledger_has_nothing_to_go_on_from(case: Case) -> None:
    case.batches_of_unknown_outcome(2)
    with pytest.raises(LedgerMismatch, match="no batch yet to go on from.*--recover reprocess"):
        case.run("from-ledger")
    check(case.run("reprocess"), 10, 8, 2)


def test_a_rewound_checkpoint_begins_at_given_offsets(spark: SparkSession, case: Case) -> None:
    made, to = case.made(), str(case.path / "rewound")
    commands.begin(spark, to, offsets.found(spark, made.config, {case.topic: {"0": 7}}))
    elsewhere = {"checkpoint": to, "sink": {"delta": {"path": str(case.path / "second")}}}
    case.made(**elsewhere).run()
    found = spark.read.format("delta").load(f"{case.path}/second").select("_offset").collect()
    assert sorted(row["_offset"] for row in found) == [7, 8]
    assert Checkpoint(spark, to).planned() == [0, 1]


def test_a_time_is_found_as_offsets(spark: SparkSession, case: Case) -> None:
    now, config = datetime.now(timezone.utc), case.made().config
    at = [now + timedelta(minutes=minutes) for minutes in (20, 30, 40)]
    case.send(2, timestamp=int(at[1].timestamp() * 1000))
    found = [offsets.found(spark, config, offsets.asked(moment.isoformat(), None)) for moment in at]
    assert found == [{case.topic: {"0": 10}}, {case.topic: {"0": 10}}, {case.topic: {"0": 12}}]


def test_an_inspection_tells_of_both_sides(spark: SparkSession, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    config = case.made().config
    found = inspection.inspect(spark, config, Checkpoint(spark, config.checkpoint))
    assert found.accepted and found.ledger and found.ledger.batch_id == 1
    assert (found.planned, found.committed, found.offsets) == ([0, 1], [0, 1], [{case.topic: {"0": 10}}])
    assert found.source == "it has what is still to be read"
    with monkeypatch.context() as within:
        within.setattr(kafka, "standing", Mock(side_effect=DependencyMissing("Kafka", "nowhere", "refused")))
        away = inspection.inspect(spark, config, Checkpoint(spark, config.checkpoint))
        assert away.accepted and away.source == "not asked: Kafka nowhere unreachable: refused"
        within.setattr(kafka, "standing", lambda *_: kafka.Standing({case.topic: {0: (11, 12)}}, {}))
        lost = inspection.inspect(spark, config, Checkpoint(spark, config.checkpoint))
        assert not lost.accepted and "1 records are gone" in str(lost.lost)
        assert inspection.as_text(lost).splitlines()[-1].startswith("source ")
    truncate(case.checkpoint / "offsets/1")
    broken = inspection.inspect(spark, config, Checkpoint(spark, config.checkpoint))
    assert [defect.file for defect in broken.defects] == ["offsets/1"] and not broken.accepted


def test_files_are_reprocessed_without_writing_a_line_twice(case: Case) -> None:
    (case.path / "in").mkdir()
    (case.path / "in" / "a").write_bytes(b"\n".join([order(0), b"{", order(1)]))
    files = {"file": {"path": str(case.path / "in")}, "schema": "order_id STRING, customer_id STRING"}
    elsewhere = {"source": files, "sink": {"delta": {"path": str(case.path / "lines")}}, "job": "lines"}
    elsewhere |= {"checkpoint": str(case.path / "lines-checkpoint")}
    case.run(**elsewhere)
    (case.path / "in" / "b").write_bytes(order(2))
    report = case.run("reprocess", **elsewhere)
    assert report.holds, report.checks
    assert (report.counts.read, report.counts.written, report.counts.dead_letters) == (4, 3, 1)


def test_a_deleted_checkpoint_before_a_sink_in_postgres(in_postgres: Case) -> None:
    shutil.rmtree(in_postgres.checkpoint)
    in_postgres.send(5)
    with pytest.raises(LedgerMismatch, match="the checkpoint is missing or empty, the sink holds batch 1"):
        in_postgres.made().start()
    check(in_postgres.run("from-ledger"), 15, 12, 3)
    made = in_postgres.made()
    found = inspection.inspect(made.spark, made.config, Checkpoint(made.spark, str(made.config.checkpoint)))
    assert found.accepted and found.ledger and found.ledger.batch_id == 1, found
    check(in_postgres.run("reprocess"), 15, 12, 3)
