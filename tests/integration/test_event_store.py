"""The client of the event log, on a real broker."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from jobs.core.errors import DependencyMissing
from jobs.core.events import store as event_store
from jobs.core.events.store import EventsFailed, EventStore
from jobs.core.reasons import Reason

AT = datetime(2026, 1, 5, 10, 0, 0, 500_000, tzinfo=timezone.utc)


def store(broker: Any, topic: str, **changed: Any) -> EventStore:
    return EventStore(broker.servers, topic, clock=lambda: AT, **changed)


def read(broker: Any, topic: str) -> list[tuple[bytes, bytes]]:
    """Keys and values of a topic with one partition."""
    consumer = Consumer({"bootstrap.servers": broker.servers, "group.id": "reader"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)[1]
    found = [(message.key(), message.value()) for message in consumer.consume(end, timeout=30)]
    consumer.close()
    assert len(found) == end
    return found


def test_events_are_appended_and_replayed(broker: Any) -> None:
    topic = broker.topic("events", 3)
    with store(broker, topic) as one:
        for number in range(300):
            one.append_event("user_created", {"user_id": f"u{number}", "name": "Ann"})
        for number in range(0, 300, 2):
            one.append_event("user_updated", {"user_id": f"u{number}", "name": None, "age": number})
    wanted = {f"u{number}": {"user_id": f"u{number}", "name": "Ann"} for number in range(300)}
    wanted |= {f"u{n}": {"user_id": f"u{n}", "name": None, "age": n} for n in range(0, 300, 2)}
    assert one.replay_events("rebuild") == wanted
    assert one.replay_events("rebuild") == wanted  # the group has committed nothing
    found = one.replay()
    assert (found.states, found.events, found.skipped) == (wanted, 450, {})


def test_the_short_shape_is_in_the_topic_byte_for_byte_and_envelopes_beside_it_are_read(broker: Any) -> None:
    topic = broker.topic("events")
    with store(broker, topic) as short:
        short.append_event("user_created", {"user_id": "u1", "name": "Zoë"})
    with store(broker, topic, shape="envelope") as whole:
        whole.append_event("user_updated", {"name": "Bo"}, stream_id="u1", event_id="e1", expected_version=1)
    first, second = read(broker, topic)
    data = '{"user_id":"u1","name":"Zoë"}'
    assert first == (b"u1", f'{{"event_type":"user_created","data":{data},"timestamp":1767607200.5}}'.encode())
    assert (second[0], json.loads(second[1])["event_id"]) == (b"u1", "e1")
    assert short.replay_events() == {"u1": {"user_id": "u1", "name": "Bo"}}


def test_a_replay_ends_on_an_empty_topic_and_before_a_topic_that_is_not_there(broker: Any) -> None:
    assert store(broker, broker.topic("events", 2)).replay_events() == {}
    with pytest.raises(DependencyMissing, match="Kafka topic missing-topic unreachable: the broker has no such topic"):
        store(broker, "missing-topic").replay_events()
    with pytest.raises(DependencyMissing, match="Kafka 127.0.0.1:1 unreachable"):
        EventStore("127.0.0.1:1", timeout_s=1).replay_events()


def created(user: str) -> bytes:
    return json.dumps({"event_type": "user_created", "data": {"user_id": user}, "timestamp": 1}).encode()


def test_aborted_and_open_transactions_do_not_count_and_do_not_keep_it_from_ending(broker: Any) -> None:
    topic = broker.topic("events")
    producer = Producer({"bootstrap.servers": broker.servers, "transactional.id": topic})
    producer.init_transactions(30)
    for user, ending in {"u1": producer.commit_transaction, "u2": producer.abort_transaction}.items():
        producer.begin_transaction()
        producer.produce(topic, created(user))
        producer.flush(30)
        ending(30)
    assert store(broker, topic).replay_events() == {"u1": {"user_id": "u1"}}
    producer.begin_transaction()
    producer.produce(topic, created("u3"))
    producer.flush(30)
    broker.send(topic, [created("u4")])  # behind the open one
    assert store(broker, topic).replay_events() == {"u1": {"user_id": "u1"}}
    producer.commit_transaction(30)
    assert sorted(store(broker, topic).replay_events()) == ["u1", "u3", "u4"]


def test_records_deleted_at_the_beginning_are_not_waited_for(broker: Any) -> None:
    topic = broker.topic("events")
    broker.send(topic, [created("u1"), created("u2")])
    admin = AdminClient({"bootstrap.servers": broker.servers})
    for before, left in ((1, {"u2": {"user_id": "u2"}}), (2, {})):
        for future in admin.delete_records([TopicPartition(topic, 0, before)]).values():
            future.result(30)
        assert store(broker, topic).replay_events() == left


def test_what_is_no_event_is_skipped_and_told(broker: Any) -> None:
    topic = broker.topic("events")
    broker.send(topic, [b"{", created("u1"), None, b'{"event_type": "x", "data": {"user_id": "u1"}, "timestamp": 1}'])
    found = store(broker, topic).replay()
    assert found.states == {"u1": {"user_id": "u1"}}
    assert found.skipped == {Reason.MALFORMED: 1, Reason.TOMBSTONE: 1, Reason.UNKNOWN_TYPE: 1}
    assert [(bad.offset, bad.reason.value) for bad in found.bad] == [
        (0, "MALFORMED"),
        (2, "TOMBSTONE"),
        (3, "UNKNOWN_TYPE"),
    ]


def test_what_the_topic_does_not_take_is_told_and_the_rest_is_there(broker: Any) -> None:
    topic = broker.topic("events", max_message_bytes="2000")
    one = store(broker, topic)
    one.append_event("user_created", {"user_id": "u1"})
    one.flush()
    one.append_event("user_created", {"user_id": "u2", "x": "x" * 5000})
    with pytest.raises(EventsFailed, match="Message size too large") as failure:
        one.flush()
    assert [failed.event.stream_id for failed in failure.value.failed] == ["u2"]
    one.append_event("user_created", {"user_id": "u3"})
    one.close()
    assert sorted(one.replay_events()) == ["u1", "u3"]


def test_a_broker_that_is_away_fails_every_event_within_the_limit() -> None:
    one = EventStore("127.0.0.1:1", timeout_s=1, options={"log_level": "0"})
    one.append_event("user_created", {"user_id": "u1"})
    one.append_event("user_updated", {"user_id": "u1"})
    with pytest.raises(EventsFailed) as failure:
        one.close()
    assert [failed.event.event_type for failed in failure.value.failed] == ["user_created", "user_updated"]
    assert event_store.TOPIC in str(failure.value)
