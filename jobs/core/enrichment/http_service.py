"""A service that is asked by HTTP: a GET for each key, or a POST for many.

    GET   the URL has a {column} for each column of the key, which is quoted, so that no key leaves its place; the answer is the
          body; a status of `missing` says that there is none
    POST  the body is {"keys": [{column: value}, ...]}; the answers are a list of objects in the body, at the dotted path
          `answers` if it is given, each with the columns of its key; a key without one has none

What may pass is tried again: no connection, a time-out, 408, 425, 429 and 5xx. To a call for one key, 400, 413, 414, 422 and
431 are no answer; a call for more is made again by halves, as it is where the body is too long. Any other status, a redirect
too, ends the job: it would be the same for every key. A body that is compressed, or longer than `max_bytes`, is no answer.
`timeout` holds for the connection, for each wait for more of an answer, and for a body as a whole, however slowly its bytes
come.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from http import HTTPStatus
from threading import Lock
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from jobs.core.enrichment.asking import Ask, Given, NoAnswer

MAY_PASS = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
DOTS = {".": "%2E", "..": "%2E%2E"}
OF_KEYS = {  # as the keys of a call are, or how many
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.REQUEST_URI_TOO_LONG,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
}
NO_PLACE = NoAnswer("an empty key, or one of dots alone, has no place in a URL")
TOO_LONG = NoAnswer("the key is too long for a URL")
TWO_ANSWERS = NoAnswer("the service has more than one answer for the key")
UNSOUND = NoAnswer("one of the answers is no sound JSON, and may be this key's")
NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
REDIRECTS = ", and redirects are not followed"
ANSWER = msgspec.json.Decoder(float_hook=Decimal)
Objects = list[msgspec.Raw]


class ServiceRefused(Exception):
    """A service answers what no other attempt would change."""

    def __init__(self, status: int, why: str = "") -> None:
        super().__init__(f"the service answers {status}{why}")
        self.status = status


class Busy(ConnectionError):
    """A status that may pass."""


@dataclass(frozen=True)
class HttpService:
    """One service; travels to the executors, its secrets with it."""

    name: str
    url: str
    key: Sequence[str]  # columns
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    answers: str = ""  # POST: where the list stands in the body
    missing: frozenset[int] = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.NO_CONTENT})
    timeout_s: float = 5.0
    max_bytes: int = 1 << 20
    per_s: float | None = None  # calls a second, of one task
    certificates: str | None = None  # a file of those that are trusted; else the system's
    concurrency: int = 4

    @contextlib.contextmanager
    def open(self) -> Iterator[Ask]:
        limits = httpx.Limits(max_connections=self.concurrency)
        verify: Any = self.certificates or True
        with httpx.Client(
            headers={**self.headers, "Accept-Encoding": "identity"},
            timeout=self.timeout_s,
            limits=limits,
            verify=verify,
            trust_env=False,
        ) as client:
            calls = _Calls(self, client, self._pace)
            yield calls.get if self.method == "GET" else calls.post

    @cached_property
    def _pace(self) -> Pace:
        """One for a task, whichever connection it calls on."""
        return Pace(self.per_s)


class Pace:
    """Lets so many calls begin in a second, evenly; shared by threads."""

    def __init__(
        self,
        per_s: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._every, self._clock, self._sleep = 1 / per_s if per_s else 0.0, clock, sleep
        self._lock, self._next = Lock(), clock()

    def wait(self) -> None:
        """Until the caller's turn."""
        with self._lock:
            now = self._clock()
            turn = max(self._next, now)
            self._next = turn + self._every
        if turn > now:
            self._sleep(turn - now)


