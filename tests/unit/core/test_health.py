"""The causes for not being ready, on a clock of the test's own; then the server, on a real port."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from jobs.core.errors import ConfigError
from jobs.core.health import Readiness, Server, State, app
from jobs.core.monitoring import Ready

AT = datetime(2026, 1, 1, tzinfo=timezone.utc)
GOOD = State(progress_at=AT, lag=0)


class Job:
    """What is known of a job, and the time, both for a test to change."""

    def __init__(self, **ready: Any) -> None:
        self.now, self.state = AT, GOOD
        self.readiness = Readiness(Ready.model_validate(ready), lambda: self.state, lambda: self.now)

    def causes(self, after_s: float = 0, **state: Any) -> list[tuple[str, str]]:
        self.now += timedelta(seconds=after_s)
        self.state = replace(self.state, **state)
        return [(found.cause, found.detail) for found in self.readiness.causes()]


LIMITED = {"max_lag": 100, "for": "60s", "no_progress": "5m"}


def test_a_lag_has_to_be_too_great_for_a_while() -> None:
    job = Job(**LIMITED)
    assert job.causes(lag=100) == []
    assert job.causes(lag=101) == []
    assert job.causes(60) == []
    assert job.causes(1, lag=5000) == [("lag", "5000 records behind for 61 s, 100 are allowed for 60s")]
    assert job.causes(lag=100) == []
    assert job.causes(lag=101) == []
    assert job.causes(60) == []


def test_a_lag_that_is_not_known_is_no_small_one() -> None:
    job = Job(**LIMITED)
    assert job.causes(lag=None) == []
    assert job.causes(61) == [("lag", "not known for 61 s, 100 are allowed for 60s")]
    assert job.causes(lag=0) == []


def test_without_a_limit_a_lag_is_no_cause() -> None:
    job = Job()
    assert job.causes(lag=10**9) == job.causes(120) == job.causes(lag=None) == job.causes(120) == []


def test_progress_is_due() -> None:
    job = Job(**LIMITED)
    assert job.causes(300) == []
    assert job.causes(1) == [("no_progress", "none for 301 s, 5m are allowed")]
    assert job.causes(progress_at=job.now) == []


def test_each_cause_is_named() -> None:
    job = Job()
    state = {"open_breakers": ["kafka", "postgres"], "stale": "90 s old", "alive": False, "stopping": True}
    assert job.causes(**state) == [
        ("not_running", "the query has not started, or has ended"),
        ("stopping", "the job was asked to end, or has failed"),
        ("breaker_open", "kafka is not being called"),
        ("breaker_open", "postgres is not being called"),
        ("reference_stale", "90 s old"),
    ]


Get = Callable[..., tuple[int, str, Any]]


@pytest.fixture
def served() -> Iterator[tuple[Job, Server, Get]]:
    job, registry = Job(), CollectorRegistry()
    Counter("patterns_batches", "Batches.", registry=registry).inc(3)
    server = Server("127.0.0.1", 0, app(registry, job.readiness))

    def ask(path: str, method: str = "GET") -> tuple[int, str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            kind, body = answer.headers["Content-Type"], answer.read().decode()
            return answer.status, kind, json.loads(body) if kind == "application/json" and body else body
        finally:
            connection.close()

    try:
        yield job, server, ask
    finally:
        server.close()


def test_healthz_is_about_the_query_alone(served: tuple[Job, Server, Get]) -> None:
    job, _, ask = served
    assert ask("/healthz") == (200, "application/json", {"alive": True})
    job.state = replace(GOOD, stopping=True, stale="old")
    assert ask("/healthz")[0] == 200
    job.state = replace(GOOD, alive=False)
    assert ask("/healthz") == (503, "application/json", {"alive": False})


def test_readyz_names_each_cause(served: tuple[Job, Server, Get]) -> None:
    job, _, ask = served
    assert ask("/readyz") == (200, "application/json", {"ready": True, "causes": []})
    job.state = replace(GOOD, open_breakers=["kafka"])
    cause = {"cause": "breaker_open", "detail": "kafka is not being called"}
    assert ask("/readyz") == (503, "application/json", {"ready": False, "causes": [cause]})


def test_metrics_come_as_text(served: tuple[Job, Server, Get]) -> None:
    status, kind, body = served[2]("/metrics")
    assert (status, kind.partition(";")[0]) == (200, "text/plain")
    assert "patterns_batches_total 3.0" in body.splitlines()


@pytest.mark.parametrize("path", ["/", "/metrics/", "/favicon.ico", "/../etc/passwd"])
def test_other_paths_are_not_there(served: tuple[Job, Server, Get], path: str) -> None:
    assert served[2](path) == (404, "application/json", {"paths": ["/metrics", "/healthz", "/readyz"]})


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
def test_only_get_is_answered(served: tuple[Job, Server, Get], path: str, method: str) -> None:
    assert served[2](path, method)[0] == 405


def test_a_client_that_says_nothing_holds_up_no_other(served: tuple[Job, Server, Get]) -> None:
    _, server, ask = served
    with socket.create_connection(("127.0.0.1", server.port)):
        began = time.monotonic()
        assert ask("/healthz")[0] == 200
        assert time.monotonic() - began < 4, "it waited for the other client's time to be up"


def test_a_port_that_is_taken_is_refused_in_words(served: tuple[Job, Server, Get]) -> None:
    port = served[1].port
    with pytest.raises(ConfigError) as refused:
        Server("127.0.0.1", port, app(CollectorRegistry(), Job().readiness))
    allowed = "a port of 127.0.0.1 that is free (Address already in use); 0 takes any"
    assert str(refused.value) == f"conf: monitoring.port = {port}: {allowed}"


def test_a_server_that_was_closed_leaves_its_port() -> None:
    first = Server("127.0.0.1", 0, app(CollectorRegistry(), Job().readiness))
    assert first.url == f"http://127.0.0.1:{first.port}"
    first.close()
    Server("127.0.0.1", first.port, app(CollectorRegistry(), Job().readiness)).close()


def test_it_listens_where_it_is_told_and_nowhere_else() -> None:
    server = Server("127.0.0.1", 0, app(CollectorRegistry(), Job().readiness))
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", server.port), timeout=5)
    finally:
        server.close()
