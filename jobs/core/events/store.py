"""A client that appends events to a topic and replays them, for a Python service or a notebook.

    with EventStore("localhost:9092") as store:
        store.append_event("user_created", {"user_id": "u1", "name": "Ann"})
        store.append_event("user_updated", {"user_id": "u1", "name": "Bo"})
    store.replay_events()                                # {"u1": {"user_id": "u1", "name": "Bo"}}

Events are sent in batches, by an idempotent producer, with their stream as the key: a stream's events keep their order, and
none is written twice by the client's own retries. What could not be written is told by `flush` (`close`, the end of `with`) as
EventsFailed. An event that ran into the time limit may have been written all the same: with `shape="envelope"` it has an
`event_id` by which a second one is known.

The short shape is `{"event_type", "data", "timestamp"}` and nothing else; what only an envelope can hold (an event id, an
expected version, metadata) is refused there. Nothing is started before the first event. A store is for one thread at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import uuid4

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from jobs.core.clock import Clock, utc_now
from jobs.core.errors import DependencyMissing
from jobs.core.events import reading, rendering, replaying
from jobs.core.events.appending import DECIDED, Appender, EventsFailed
from jobs.core.events.envelope import STREAM_FIELD, Envelope
from jobs.core.events.replaying import Evolve, Replay, created_or_updated

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Clients", "EventStore", "EventsFailed", "Shape"]

Shape = Literal["short", "envelope"]
TOPIC = "events-topic"
READING = {
    "enable.auto.commit": "false",
    "enable.partition.eof": "true",
    "isolation.level": "read_committed",
    "auto.offset.reset": "error",  # what is deleted while it is read is not passed over
}
RENDER = {"short": rendering.short, "envelope": rendering.envelope}
log = logging.getLogger(__name__)


class Clients(NamedTuple):
    """How clients are made; a test has its own."""

    producer: Callable[[dict[str, Any]], Any] = Producer
    consumer: Callable[[dict[str, Any]], Any] = Consumer
    admin: Callable[[dict[str, Any]], Any] = AdminClient


REAL = Clients()


class EventStore:
    """Events of one topic. `options` are librdkafka's; those that the promises rest on are refused."""

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str = TOPIC,
        *,
        shape: Shape = "short",
        stream_field: str = STREAM_FIELD,
        evolve: Evolve = created_or_updated,
        timeout_s: float = 30.0,
        options: Mapping[str, str] | None = None,
        clock: Clock = utc_now,
        clients: Clients = REAL,
    ) -> None:
        decided = sorted({*(options or {})} & {*DECIDED, *READING, "group.id"})
        if decided:
            raise ValueError(f"the store itself decides {', '.join(decided)}")
        if shape not in RENDER:
            raise ValueError(f"shape {shape}: short or envelope")
        self.topic, self.shape, self.stream_field, self.evolve = topic, shape, stream_field, evolve
        self._options = {**(options or {}), "bootstrap.servers": bootstrap_servers}
        self._timeout_s, self._clock, self._clients = timeout_s, clock, clients
        self._decoder = reading.decoder(reading.settings(stream_field))
        self._appender = Appender(topic, self._options, timeout_s, clients.producer)

    def append_event(
        self,
        event_type: str,
        data: Mapping[str, Any],
        *,
        stream_id: str | None = None,
        expected_version: int | None = None,
        event_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Envelope:
        """Takes an event to be sent. Raises ValueError for one that no reader would take; then nothing is sent."""
        stream = self._stream(event_type, data, stream_id)
        event = Envelope(stream, event_type, data, self._clock(), event_id, 1, metadata or {}, None, expected_version)
        return self._append([event])[0]

    def append_events(
        self,
        events: Iterable[Any],
        *,
        stream_id: str | None = None,
        expected_version: int | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> list[Envelope]:
        """Takes what a decider decided, in order: `event_type`, `data`, and `occurred_at` where it has one.

        All or, with ValueError, none; `expected_version` is the first one's, and each after it expects one more.
        """
        made = []
        for number, event in enumerate(events):
            stream = self._stream(event.event_type, event.data, stream_id)
            expected = None if expected_version is None else expected_version + number
            at = getattr(event, "occurred_at", None) or self._clock()
            made.append(Envelope(stream, event.event_type, event.data, at, None, 1, metadata or {}, None, expected))
        return self._append(made)

    def flush(self) -> None:
        """Waits until all is written. Raises EventsFailed with what is not, and is forgotten then."""
        self._appender.flush()

    def close(self) -> None:
        """Flushes, and lets the producer go; the store can be used again. Raises EventsFailed."""
        self._appender.close()

    def replay_events(self, consumer_group: str | None = None) -> dict[str, Any]:
        """The state of each stream, of all that the topic holds now. Skipped records are logged; `replay` has them."""
        found = self.replay(consumer_group)
        if found.skipped:
            reasons = ", ".join(f"{reason.value} {count:,}" for reason, count in found.skipped.most_common())
            log.warning("%d records of %s are skipped: %s; the first is %s", *_skipped(found, self.topic, reasons))
        return found.states

    def replay(self, consumer_group: str | None = None) -> Replay:
        """States, counts and bad records. Raises DependencyMissing without broker or topic."""
        group = consumer_group or f"event-store-{uuid4().hex}"
        try:
            spans = replaying.spans(self._clients.admin(dict(self._options)), self.topic, self._timeout_s)
            consumer = self._clients.consumer({**self._options, **READING, "group.id": group})
            try:
                return replaying.replay(consumer, spans, self.topic, self.evolve, self.stream_field, self._timeout_s)
            finally:
                consumer.close()
        except KafkaException as failure:
            raise DependencyMissing("Kafka", self._options["bootstrap.servers"], failure.args[0].str()) from failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stream(self, event_type: str, data: Mapping[str, Any], given: str | None) -> str:
        """By what is given, else by the data. Raises ValueError."""
        named = data.get(self.stream_field)
        own = str(named) if isinstance(named, (str, int)) and not isinstance(named, bool) and named != "" else None
        if given == "" or (given is None and own is None):
            raise ValueError(f"{event_type}: no stream_id, and no text or integer in data.{self.stream_field}")
        if self.shape == "short" and given not in (None, own):
            raise ValueError(
                f"{event_type}: the short shape names its stream by data.{self.stream_field}; use envelope"
            )
        return str(own if given is None else given)

    def _append(self, events: list[Envelope]) -> list[Envelope]:
        made = [self._named(event) for event in events]
        values = [RENDER[self.shape](event) for event in made]
        for event, value in zip(made, values):
            if why := reading.unfit(value, self._decoder):
                raise ValueError(f"{event.event_type}: no reader takes it: {why}")
        for event, value in zip(made, values):
            self._appender.send(event, value)
        return made

    def _named(self, event: Envelope) -> Envelope:
        """With an id, in an envelope. Raises ValueError for what the short shape cannot hold."""
        if self.shape == "envelope":
            return event if event.event_id else replace(event, event_id=str(uuid4()))
        if event.event_id is not None or event.expected_version is not None or event.metadata:
            raise ValueError(f"{event.event_type}: event_id, expected_version and metadata need shape='envelope'")
        return event


def _skipped(found: Replay, topic: str, reasons: str) -> tuple[int, str, str, str]:
    return sum(found.skipped.values()), topic, reasons, str(found.bad[0])
