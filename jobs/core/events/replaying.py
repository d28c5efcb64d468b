"""A topic of events -> the states that they come to, in one process: from the earliest record to the end at the start.

It ends, whatever the topic holds: nothing at all, gaps of compaction, aborted transactions at its end, or records that keep
coming. An open transaction is not waited for: the end is before it. Nothing is committed. Order is that of a partition, and a
stream is in one partition as long as its key decides.

A record that is no event is skipped, counted by its reason, and told.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from jobs.core.connections import Retry
from jobs.core.decode_plan import Rejection
from jobs.core.errors import DependencyMissing
from jobs.core.events import reading
from jobs.core.events.envelope import Envelope
from jobs.core.kinds import Kind, of_kafka
from jobs.core.reasons import Reason
from jobs.core.retry import Retrier

SETTLING = Retry()  # a leader is elected within a second or two
BATCH = 10_000  # records at a time
SHOWN = 100  # bad records that are kept
State = dict[str, Any]
Evolve = Callable[[Any, Envelope], Any]  # a Rejection in the state's place: the event is skipped
Spans = dict[int, tuple[int, int]]  # partition: (first offset, offset after the last)


@dataclass(frozen=True)
class Bad:
    """A record that was skipped; its value is never kept."""

    topic: str
    partition: int
    offset: int
    reason: Reason
    detail: str

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset} {self.reason.value}: {self.detail}"


@dataclass
class Replay:
    """What a topic came to."""

    states: dict[str, Any] = field(default_factory=dict)  # by stream; without those that have none
    events: int = 0
    skipped: Counter[Reason] = field(default_factory=Counter)
    bad: list[Bad] = field(default_factory=list)  # the first ones

    def skip(self, bad: Bad) -> None:
        self.skipped[bad.reason] += 1
        if len(self.bad) < SHOWN:
            self.bad.append(bad)


def created_or_updated(state: State | None, event: Envelope) -> State | Rejection:
    """`user_created` sets a state, `user_updated` merges into it."""
    if event.event_type == "user_created":
        return dict(event.data)
    if event.event_type == "user_updated":
        return {**(state or {}), **event.data}
    return Rejection(Reason.UNKNOWN_TYPE, f"event type {event.event_type[:100]}")


def replay(consumer: Any, spans: Spans, topic: str, evolve: Evolve, stream_field: str, timeout_s: float) -> Replay:
    """Reads the spans of a topic. Raises DependencyMissing where nothing comes for `timeout_s`, and KafkaException."""
    found, decoder = Replay(), reading.decoder(reading.settings(stream_field))
    for messages in records(consumer, spans, topic, timeout_s):
        for message, event in zip(messages, reading.read([message.value() for message in messages], decoder)):
            outcome = event if isinstance(event, Rejection) else _evolved(found, event, evolve)
            if outcome is not None:
                found.skip(Bad(topic, message.partition(), message.offset(), *outcome))
    return found


def records(consumer: Any, spans: Spans, topic: str, timeout_s: float) -> Iterator[list[Any]]:
    """The messages within the spans, in batches."""
    ends = {partition: end for partition, (begin, end) in spans.items() if begin < end}
    if not ends:
        return
    consumer.assign([TopicPartition(topic, partition, spans[partition][0]) for partition in ends])
    since = time.monotonic()
    while ends:
        messages = consumer.consume(BATCH, timeout=0.2)
        cause = _failure(messages)
        good = [message for message in messages if message.error() is None]
        yield [message for message in good if message.offset() < ends.get(message.partition(), 0)]
        ended = _reached(messages, ends)
        if ended:
            consumer.incremental_unassign([TopicPartition(topic, partition) for partition in ended])
            ends = {partition: end for partition, end in ends.items() if partition not in ended}
        if good or ended:
            since = time.monotonic()
        elif time.monotonic() - since > timeout_s:
            raise DependencyMissing("Kafka", f"topic {topic}", cause or f"no record for {timeout_s:g} s")


def spans(admin: Any, topic: str, timeout_s: float) -> Spans:
    """What the topic holds now, as far as its transactions are over. Raises DependencyMissing without topic or broker."""
    known = admin.list_topics(topic, timeout=timeout_s).topics.get(topic)
    if known is None or known.error is not None:
        raise DependencyMissing("Kafka topic", topic, "the broker has no such topic")
    settled = Retrier(f"offsets of {topic}", SETTLING, Event())
    first, last = (settled(partial(_offsets, admin, topic, known.partitions, spec, timeout_s)) for spec in _WHERE)
    return {partition: (first[partition], last[partition]) for partition in known.partitions}


_WHERE: tuple[Any, Any] = (OffsetSpec.earliest(), OffsetSpec.latest())  # type: ignore[no-untyped-call]


def _offsets(admin: Any, topic: str, partitions: Iterable[int], spec: Any, timeout_s: float) -> Mapping[int, int]:
    asked = {TopicPartition(topic, partition): spec for partition in partitions}
    committed = IsolationLevel.READ_COMMITTED
    answers = admin.list_offsets(asked, isolation_level=committed, request_timeout=timeout_s)
    return {place.partition: answer.result(timeout_s).offset for place, answer in answers.items()}


def _evolved(found: Replay, event: Envelope, evolve: Evolve) -> Rejection | None:
    """Takes an event in, unless it is rejected after all."""
    state = evolve(found.states.get(event.stream_id), event)
    if isinstance(state, Rejection):
        return state
    found.events += 1
    if state is None:
        found.states.pop(event.stream_id, None)
    else:
        found.states[event.stream_id] = state
    return None


def _reached(messages: list[Any], ends: dict[int, int]) -> set[int]:
    """Partitions that were read to their end: by the record before it, one behind it, or the broker's word for it."""
    after = {}
    for message in messages:
        error = message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            after[message.partition()] = message.offset() + (error is None)
    return {partition for partition, offset in after.items() if offset >= ends.get(partition, offset + 1)}


def _failure(messages: list[Any]) -> str:
    """What went wrong and may pass, if anything. Raises KafkaException for what will not."""
    errors = [message.error() for message in messages if message.error() is not None]
    errors = [error for error in errors if error.code() != KafkaError._PARTITION_EOF]
    for error in errors:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise DependencyMissing("Kafka", "records", f"they were deleted while they were read ({error.str()})")
        if of_kafka(error) is not Kind.TRANSIENT:
            raise KafkaException(error)
    return errors[-1].str() if errors else ""
