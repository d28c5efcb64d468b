from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime, timezone
from functools import reduce
from typing import Any
from uuid import UUID

import pytest
from _kafka import FakeAdmin, FakeConsumer, FakeMessage, FakeProducer
from confluent_kafka import KafkaError

from jobs.core.errors import DependencyMissing
from jobs.core.events.store import Clients, EventsFailed, EventStore
from jobs.domain import orders
from jobs.domain.decider import Event
from jobs.domain.orders import CancelOrder, PlaceOrder

AT = datetime(2026, 1, 5, 10, 0, 0, 500_000, tzinfo=timezone.utc)
LATER = datetime(2026, 1, 5, 11, tzinfo=timezone.utc)
CREATED = b'{"event_type":"user_created","data":{"user_id":"u1"},"timestamp":1767607200.5}'


class Kafka:
    """A broker that one store talks to."""

    def __init__(self, *batches: list[FakeMessage], spans: Any = None, away: KafkaError | None = None) -> None:
        self.producer = FakeProducer()
        self.consumer, self.configs = FakeConsumer(*batches), list[dict[str, Any]]()
        self.admin = FakeAdmin("events-topic", spans or {0: (0, sum(map(len, batches)))}, away)
        self.clients = Clients(lambda config: self.producer, self._consumer, lambda config: self.admin)

    def _consumer(self, config: dict[str, Any]) -> FakeConsumer:
        self.configs.append(config)
        return self.consumer

    @property
    def values(self) -> list[Any]:
        return [json.loads(sent["value"]) for sent in self.producer.sent]


def store(kafka: Kafka, **changed: Any) -> EventStore:
    return EventStore("b:1", clock=lambda: AT, clients=kafka.clients, **changed)


def test_by_default_the_short_shape_is_written_keyed_by_its_stream() -> None:
    kafka = Kafka()
    store(kafka).append_event("user_created", {"user_id": "u1"})
    assert [(sent["topic"], sent["key"], sent["value"]) for sent in kafka.producer.sent] == [
        ("events-topic", b"u1", CREATED)
    ]


def test_an_envelope_has_what_is_known_and_an_id() -> None:
    kafka = Kafka()
    one = store(kafka, shape="envelope")
    whole = one.append_event(
        "noted", {}, stream_id="s1", expected_version=3, event_id="e1", metadata={"correlation_id": "c1"}
    )
    few = one.append_event("user_created", {"user_id": 7})
    shared = {"schema_version": 1, "data": {}, "occurred_at": "2026-01-05T10:00:00.500000Z"}
    given = {"event_id": "e1", "expected_version": 3, "metadata": {"correlation_id": "c1"}}
    assert kafka.values[0] == {"stream_id": "s1", "event_type": "noted", **shared, **given}
    assert kafka.values[1]["event_id"] == few.event_id == str(UUID(str(few.event_id)))
    assert (whole.event_id, few.stream_id, kafka.producer.sent[1]["key"]) == ("e1", "7", b"7")


@pytest.mark.parametrize(
    ("kind", "data", "more", "why"),
    [
        ("", {}, {}, "event_type: empty"),
        ("noted", {}, {"metadata": {"n": 7}}, "WRONG_TYPE"),
        ("noted", {}, {"expected_version": -1}, "expected_version: at least 0"),
        ("noted", {1: "a", "1": "b"}, {}, "DUPLICATE_KEY"),
        ("noted", {"a": reduce(lambda inner, _: [inner], range(70), 0)}, {}, "TOO_DEEP"),
        ("noted", {"a": "\x00"}, {}, "U\\+0000"),
    ],
)
def test_what_no_reader_takes_is_not_sent(kind: str, data: Any, more: Any, why: str) -> None:
    kafka = Kafka()
    with pytest.raises(ValueError, match=why):
        store(kafka, shape="envelope").append_event(kind, data, stream_id="s1", **more)
    assert kafka.producer.sent == []


@pytest.mark.parametrize("year", [1960, 2300])
def test_of_several_all_are_sent_or_none(year: int) -> None:
    kafka, times = Kafka(), iter([AT, AT.replace(year=year)])
    one = EventStore("b:1", shape="envelope", clock=lambda: next(times), clients=kafka.clients)
    with pytest.raises(ValueError, match="OUT_OF_RANGE"):
        one.append_events([Event("noted", {"user_id": "u1"}), Event("noted", {"user_id": "u1"})])
    assert kafka.producer.sent == []


def test_what_a_decider_decides_is_appended_in_order() -> None:
    kafka = Kafka()
    one = store(kafka, shape="envelope", stream_field="order_id")
    history = orders.decide(PlaceOrder("o1", LATER, "c1", 5), None)
    state = orders.evolve(None, history[0])
    assert state
    made = one.append_events([*history, *orders.decide(CancelOrder("o1", LATER, "late"), state)], expected_version=0)
    assert [(sent["stream_id"], sent["expected_version"], sent["occurred_at"]) for sent in kafka.values] == [
        ("o1", 0, "2026-01-05T11:00:00.000000Z"),
        ("o1", 1, "2026-01-05T11:00:00.000000Z"),
    ]
    assert [event.event_type for event in made] == ["order_placed", "order_cancelled"]


def test_an_event_without_a_time_happens_now() -> None:
    assert store(Kafka()).append_events([Event("user_created", {"user_id": "u1"})])[0].occurred_at == AT