@dataclass(frozen=True)
class _Calls:
    service: HttpService
    client: httpx.Client
    pace: Pace

    def get(self, keys: list[str]) -> Given:
        return {key: self._taken(self._one, [key])[key] for key in keys}

    def post(self, keys: list[str]) -> Given:
        return self._taken(self._many, keys)

    def _taken(self, call: Callable[[list[str]], Given], keys: list[str]) -> Given:
        """What the service says to keys; those that it does not take, or whose answers are too many, are found by halves."""
        try:
            found = call(keys)
            if len(keys) == 1 or self._too_long not in found.values():
                return found
        except ServiceRefused as refused:
            if refused.status not in OF_KEYS:
                raise
            if len(keys) == 1:
                return {keys[0]: NoAnswer(str(refused))}
        half = len(keys) // 2
        return {**self._taken(call, keys[:half]), **self._taken(call, keys[half:])}

    @property
    def _too_long(self) -> NoAnswer:
        return NoAnswer(f"longer than {self.service.max_bytes} bytes")

    def _many(self, keys: list[str]) -> Given:
        """Keys are JSON objects already."""
        body = self._sent("POST", self.service.url, content=f'{{"keys": [{",".join(keys)}]}}'.encode())
        if body is None or isinstance(body, NoAnswer):
            return dict.fromkeys(keys, body)
        try:
            objects = _list(body, self.service.answers)
        except (*NO_JSON, KeyError) as failure:
            return dict.fromkeys(keys, NoAnswer(f"no list of answers: {type(failure).__name__}"))
        return self._matched(keys, objects)

    def _one(self, keys: list[str]) -> Given:
        (key,) = keys
        named = {name: _text(value) for name, value in _values(key).items()}
        if any(value in ("", *DOTS) for value in named.values()):
            return {key: NO_PLACE}
        places = {name: quote(value, safe="") for name, value in named.items()}
        try:
            return {key: self._sent("GET", self.service.url.format(**places))}
        except httpx.InvalidURL:
            return {key: TOO_LONG}

    def _matched(self, keys: list[str], objects: Objects) -> Given:
        """Each key with the one object that has its values."""
        found: dict[str, bytes | NoAnswer | None] = dict.fromkeys(keys)
        known = {_identity(_values(key), self.service.key): key for key in keys}
        unsound = False
        for raw in objects:
            try:
                named = ANSWER.decode(raw)
            except NO_JSON:
                unsound = True
                continue
            key = known.get(_identity(named, self.service.key)) if isinstance(named, dict) else None
            if key is not None:
                found[key] = bytes(raw) if found[key] is None else TWO_ANSWERS
        return {key: UNSOUND if unsound and answer is None else answer for key, answer in found.items()}

    def _sent(self, method: str, url: str, content: bytes | None = None) -> bytes | NoAnswer | None:
        """The body; None for a status that says that there is none. Raises Busy, ServiceRefused, TimeoutError."""
        self.pace.wait()
        ends = time.monotonic() + self.service.timeout_s
        sent = {"content": content, "headers": {"Content-Type": "application/json"}} if content is not None else {}
        try:
            with self.client.stream(method, url, **sent) as response:  # type: ignore[arg-type]
                return self._body(response, ends)
        except httpx.TimeoutException as failure:
            raise TimeoutError(f"no answer within {self.service.timeout_s:g} s") from failure
        except httpx.LocalProtocolError:  # its text has the headers
            raise ValueError("a header or the URL is not as HTTP has it") from None
        except httpx.TransportError as failure:
            raise ConnectionError(f"{type(failure).__name__}: {failure}") from failure

    def _body(self, response: httpx.Response, ends: float) -> bytes | NoAnswer | None:
        status = response.status_code
        if status in self.service.missing and self.service.method == "GET":
            return None
        if status in MAY_PASS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Busy(f"the service answers {status}")
        if status != HTTPStatus.OK:
            raise ServiceRefused(status, REDIRECTS if response.is_redirect else "")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            return NoAnswer("compressed, which was not asked for")
        body = bytearray()
        for part in response.iter_raw():
            body += part
            if len(body) > self.service.max_bytes:
                return self._too_long
            if time.monotonic() > ends:
                break
        if time.monotonic() > ends:
            raise TimeoutError(f"not whole within {self.service.timeout_s:g} s")
        return bytes(body)


def _list(body: bytes, path: str) -> Objects:
    raw = msgspec.Raw(body)
    for name in path.split(".") if path else ():
        raw = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])[name]
    return msgspec.json.decode(raw, type=Objects)


def _values(key: str) -> dict[str, Any]:
    """Of a key's columns; numbers to their last digit."""
    found: dict[str, Any] = json.loads(key, parse_float=Decimal)
    return found


def _identity(values: Mapping[str, Any], key: Sequence[str]) -> tuple[Any, ...]:
    """What two of one key have in common: a number may be written with more zeros, and true is none."""
    return tuple((type(value) in (int, Decimal), value) if _is_plain(value) else None for value in map(values.get, key))


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, Decimal))


def _text(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value if isinstance(value, str) else json.dumps(value)
