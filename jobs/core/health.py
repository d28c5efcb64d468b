"""Whether a job is alive and ready, and the small HTTP server that says so: /metrics, /healthz, /readyz.

A request is answered from what is known already: it waits for no batch, no broker and no JVM.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from jobs.core.errors import ConfigError, Problem
from jobs.core.monitoring import Ready


@dataclass(frozen=True)
class State:
    """What is known of a job at one moment."""

    progress_at: datetime  # when the query last ended a batch, or said that there was nothing to do
    lag: int | None = None  # records behind, all partitions together; None while it is not known
    open_breakers: Sequence[str] = ()
    stale: str | None = None  # which reference tables are too old, and how old
    alive: bool = True
    stopping: bool = False


@dataclass(frozen=True)
class Cause:
    """One reason to be not ready."""

    cause: str
    detail: str


class Readiness:
    """Remembers since when the lag has been too great; everything else is so, or is not."""

    def __init__(self, ready: Ready, look: Callable[[], State], clock: Callable[[], datetime]) -> None:
        self._ready, self._look, self._clock = ready, look, clock
        self._lock = threading.Lock()
        self._behind_since: datetime | None = None

    def alive(self) -> bool:
        return self._look().alive

    def causes(self) -> list[Cause]:
        """Why the job is not ready, each cause once; none if it is. Has to be asked from time to time for `for` to count."""
        state, now = self._look(), self._clock()
        with self._lock:
            lag = self._lag(state, now)
        return [*_ending(state), *lag, *self._progress(state, now), *_dependencies(state)]

    def _lag(self, state: State, now: datetime) -> Iterator[Cause]:
        limit = self._ready.max_lag
        if limit is None or (state.lag is not None and state.lag <= limit):
            self._behind_since = None
            return
        self._behind_since = self._behind_since or now
        seconds = (now - self._behind_since).total_seconds()
        if seconds > self._ready.for_.seconds_total:
            what = "not known" if state.lag is None else f"{state.lag} records behind"
            yield Cause("lag", f"{what} for {seconds:.0f} s, {limit} are allowed for {self._ready.for_}")

    def _progress(self, state: State, now: datetime) -> Iterator[Cause]:
        seconds = (now - state.progress_at).total_seconds()
        if seconds > self._ready.no_progress.seconds_total:
            yield Cause("no_progress", f"none for {seconds:.0f} s, {self._ready.no_progress} are allowed")


def _ending(state: State) -> Iterator[Cause]:
    if not state.alive:
        yield Cause("not_running", "the query has not started, or has ended")
    if state.stopping:
        yield Cause("stopping", "the job was asked to end, or has failed")


def _dependencies(state: State) -> Iterator[Cause]:
    for dependency in state.open_breakers:
        yield Cause("breaker_open", f"{dependency} is not being called")
    if state.stale:
        yield Cause("reference_stale", state.stale)


Respond = Callable[[str, list[tuple[str, str]]], Any]
App = Callable[[dict[str, Any], Respond], Iterable[bytes]]


def app(registry: CollectorRegistry, readiness: Readiness) -> App:
    """GET of three paths, as a WSGI application."""
    metrics: App = make_wsgi_app(registry)

    def healthz() -> tuple[str, Any]:
        alive = readiness.alive()
        return _status(alive), {"alive": alive}

    def readyz() -> tuple[str, Any]:
        causes = readiness.causes()
        return _status(not causes), {"ready": not causes, "causes": [asdict(cause) for cause in causes]}

    answers = {"/healthz": healthz, "/readyz": readyz}

    def answer(request: dict[str, Any], respond: Respond) -> Iterable[bytes]:
        path, method = request["PATH_INFO"], request["REQUEST_METHOD"]
        if path != "/metrics" and path not in answers:
            return _json(respond, "404 Not Found", {"paths": ["/metrics", *answers]})
        if method != "GET":
            return _json(respond, "405 Method Not Allowed", {"method": "GET"}, ("Allow", "GET"))
        return metrics(request, respond) if path == "/metrics" else _json(respond, *answers[path]())

    return answer


def _status(good: bool) -> str:
    return "200 OK" if good else "503 Service Unavailable"


def _json(respond: Respond, status: str, body: Any, *headers: tuple[str, str]) -> Iterable[bytes]:
    respond(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store"), *headers])
    return [json.dumps(body).encode() + b"\n"]


class _Six(ThreadingWSGIServer):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    timeout = 5  # a client that says nothing does not hold its thread for ever

    def log_message(self, format: str, *args: Any) -> None:
        """Probes come every few seconds: not a line for each."""


class Server:
    """Answers on one port from threads of its own until it is closed."""

    def __init__(self, host: str, port: int, application: App) -> None:
        """Raises ConfigError where the port cannot be had."""
        try:
            self._server = make_server(host, port, application, _Six if ":" in host else ThreadingWSGIServer, _Quiet)
        except OSError as failure:
            allowed = f"a port of {host} that is free ({failure.strerror}); 0 takes any"
            raise ConfigError(Problem("monitoring.port", str(port), allowed, "conf")) from None
        self.port: int = self._server.server_port
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="monitoring", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