@pytest.mark.parametrize(
    ("append", "told"),
    [
        (lambda one: one.append_event("e", {}), "e: no stream_id, and no text or integer in data.user_id"),
        (lambda one: one.append_event("e", {"user_id": None}), "no stream_id"),
        (lambda one: one.append_event("e", {"user_id": True}), "no stream_id"),
        (lambda one: one.append_event("e", {"user_id": ""}), "no stream_id"),
        (lambda one: one.append_event("e", {"user_id": "u1"}, stream_id=""), "no stream_id"),
        (lambda one: one.append_event("e", {"user_id": "u1"}, stream_id="u2"), "names its stream by data.user_id"),
        (lambda one: one.append_event("e", {}, stream_id="u2"), "names its stream by data.user_id"),
        (lambda one: one.append_event("e", {"user_id": "u1"}, event_id="e1"), "need shape='envelope'"),
        (lambda one: one.append_event("e", {"user_id": "u1"}, expected_version=0), "need shape='envelope'"),
        (lambda one: one.append_event("e", {"user_id": "u1"}, metadata={"a": "b"}), "need shape='envelope'"),
        (lambda one: one.append_event("e", {"user_id": "u1", "x": b""}), "JSON cannot hold its data"),
        (
            lambda one: one.append_events([Event("e", {"user_id": "u1"}), Event("f", {"user_id": "u1", "x": {1}})]),
            "f: JSON cannot hold its data",
        ),
        (lambda one: one.append_events([Event("e", {"user_id": "u1"}), Event("f", {})]), "f: no stream_id"),
    ],
)
def test_an_event_that_cannot_be_written_is_refused_and_nothing_is_sent(
    append: Callable[[EventStore], None], told: str
) -> None:
    kafka = Kafka()
    with pytest.raises(ValueError, match=told):
        append(store(kafka))
    assert kafka.producer.sent == []


@pytest.mark.parametrize("options", [{"enable.idempotence": "false"}, {"group.id": "x"}, {"bootstrap.servers": "x"}])
def test_what_the_promises_rest_on_is_not_for_options(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=f"the store itself decides {next(iter(options))}"):
        store(Kafka(), options=options)


def test_a_shape_is_one_of_two() -> None:
    with pytest.raises(ValueError, match="shape long: short or envelope"):
        store(Kafka(), shape="long")


def within(kafka: Kafka, *users: str, then: Exception | None = None) -> None:
    """Creates users in a `with`."""
    with store(kafka) as one:
        for user in users:
            one.append_event("user_created", {"user_id": user})
        if then:
            raise then


def test_the_end_of_a_with_flushes_and_tells_what_failed() -> None:
    kafka = Kafka()
    kafka.producer.refuse = {b"u2": KafkaError(KafkaError._MSG_TIMED_OUT)}
    with pytest.raises(EventsFailed) as failure:
        within(kafka, "u1", "u2")
    assert [failed.event.data for failed in failure.value.failed] == [{"user_id": "u2"}]


def test_an_error_within_a_with_is_kept_beside_what_failed() -> None:
    kafka, wrong = Kafka(), KeyError("x")
    with pytest.raises(KeyError):
        within(kafka, "u1", then=wrong)
    assert kafka.producer.asked[-1] == ("flush", 35.0)  # what was appended before it is written
    kafka.producer.refuse = {b"u1": KafkaError(KafkaError._MSG_TIMED_OUT)}
    with pytest.raises(EventsFailed) as failure:
        within(kafka, "u1", then=wrong)
    assert failure.value.__context__ is wrong


def test_a_replay_gives_the_states_and_commits_nothing(caplog: pytest.LogCaptureFixture) -> None:
    kafka = Kafka([FakeMessage(0, CREATED)])
    assert store(kafka).replay_events("rebuild") == {"u1": {"user_id": "u1"}}
    assert kafka.configs == [
        {
            "bootstrap.servers": "b:1",
            "group.id": "rebuild",
            "enable.auto.commit": "false",
            "enable.partition.eof": "true",
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
        }
    ]
    assert (kafka.consumer.closed, caplog.records) == (1, [])


def test_a_group_of_its_own_is_new_each_time() -> None:
    kafka = Kafka(spans={0: (0, 0)})
    one = store(kafka)
    assert [one.replay_events(), one.replay_events()] == [{}, {}]
    assert len({config["group.id"] for config in kafka.configs}) == 2


def test_skipped_records_are_logged_without_their_values(caplog: pytest.LogCaptureFixture) -> None:
    bad = [FakeMessage(1, b'{"secret'), FakeMessage(2, b'{"secret'), FakeMessage(3, None)]
    with caplog.at_level(logging.WARNING):
        states = store(Kafka([FakeMessage(0, CREATED), *bad])).replay_events("g")
    assert states == {"u1": {"user_id": "u1"}}
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(
        "3 records of events-topic are skipped: MALFORMED 2, TOMBSTONE 1; the first is events-topic/0/1 "
    )
    assert "secret" not in told


def test_a_broker_that_is_away_is_named() -> None:
    kafka = Kafka(away=KafkaError(KafkaError._TRANSPORT, "refused"))
    with pytest.raises(DependencyMissing, match="Kafka b:1 unreachable: refused"):
        store(kafka).replay_events()


def test_the_consumer_is_closed_whatever_happens() -> None:
    kafka = Kafka([FakeMessage(-1, None, 0, KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))])
    with pytest.raises(DependencyMissing, match="Topic authorization failed"):
        store(kafka).replay_events()
    assert kafka.consumer.closed == 1
