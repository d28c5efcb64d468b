"""A log that holds what is about a person sealed: appended from a real broker, keys in a real database, and one is dropped."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from _letters import check
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.commands import event_text
from jobs.core import delta_log
from jobs.core.errors import ConfigError, DependencyMissing, SinkFailed
from jobs.core.events import forgetting, projection, republishing, sealing
from jobs.core.events.envelope import EVENT
from jobs.core.events.eventlog import EventLog
from jobs.core.events.folds import Fold
from jobs.core.events.following import Follower
from jobs.core.events.pinned_log import PinnedLog
from jobs.core.events.rebuilding import Rebuild, Request
from jobs.core.events.republishing import Republisher
from jobs.core.events.sealing import Opener
from jobs.core.events.subject_keys import SubjectKeys, made

AT = datetime(2026, 1, 5, 10, tzinfo=timezone.utc)
EVENTS = "stream_id STRING, stream_version BIGINT, event_type STRING, data STRING"
STATE = "user_id STRING, name STRING, plan STRING"
STATES = f"stream_id STRING, stream_version BIGINT, {STATE}"
FOLD = {"state": STATE, "events": {"user_created": "set", "user_updated": "merge"}}
USERS = projection.declared(Fold.model_validate(FOLD), None, "pass")
PERSONAL = {"fields": ["name"]}


def event(user: str, kind: str = "user_created", **data: Any) -> bytes:
    return json.dumps({"event_type": kind, "data": {"user_id": user, **data}, "timestamp": AT.timestamp()}).encode()


class Case:
    """A topic, and the job that appends it to a sealed log."""

    def __init__(self, append: Callable[..., Any], broker: Any, path: Path) -> None:
        self._append, self._broker, self.log = append, broker, f"{path}/log"
        self._topic, self._dead = broker.topic("events"), broker.topic("dead")

    def made(self, personal: dict[str, Any] | None = None) -> Any:
        source = {"kafka": {"topic": self._topic}, "format": "event"}
        source |= {} if personal is None else {"personal": personal}
        return self._append({"source": source, "dead_letters": {"kafka": {"topic": self._dead}}})

    def send(self, *values: bytes) -> None:
        self._broker.send(self._topic, list(values))


@pytest.fixture
def case(append: Callable[..., Any], broker: Any, tmp_path: Path, migrated: Any) -> Case:
    return Case(append, broker, tmp_path)


@pytest.fixture
def keys(case: Case) -> SubjectKeys:
    return SubjectKeys.of(case.made(PERSONAL).config.postgres)


def test_the_log_tells_nothing_personal_and_who_has_the_keys_all(
    case: Case, keys: SubjectKeys, spark: SparkSession, rows: Callable[..., DataFrame]
) -> None:
    case.send(event("u1", name="Ann Xyzzy"), event("u2", name="Bo", plan="free"), event("u3", of="", who="Cy"))
    case.send(event("u1", "user_updated", name="Anna Xyzzy"), event("u2", "user_updated", plan="pro"))
    personal = {"subject": "user_id", "fields": ["name"]}
    check(case.made(personal).run(), read=5, written=5)
    columns = ("stream_id", "stream_version", "event_type", "data")
    raw = spark.read.format("delta").load(case.log).filter("stream_id <> 'u3'")
    kept = rows(
        f"{EVENTS}, has_key BOOLEAN",
        ("u1", 1, "user_created", '{"user_id":"u1"}', True),
        ("u2", 1, "user_created", '{"user_id":"u2","plan":"free"}', True),
        ("u1", 2, "user_updated", '{"user_id":"u1"}', True),
        ("u2", 2, "user_updated", '{"user_id": "u2", "plan": "pro"}', False),
    )
    shown = raw.selectExpr(*columns, "sealed_by IS NOT NULL AS has_key")
    assert_df_equality(shown, kept, ignore_row_order=True, ignore_nullable=True)
    assert [len(bytes(row.sealed)) for row in raw.filter("stream_id = 'u2' AND sealed IS NOT NULL").collect()] == [41]
    assert raw.select("sealed_by").filter("stream_id = 'u1'").distinct().count() == 1
    log = PinnedLog(spark, case.log, delta_log.version(spark, case.log), Opener(keys))
    whole = rows(
        EVENTS,
        ("u1", 1, "user_created", '{"user_id":"u1","name":"Ann Xyzzy"}'),
        ("u2", 1, "user_created", '{"user_id":"u2","plan":"free","name":"Bo"}'),
        ("u1", 2, "user_updated", '{"user_id":"u1","name":"Anna Xyzzy"}'),
        ("u2", 2, "user_updated", '{"user_id": "u2", "plan": "pro"}'),
    )
    opened = log.events().filter("stream_id <> 'u3'").select(*columns)
    assert_df_equality(opened, whole, ignore_row_order=True, ignore_nullable=True)
    case.send(event("u4", of=1, who="Di"), event("u5", of="", who="Ed"))
    check(case.made({"subject": "of", "fields": ["who"]}).run(), read=7, written=6, dead_letters=1)
    with pytest.raises(ConfigError, match=r"source\.personal: required: events of .* are sealed"):
        case.made().start()


def test_a_log_that_was_not_sealed_says_what_it_cannot_forget(
    case: Case, spark: SparkSession, caplog: pytest.LogCaptureFixture
) -> None:
    case.send(event("u1", name="Ann"))
    check(case.made().run(), read=1, written=1)
    case.send(event("u1", name="Anna"), event("u1"))
    check(case.made({}).run(), read=3, written=3)
    assert "are not sealed, and cannot be forgotten" in caplog.text
    log = spark.read.format("delta").load(case.log).orderBy("stream_version")
    shown = [(row.data, row.sealed_by is None) for row in log.collect()]
    assert shown == [('{"user_id": "u1", "name": "Ann"}', True), ("{}", False), ("{}", False)]


def test_without_the_table_of_keys_no_event_is_read(case: Case, database: Any) -> None:
    database.cursor().execute("ALTER TABLE stream_patterns.subject_keys RENAME TO elsewhere")
    try:
        with pytest.raises(DependencyMissing, match="`patterns migrate` makes what is missing"):
            case.made(PERSONAL).start()
    finally:
        database.cursor().execute("ALTER TABLE stream_patterns.elsewhere RENAME TO subject_keys")


class Sealed:
    """A sealed log, written without a topic, and replays of it."""

    def __init__(self, spark: SparkSession, keys: SubjectKeys, path: Path) -> None:
        self.spark, self.keys, self.path = spark, keys, path
        self._log = EventLog(spark, f"{path}/log", True)
        self._log.make()

    @property
    def log_id(self) -> str:
        return self._log.table_id()

    def append(self, *events: tuple[str, int, str, str, str | None]) -> None:
        """Stream, version, type, data, and what is personal in it."""
        given = [
            (stream, version, f"{stream}-{version}", kind, 1, data, None, AT, AT, None, None, None, stream, personal)
            for stream, version, kind, data, personal in events
        ]
        found = self.spark.createDataFrame(given, f"{EVENT}, subject STRING, personal STRING")
        sealing.sealed(found, self.keys, self.log_id).write.format("delta").mode("append").save(self._log.path)

    def forget(self, subject: str, dry_run: bool = False) -> forgetting.Forgotten:
        return forgetting.forget(self.spark, self._log.path, self.keys, subject, dry_run)

    def request(self) -> Request:
        place = (f"{self.path}/users", f"{self.path}/work", USERS)
        made = Request("users", self._log.path, *place, snapshots=f"{self.path}/snapshots", every=1)
        return replace(made, opener=Opener(self.keys)).now(self.spark)

    def snapshots(self) -> list[Path]:
        return list((self.path / "snapshots").glob("*.json"))


@pytest.fixture
def log(spark: SparkSession, keys: SubjectKeys, tmp_path: Path) -> Sealed:
    made = Sealed(spark, keys, tmp_path)
    made.append(
        ("u1", 1, "user_created", '{"user_id":"u1"}', '{"name":"Ann"}'),
        ("u2", 1, "user_created", '{"plan":"pro"}', '{"name":"Bo"}'),
        ("u1", 2, "user_updated", "{}", '{"name":"Anna"}'),
    )
    return made


@pytest.fixture
def holds(log: Sealed, rows: Callable[..., DataFrame]) -> Callable[..., None]:
    def check_states(*wanted: tuple[Any, ...]) -> None:
        states = log.spark.read.format("delta").load(f"{log.path}/users")
        assert_df_equality(states, rows(STATES, *wanted), ignore_row_order=True, ignore_nullable=True)

    return check_states


def test_who_is_forgotten_is_gone_from_states_and_snapshots_with_the_next_replay(
    log: Sealed, holds: Callable[..., None]
) -> None:
    Rebuild(log.spark, log.request()).run()
    holds(("u1", 2, "u1", "Anna", None), ("u2", 1, None, "Bo", "pro"))
    assert len(log.snapshots()) == 1
    assert log.forget("u1", True) == forgetting.Forgotten(f"{log.path}/log", 2, 1)
    assert log.keys.forgotten(log.log_id) == 0
    found = log.forget("u1")
    said = f"forgot u1: what 2 events in 1 stream of {log.path}/log had sealed is gone\n"
    assert event_text.forgotten("u1", found, False).plain.startswith(said)
    Rebuild(log.spark, replace(log.request(), from_snapshot=True, every=100)).run()
    holds(("u1", 1, "u1", None, None), ("u2", 1, None, "Bo", "pro"))
    assert log.snapshots() == []
    with pytest.raises(ConfigError, match="SUBJECT = u1: a subject of which .* has something sealed; this one is not"):
        log.forget("u1")


def test_who_is_forgotten_while_a_replay_runs_is_gone_from_what_it_comes_to(
    log: Sealed, holds: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Rebuild.build

    def forgetting_one(self: Rebuild, pin: Any) -> Any:
        built = build(self, pin)
        log.keys.forget(log.log_id, "u1")
        return built

    monkeypatch.setattr(Rebuild, "build", forgetting_one)
    Rebuild(log.spark, log.request()).run()
    holds(("u1", 1, "u1", None, None), ("u2", 1, None, "Bo", "pro"))


def test_a_follower_stands_while_the_keys_are_away(
    log: Sealed, holds: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there for its first step; at the third it is back."""
    follower, forgotten, asked = Follower(log.spark, log.request()), SubjectKeys.forgotten, list[int]()

    def away(self: SubjectKeys, log_id: str) -> int:
        asked.append(len(asked))
        if len(asked) == 2:
            log.append(("u2", 2, "user_updated", '{"plan":"free"}', None))
        if len(asked) in (2, 3):
            return forgotten(replace(self, connect={**self.connect, "port": 1}), log_id)
        if len(asked) == 4:
            follower.request_stop()
        return forgotten(self, log_id)

    monkeypatch.setattr(SubjectKeys, "forgotten", away)
    follower.run(0.01)
    assert len(asked) == 4
    holds(("u1", 2, "u1", "Anna", None), ("u2", 2, None, "Bo", "free"))


