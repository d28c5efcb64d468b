from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from _kafka import FakeProducer
from confluent_kafka import KafkaError, KafkaException

from jobs.core.events.appending import Appender, EventsFailed, Failed
from jobs.core.events.envelope import Envelope

AT = datetime(2026, 1, 5, tzinfo=timezone.utc)


def event(stream: str) -> Envelope:
    return Envelope(stream, "user_created", {}, AT)


class Made:
    """Producers as they were asked for."""

    def __init__(self, **told: Any) -> None:
        self.told, self.all = told, list[FakeProducer]()

    def __call__(self, config: dict[str, Any]) -> FakeProducer:
        self.all.append(FakeProducer(config, **self.told))
        return self.all[-1]


def appender(made: Made) -> Appender:
    return Appender("events", {"bootstrap.servers": "b:1", "compression.type": "lz4"}, 2.0, made)


def test_nothing_is_started_before_the_first_event() -> None:
    made = Made()
    one = appender(made)
    one.flush()
    one.close()
    assert made.all == []


def test_an_event_goes_out_keyed_by_its_stream_through_an_idempotent_producer() -> None:
    made = Made()
    one = appender(made)
    one.send(event("u1"), b"1")
    one.send(event("ü"), b"2")
    one.flush()
    (producer,) = made.all
    assert producer.config == {
        "bootstrap.servers": "b:1",
        "compression.type": "lz4",
        "enable.idempotence": "true",
        "partitioner": "murmur2_random",
        "linger.ms": "20",
        "message.timeout.ms": "2000",
    }
    assert [(sent["topic"], sent["key"], sent["value"]) for sent in producer.sent] == [
        ("events", b"u1", b"1"),
        ("events", "ü".encode(), b"2"),
    ]
    assert producer.asked == [("poll", 0), ("poll", 0), ("flush", 7.0)]


def test_what_the_broker_refuses_is_told_once_by_the_flush() -> None:
    made = Made(refuse={b"u2": KafkaError(KafkaError._MSG_TIMED_OUT)})
    one = appender(made)
    for stream in ("u1", "u2", "u3"):
        one.send(event(stream), b"x")
    with pytest.raises(
        EventsFailed, match="^1 events are not written to events: user_created of stream u2: "
    ) as failure:
        one.flush()
    assert failure.value.failed == (Failed(event("u2"), "Local: Message timed out"),)
    made.all[0].sent.clear()
    one.flush()


def test_what_the_client_refuses_is_told_by_the_flush_and_the_rest_goes_out() -> None:
    too_large = KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
    made = Made(raises={b"u1": [too_large], b"u2": [BufferError(), BufferError()], b"u3": [BufferError()]})
    one = appender(made)
    for stream in ("u1", "u2", "u3", "u4"):
        one.send(event(stream), b"x")
    assert [sent["key"] for sent in made.all[0].sent] == [b"u3", b"u4"]
    assert made.all[0].asked.count(("poll", 2.0)) == 2  # a full queue is waited for
    with pytest.raises(EventsFailed) as failure:
        one.flush()
    assert [(failed.event.stream_id, failed.cause) for failed in failure.value.failed] == [
        ("u1", "Broker: Message size too large"),
        ("u2", "the client's queue is full"),
    ]


def test_an_event_without_an_answer_is_told_and_a_late_answer_is_of_no_other_event() -> None:
    made = Made(silent=True)
    one = appender(made)
    one.send(event("u1"), b"x")
    with pytest.raises(EventsFailed, match="u1: no answer, it may be written"):
        one.flush()
    one.send(event("u2"), b"x")
    made.all[0].sent[0]["answered"](KafkaError(KafkaError._MSG_TIMED_OUT), None)
    with pytest.raises(EventsFailed) as failure:
        one.flush()
    assert [failed.event.stream_id for failed in failure.value.failed] == ["u2"]


def test_many_failures_are_all_there_and_a_few_are_shown() -> None:
    failure = EventsFailed("events", [Failed(event(f"u{number}"), "why") for number in range(1_007)])
    assert len(failure.failed) == 1_007
    assert str(failure).startswith("1,007 events are not written to events: user_created of stream u0: why; ")
    assert str(failure).endswith("stream u4: why; and 1,002 more")


def test_after_a_close_it_begins_anew() -> None:
    made = Made(refuse={b"u1": KafkaError(KafkaError._MSG_TIMED_OUT)})
    one = appender(made)
    one.send(event("u1"), b"x")
    with pytest.raises(EventsFailed):
        one.close()
    one.send(event("u2"), b"x")
    one.close()
    assert len(made.all) == 2
