"""A constant load on a topic, about one record in ten of it bad, that outlives an outage of the broker."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

from confluent_kafka import Producer

from _faults.case import Case, orders

TICK_S = 0.1
KEPT_MS = 600_000  # how long a record waits for a broker that is away


class Load:
    """Sends in a thread of its own until the end of its block; then all that was sent is in the topic."""

    def __init__(self, case: Case, rate: int) -> None:
        self._case, self._each = case, max(1, round(rate * TICK_S))
        settings = {"enable.idempotence": True, "message.timeout.ms": KEPT_MS, "log_level": 0, "linger.ms": 20}
        self._producer = Producer({"bootstrap.servers": case.servers.stack.bootstrap_servers, **settings})
        self._over = threading.Event()
        self._failed: list[str] = []
        self._thread = threading.Thread(target=self._send, name="load", daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        left = self._producer.flush(60)
        assert kind or not (left or self._failed), f"{left} records were not sent: {self._failed[:3]}"

    def _send(self) -> None:
        number = 0
        while not self._over.wait(TICK_S):
            for value in orders(self._each, number):
                self._producer.produce(self._case.topic, value=value, partition=0, on_delivery=self._delivered)
            number += self._each
            self._producer.poll(0)

    def _delivered(self, error: Any, message: Any) -> None:
        if error is None:
            self._case.sent += 1
        else:
            self._failed.append(str(error))