def test_a_follower_makes_its_table_anew_once_one_more_is_forgotten(log: Sealed, holds: Callable[..., None]) -> None:
    follower = Follower(log.spark, log.request())
    follower.step()
    log.append(("u1", 3, "user_updated", '{"plan":"pro"}', None), ("u3", 1, "user_created", "{}", '{"name":"Cy"}'))
    follower.step()
    holds(("u1", 3, "u1", "Anna", "pro"), ("u2", 1, None, "Bo", "pro"), ("u3", 1, None, "Cy", None))
    assert log.keys.forget(log.log_id, "u1")
    follower.step()
    holds(("u1", 3, "u1", None, "pro"), ("u2", 1, None, "Bo", "pro"), ("u3", 1, None, "Cy", None))
    log.append(("u1", 4, "user_updated", "{}", '{"name":"Anew"}'))
    follower.step()
    holds(("u1", 4, "u1", "Anew", "pro"), ("u2", 1, None, "Bo", "pro"), ("u3", 1, None, "Cy", None))


def test_without_a_database_a_sealed_log_is_not_read(log: Sealed) -> None:
    with pytest.raises(ConfigError, match="postgres: required: the log is sealed, and its keys are there"):
        replace(log.request(), opener=Opener()).now(log.spark)


@pytest.fixture
def cursors(migrated: Any) -> Iterator[Callable[[], Any]]:
    opened = []

    def one() -> Any:
        opened.append(psycopg2.connect(**migrated.dsn()))
        opened[-1].autocommit = True
        return opened[-1].cursor()

    yield one
    for connection in opened:
        connection.close()


