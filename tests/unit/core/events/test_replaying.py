from __future__ import annotations

import json
from typing import Any

import pytest
from _kafka import FakeAdmin, FakeConsumer, FakeMessage, end_of
from confluent_kafka import IsolationLevel, KafkaError, KafkaException

from jobs.core.errors import DependencyMissing
from jobs.core.events.envelope import Envelope
from jobs.core.events.replaying import SHOWN, Bad, Replay, Spans, created_or_updated, replay, spans
from jobs.core.reasons import Reason


def created(offset: int, user: str, partition: int = 0, kind: str = "user_created", **data: Any) -> FakeMessage:
    shape = {"event_type": kind, "data": {"user_id": user, **data}, "timestamp": 1767607200.5}
    return FakeMessage(offset, json.dumps(shape).encode(), partition)


def updated(offset: int, user: str, partition: int = 0, **data: Any) -> FakeMessage:
    return created(offset, user, partition, "user_updated", **data)


def run(consumer: FakeConsumer, given: Spans, evolve: Any = created_or_updated, timeout_s: float = 5) -> Replay:
    return replay(consumer, given, "events", evolve, "user_id", timeout_s)


def test_created_sets_and_updated_merges() -> None:
    first = [created(0, "u1", name="Ann", age=1), updated(1, "u1", name=None, x=[1])]
    second = [updated(2, "u2", name="Bo"), created(3, "u1", name="Cy")]
    found = run(FakeConsumer(first, second), {0: (0, 4)})
    assert found.states == {"u1": {"user_id": "u1", "name": "Cy"}, "u2": {"user_id": "u2", "name": "Bo"}}
    assert (found.events, found.skipped, found.bad) == (4, {}, [])


def test_an_empty_topic_ends_at_once() -> None:
    consumer = FakeConsumer()
    assert run(consumer, {0: (0, 0), 1: (7, 7)}).states == {}
    assert consumer.assigned == []


def test_each_partition_is_read_from_its_first_record_and_left_at_its_end() -> None:
    batch = [created(5, "u1"), created(0, "u2", 2), created(6, "u1", x=1)]
    consumer = FakeConsumer(batch[:2], batch[2:])
    found = run(consumer, {0: (5, 7), 1: (3, 3), 2: (0, 1)})
    assert (consumer.assigned, consumer.left) == ([(0, 5), (2, 0)], [2, 0])
    assert found.states == {"u1": {"user_id": "u1", "x": 1}, "u2": {"user_id": "u2"}}


def test_what_came_after_the_start_is_not_read() -> None:
    found = run(FakeConsumer([created(0, "u1"), created(1, "u1", late=True), created(2, "u2")]), {0: (0, 1)})
    assert found.states == {"u1": {"user_id": "u1"}}


def test_a_gap_at_the_end_is_an_end() -> None:
    """Of compaction or an aborted transaction: no record is just before the end."""
    assert run(FakeConsumer([created(0, "u1")], [end_of(0, 5)]), {0: (0, 5)}).events == 1
    assert run(FakeConsumer([created(0, "u1"), created(9, "u2")]), {0: (0, 5)}).events == 1
    assert run(FakeConsumer([end_of(0, 5)]), {0: (0, 5)}).events == 0


def test_an_end_that_is_not_yet_the_end_is_not_one() -> None:
    consumer = FakeConsumer([created(0, "u1"), end_of(0, 1)], [], [created(1, "u2")])
    assert run(consumer, {0: (0, 2)}).events == 2


def test_what_is_no_event_is_skipped_counted_and_told() -> None:
    bad = [FakeMessage(1, b"{"), FakeMessage(2, None), created(3, "u1", kind="user_renamed"), FakeMessage(4, b"{}")]
    found = run(FakeConsumer([created(0, "u1"), *bad, updated(5, "u1", x=1)]), {0: (0, 6)})
    assert found.states == {"u1": {"user_id": "u1", "x": 1}}
    kinds = {Reason.MALFORMED: 1, Reason.TOMBSTONE: 1, Reason.UNKNOWN_TYPE: 1, Reason.MISSING_REQUIRED: 1}
    assert (found.events, found.skipped) == (2, kinds)
    assert found.bad[1:3] == [
        Bad("events", 0, 2, Reason.TOMBSTONE, "null value"),
        Bad("events", 0, 3, Reason.UNKNOWN_TYPE, "event type user_renamed"),
    ]
    assert str(found.bad[1]) == "events/0/2 TOMBSTONE: null value"


def test_all_bad_records_are_counted_and_the_first_ones_kept() -> None:
    found = run(FakeConsumer([FakeMessage(offset, b"{") for offset in range(SHOWN + 5)]), {0: (0, SHOWN + 5)})
    assert (found.skipped[Reason.MALFORMED], len(found.bad)) == (SHOWN + 5, SHOWN)


def test_a_state_of_none_is_gone() -> None:
    def evolve(state: Any, event: Envelope) -> Any:
        return None if event.event_type == "user_deleted" else [*(state or []), event.event_type]

    deleted = created(1, "u1", kind="user_deleted")
    assert run(FakeConsumer([created(0, "u1"), deleted]), {0: (0, 2)}, evolve).states == {}
    again = FakeConsumer([created(0, "u1"), deleted, created(2, "u1")])
    assert run(again, {0: (0, 3)}, evolve).states == {"u1": ["user_created"]}


def test_a_broker_that_is_away_ends_it_with_the_cause_and_one_that_returns_does_not() -> None:
    lost = FakeMessage(-1, None, 0, KafkaError(KafkaError._TRANSPORT, "connection refused"))
    assert run(FakeConsumer([lost], [created(0, "u1")]), {0: (0, 1)}).events == 1
    with pytest.raises(DependencyMissing, match="topic events unreachable: no record for 0.05 s"):
        run(FakeConsumer(), {0: (0, 1)}, timeout_s=0.05)
    with pytest.raises(DependencyMissing, match="topic events unreachable: connection refused"):
        run(FakeConsumer(*[[lost]] * 1_000_000), {0: (0, 1)}, timeout_s=0.05)


def test_an_error_that_does_not_pass_is_raised() -> None:
    denied = FakeMessage(-1, None, 0, KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    with pytest.raises(KafkaException):
        run(FakeConsumer([denied]), {0: (0, 1)})


def test_records_that_are_deleted_while_they_are_read_end_it() -> None:
    gone = FakeMessage(-1, None, 0, KafkaError(KafkaError._AUTO_OFFSET_RESET, "offset out of range"))
    with pytest.raises(DependencyMissing, match="they were deleted while they were read .*offset out of range"):
        run(FakeConsumer([created(0, "u1")], [gone]), {0: (0, 9)})


def test_spans_are_those_whose_transactions_are_over() -> None:
    admin = FakeAdmin("events", {0: (2, 9), 1: (0, 0)})
    assert spans(admin, "events", 1) == {0: (2, 9), 1: (0, 0)}
    assert admin.isolation == {IsolationLevel.READ_COMMITTED}
    with pytest.raises(DependencyMissing, match="Kafka topic other unreachable: the broker has no such topic"):
        spans(admin, "other", 1)


def test_partitions_that_have_no_leader_yet_are_asked_again() -> None:
    """As of a topic that was made a moment ago."""
    admin = FakeAdmin("events", {0: (2, 9)})
    admin.unsettled = [KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION), KafkaError(KafkaError.LEADER_NOT_AVAILABLE)]
    assert spans(admin, "events", 1) == {0: (2, 9)}
    admin.unsettled = [KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)]
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        spans(admin, "events", 1)
