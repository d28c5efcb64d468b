"""Kafka's clients without a broker: what was asked of them, and what they were told to answer."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException

EARLIEST = -2


@dataclass
class FakeProducer:
    """Answers at the flush, unless told otherwise."""

    config: dict[str, Any] = field(default_factory=dict)
    sent: list[dict[str, Any]] = field(default_factory=list)
    refuse: dict[bytes, Any] = field(default_factory=dict)  # by key: what the broker answers
    raises: dict[bytes, list[Exception]] = field(default_factory=dict)  # by key: what the client raises at once
    silent: bool = False
    asked: list[Any] = field(default_factory=list)

    def produce(self, topic: str, key: bytes, value: bytes, on_delivery: Any) -> None:
        if self.raises.get(key):
            raise self.raises[key].pop(0)
        self.sent.append({"topic": topic, "key": key, "value": value, "answered": on_delivery})

    def poll(self, timeout: float) -> None:
        self.asked.append(("poll", timeout))

    def flush(self, timeout: float) -> int:
        self.asked.append(("flush", timeout))
        if not self.silent:
            for one in self.sent:
                one["answered"](self.refuse.get(one["key"]), None)
        return 0


@dataclass
class FakeMessage:
    at: int
    content: bytes | None = None
    part: int = 0
    failure: KafkaError | None = None

    def offset(self) -> int:
        return self.at

    def partition(self) -> int:
        return self.part

    def value(self) -> bytes | None:
        return self.content

    def error(self) -> KafkaError | None:
        return self.failure


def end_of(partition: int, offset: int) -> FakeMessage:
    return FakeMessage(offset, None, partition, KafkaError(KafkaError._PARTITION_EOF))


class FakeConsumer:
    """Gives batch after batch; after the last one, nothing."""

    def __init__(self, *batches: Iterable[FakeMessage]) -> None:
        self.batches = [list(batch) for batch in batches]
        self.assigned: list[tuple[int, int]] = []
        self.left: list[int] = []
        self.closed = 0

    def assign(self, places: list[Any]) -> None:
        self.assigned = [(place.partition, place.offset) for place in places]

    def incremental_unassign(self, places: list[Any]) -> None:
        self.left += [place.partition for place in places]

    def consume(self, count: int, timeout: float) -> list[FakeMessage]:
        return self.batches.pop(0) if self.batches else []

    def close(self) -> None:
        self.closed += 1


class FakeAdmin:
    """A broker with one topic; `away` is what it says instead, and `unsettled` what it says of offsets at first."""

    def __init__(self, topic: str, spans: dict[int, tuple[int, int]], away: KafkaError | None = None) -> None:
        self.topic, self.spans, self.away = topic, spans, away
        self.unsettled: list[KafkaError] = []
        self.isolation: set[Any] = set()

    def list_topics(self, topic: str, timeout: float) -> Any:
        if self.away:
            raise KafkaException(self.away)
        known = SimpleNamespace(partitions=dict.fromkeys(self.spans), error=None)
        missing = SimpleNamespace(partitions={}, error=KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        return SimpleNamespace(topics={topic: known if topic == self.topic else missing})

    def list_offsets(self, asked: dict[Any, Any], isolation_level: Any, request_timeout: float) -> dict[Any, Any]:
        self.isolation.add(isolation_level)
        answers: dict[Any, Any] = {}
        for place, spec in asked.items():
            answers[place] = Future()
            if self.unsettled:
                answers[place].set_exception(KafkaException(self.unsettled.pop()))
                break
            answers[place].set_result(SimpleNamespace(offset=self.spans[place.partition][spec._value != EARLIEST]))
        return answers