def test_two_who_make_keys_of_the_same_subjects_have_the_same(cursors: Callable[[], Any]) -> None:
    subjects = [f"s{number}" for number in range(2_000)]
    each = (subjects, subjects[::-1])
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda names: made(cursors(), "two", names), each)
    assert one == other
    assert len({key.key for key in one.values()}) == len(subjects)
    assert {len(key.key) for key in one.values()} == {32}


def test_a_key_is_of_one_log_and_a_forgotten_subject_gets_another(
    cursors: Callable[[], Any], keys: SubjectKeys
) -> None:
    cursor = cursors()
    here, there = made(cursor, "here", ["s"])["s"], made(cursor, "there", ["s"])["s"]
    assert here.id != there.id
    assert keys.key_of("here", "s") == here.id
    assert keys.forget("here", "s") == here.id
    assert keys.forget("here", "s") is None
    assert (keys.forgotten("here"), keys.forgotten("there")) == (1, 0)
    assert made(cursor, "here", ["s"])["s"].id != here.id
    assert keys.key_of("there", "s") == there.id


class Told:
    """A topic that remembers the values of each step, and fails after the first one."""

    def __init__(self) -> None:
        self.values: list[list[str]] = []

    def id(self) -> str:
        return "one"

    def send(self, outgoing: DataFrame, events: int, step: int) -> None:
        self.values.append([json.loads(row.value)["data"].get("name") for row in outgoing.orderBy("due_us").collect()])
        if len(self.values) == 1:
            raise SinkFailed("topic", step, "as told")


