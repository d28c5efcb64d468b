"""Events on their way to a topic: sent in batches by an idempotent producer, each answered for, failures told together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Any, NamedTuple

from confluent_kafka import KafkaException

from jobs.core.errors import JobError
from jobs.core.events.envelope import Envelope

OURS = {
    "enable.idempotence": "true",
    "partitioner": "murmur2_random",  # as Java's clients do: a key has one partition, whoever writes
    "linger.ms": "20",
}
DECIDED = (*OURS, "bootstrap.servers", "message.timeout.ms")  # not for others to set
SHOWN = 5
GRACE_S = 5.0  # beyond the limit by which the client gives an event up itself


class Failed(NamedTuple):
    """An event that was not written, as far as the client knows, and why."""

    event: Envelope
    cause: str

    def __str__(self) -> str:
        return f"{self.event.event_type} of stream {self.event.stream_id}: {self.cause}"


class EventsFailed(JobError):
    """Events that were not written, of all since the last flush; every one of them is in `failed`."""

    def __init__(self, topic: str, failed: Iterable[Failed]) -> None:
        self.topic, self.failed = topic, tuple(failed)
        more = f"; and {len(self.failed) - SHOWN:,} more" if len(self.failed) > SHOWN else ""
        told = "; ".join(map(str, self.failed[:SHOWN]))
        super().__init__(f"{len(self.failed):,} events are not written to {topic}: {told}{more}")


class Appender:
    """One topic's producer, made when the first event is sent."""

    def __init__(
        self, topic: str, options: Mapping[str, str], timeout_s: float, make: Callable[[dict[str, Any]], Any]
    ) -> None:
        limit = {"message.timeout.ms": str(int(timeout_s * 1000))}
        self._topic, self._options, self._timeout_s = topic, {**options, **OURS, **limit}, timeout_s
        self._make, self._tickets = make, count()
        self._producer: Any = None
        self._waiting: dict[int, Envelope] = {}
        self._failed: list[Failed] = []

    def send(self, event: Envelope, value: bytes) -> None:
        """Hands an event to the producer; a failure is told by the next flush."""
        if self._producer is None:
            self._producer = self._make(dict(self._options))
        ticket = next(self._tickets)
        self._waiting[ticket] = event
        try:
            self._queue(event.stream_id, value, lambda error, _: self._answered(ticket, error))
        except KafkaException as failure:
            self._answered(ticket, failure.args[0])
        except BufferError:
            self._answered(ticket, "the client's queue is full")

    def flush(self) -> None:
        """Waits for all answers. Raises EventsFailed."""
        if self._producer is not None:
            self._producer.flush(self._timeout_s + GRACE_S)
        unanswered = [Failed(event, "no answer, it may be written") for event in self._waiting.values()]
        failed, self._failed, self._waiting = [*self._failed, *unanswered], [], {}
        if failed:
            raise EventsFailed(self._topic, failed)

    def close(self) -> None:
        """Flushes, and lets the producer go. Raises EventsFailed."""
        try:
            self.flush()
        finally:
            self._producer = None

    def _queue(self, stream: str, value: bytes, answered: Callable[[Any, Any], None]) -> None:
        """Waits where the queue is full, as long as an event may take. Raises BufferError and KafkaException."""
        producer, record = self._producer, {"key": stream.encode(), "value": value, "on_delivery": answered}
        try:
            producer.produce(self._topic, **record)
        except BufferError:
            producer.poll(self._timeout_s)
            producer.produce(self._topic, **record)
        producer.poll(0)

    def _answered(self, ticket: int, error: Any) -> None:
        event = self._waiting.pop(ticket, None)
        if event is not None and error is not None:
            self._failed.append(Failed(event, error.str() if hasattr(error, "str") else str(error)))