def test_a_republishing_sends_nothing_of_who_is_forgotten_while_it_runs(
    log: Sealed, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, place = Told(), (f"{log.path}/log", "broker", "t", f"{log.path}/republished")
    send = Told.send

    def forgetting_one(self: Told, outgoing: DataFrame, events: int, step: int) -> None:
        with contextlib.suppress(SinkFailed):
            send(self, outgoing, events, step)
        log.keys.forget(log.log_id, "u1")

    monkeypatch.setattr(Told, "send", forgetting_one)
    request = republishing.Request("again", *place, events=1, opener=Opener(log.keys))
    Republisher(log.spark, request, topic).run()
    assert len(topic.values[0]) < 3, "there are several steps"
    after = [name for step in topic.values[1:] for name in step]
    assert sorted(map(str, after)) == ["Bo", "None"], topic.values


def test_a_republishing_begins_anew_without_who_was_forgotten_meanwhile(log: Sealed) -> None:
    topic, place = Told(), (f"{log.path}/log", "broker", "t", f"{log.path}/republished")
    republisher = Republisher(log.spark, republishing.Request("again", *place, opener=Opener(log.keys)), topic)
    with pytest.raises(SinkFailed):
        republisher.run()
    assert log.keys.forget(log.log_id, "u1")
    republisher.run()
    assert [sorted(map(str, step)) for step in topic.values] == [["Ann", "Anna", "Bo"], ["Bo", "None"]]
