"""What a task does with its part of the keys: answers from the cache, and calls for those that it lacks.

KEYS     _lookup STRING (the key's columns as a JSON object)
ANSWERS  _lookup STRING, the answer's columns, _state STRING, _said STRING, _age_ms BIGINT, _bytes BIGINT, _calls BIGINT,
         _calls_ms BIGINT (calls that were made since the row before, and how long they took)

| `_state` | the answer |
| --- | --- |
| fresh | was asked for now |
| cached | is kept, and not older than `ttl`, or `negative_ttl` where there was none |
| stale | is kept and older, but there is no newer one, and it is not older than `max_stale`; `_said` says why a call failed |
| missed | there is none: the service does not know the key |
| unfit | what the service said is no answer; `_said` says why |
| failed | the service did not answer; `_said` says why |

An answer is JSON, read as strictly as a record is. A call is tried again as `retry` says; after failures enough the task's
breaker opens, and what is left of its keys is not asked for. A failure that will not pass ends the task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from time import perf_counter
from types import TracebackType
from typing import NamedTuple, Protocol
from uuid import uuid4

import pyarrow as pa
from pyspark import SparkFiles, TaskContext

from jobs.core.breaker import CircuitBreaker
from jobs.core.connections import Breaker, Retry
from jobs.core.decode import format_decoder
from jobs.core.decode_plan import DecodeSettings
from jobs.core.enrichment.cache import Cache, Kept
from jobs.core.errors import BreakerOpen
from jobs.core.failures import words
from jobs.core.retry import Retrier, is_transient
from jobs.core.workers import in_worker

LOOKUP, STATE, DETAIL = "_lookup", "_state", "_said"
AGE, BYTES, CALLS, CALLS_MS = "_age_ms", "_bytes", "_calls", "_calls_ms"
HELD_BYTES = 64 << 20  # of answers that a task has in hand
FOLDER = "patterns-lookups"  # in the application's own folder on each machine
Batches = Iterator[pa.RecordBatch]


class NoAnswer(NamedTuple):
    """What came is no answer to a key, as two rows are none."""

    why: str


Given = Mapping[str, bytes | NoAnswer | None]  # by key; None where the service knows of none
Ask = Callable[[list[str]], Given]


class Caller(Protocol):
    """Who is asked, from within a task."""

    def open(self) -> AbstractContextManager[Ask]:
        """One connection for a task. Asked for keys, it raises what keeps it from answering."""


class Answer(NamedTuple):
    """What is known of one key; `value` is JSON that the answer's schema reads."""

    value: bytes | None
    state: str
    age_s: float
    detail: str | None = None


class Made(NamedTuple):
    """Calls, and how long they took all together."""

    calls: int
    seconds: float


NONE_MADE = Made(0, 0.0)


@dataclass(frozen=True)
class Limits:
    """Of one lookup; times in seconds."""

    ttl: float
    negative_ttl: float
    max_stale: float  # 0: what is older than `ttl` is no answer
    keys: int  # kept by each part
    batch: int  # keys a call
    concurrency: int = 1  # calls at once

    def serves(self, kept: Kept, now: float) -> bool:
        """Whether it may be used without a call."""
        return now - kept.asked_at <= (self.negative_ttl if kept.value is None else self.ttl)

    def bears(self, kept: Kept, now: float) -> bool:
        """Whether it may be used where the service does not answer."""
        return kept.value is not None and now - kept.asked_at <= self.max_stale


@dataclass(frozen=True)
class Asking:
    """A task's work: KEYS -> ANSWERS."""

    name: str
    caller: Caller
    answer: DecodeSettings
    limits: Limits
    retry: Retry
    breaker: Breaker
    now: float
    cache: str = field(
        default_factory=lambda: uuid4().hex
    )  # of one start of a job: the next may mean something else by it
    may_call: bool = True  # whether the job's own breaker lets calls through

    @in_worker
    def __call__(self, batches: Batches) -> Batches:
        with ExitStack() as opened:
            cache = opened.enter_context(Cache(self._file(), self.limits.keys))
            calls = opened.enter_context(Calls(self))
            for batch in batches:
                for found in self.answers(batch.column(LOOKUP).to_pylist(), cache, calls):
                    yield self.shown(found, calls.counted())

    def answers(self, keys: list[str], cache: Cache, calls: Calls) -> Iterator[dict[str, Answer]]:
        """An answer to each key, so many at a time that those of HELD_BYTES are held, or those to calls made at once."""
        limits = self.limits
        most = max(limits.batch * limits.concurrency, HELD_BYTES // self.answer.max_record_bytes)
        while keys:
            known = cache.read(keys, self.now, HELD_BYTES)
            keys = [key for key in keys if key not in known]
            kept = {key: one for key, one in known.items() if one}
            served = {key: self._served(one) for key, one in kept.items() if limits.serves(one, self.now)}
            if served:
                yield served
            for lacking in _chunks([key for key in known if key not in served], most):
                yield self._asked(lacking, kept, cache, calls)

    def _asked(self, keys: list[str], kept: Mapping[str, Kept], cache: Cache, calls: Calls) -> dict[str, Answer]:
        """Those that the cache does not serve."""
        given, failed = calls.made(keys)
        asked = {key: value for key, value in given.items() if not isinstance(value, NoAnswer)}
        unfit = {key: value.why for key, value in given.items() if isinstance(value, NoAnswer)} | self._unfit(asked)
        asked = {key: value for key, value in asked.items() if key not in unfit}
        cache.write(asked, self.now)
        found = {key: Answer(value, "missed" if value is None else "fresh", 0.0) for key, value in asked.items()}
        for state, whys in (("failed", failed), ("unfit", unfit)):
            found |= {key: self._without(kept.get(key), state, why) for key, why in whys.items()}
        return found

    def shown(self, found: Mapping[str, Answer], made: Made = NONE_MADE) -> pa.RecordBatch:
        """ANSWERS; the first row has the calls."""
        keys, answers = list(found), list(found.values())
        there = [number for number, answer in enumerate(answers) if answer.value is not None]
        read = format_decoder(self.answer)(pa.array([answers[number].value for number in there], pa.binary()))
        at = dict(zip(there, read.places or range(len(there))))
        places = pa.array([at.get(number) for number in range(len(keys))], pa.int64())
        return pa.RecordBatch.from_pydict(
            {
                LOOKUP: pa.array(keys, pa.string()),
                **dict(zip(self.answer.schema.names, [column.take(places) for column in read.columns])),
                STATE: pa.array([answer.state for answer in answers], pa.string()),
                DETAIL: pa.array([answer.detail for answer in answers], pa.string()),
                AGE: pa.array([int(answer.age_s * 1_000) for answer in answers], pa.int64()),
                BYTES: pa.array([len(answer.value or b"") for answer in answers], pa.int64()),
                CALLS: pa.array([made.calls, *[0] * len(keys)][: len(keys)], pa.int64()),
                CALLS_MS: pa.array([int(made.seconds * 1_000), *[0] * len(keys)][: len(keys)], pa.int64()),
            }
        )

    def _unfit(self, asked: Mapping[str, bytes | None]) -> dict[str, str]:
        """Keys whose answers are none, and why: they are not kept."""
        most = self.answer.max_record_bytes
        long = {key: f"longer than {most} bytes" for key, value in asked.items() if value and len(value) > most}
        there = [key for key, value in asked.items() if value is not None and key not in long]
        read = format_decoder(self.answer)(pa.array([asked[key] for key in there], pa.binary()))
        return long | {there[row]: f"{found.reason.value}: {found.detail}" for row, found in read.rejected.items()}

    def _served(self, kept: Kept) -> Answer:
        return Answer(kept.value, "missed" if kept.value is None else "cached", self.now - kept.asked_at)

    def _without(self, kept: Kept | None, state: str, why: str) -> Answer:
        if kept and self.limits.bears(kept, self.now):
            is_away = state == "failed"  # else the service is there: that is no failure of its own
            return Answer(kept.value, "stale", self.now - kept.asked_at, why if is_away else None)
        return Answer(None, state, 0.0, why)

    def _file(self) -> Path:
        task = TaskContext.get()
        part = task.partitionId() if task else 0
        return Path(SparkFiles.getRootDirectory()) / FOLDER / f"{self.name}-{self.cache}-{part}.sqlite"


class Calls:
    """Those of one task, on a connection that is opened with the first, and closed at the end."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._ask: Ask | None = None
        self._open = ExitStack()
        self._opening, self._counting = Lock(), Lock()
        self._made = NONE_MADE
        self._retrier = Retrier(asking.name, asking.retry, Event())
        self._breaker = CircuitBreaker(asking.name, asking.breaker)

    def __enter__(self) -> Calls:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    def made(self, keys: list[str]) -> tuple[dict[str, bytes | NoAnswer | None], dict[str, str]]:
        """What was said, and why nothing was, of keys that are each asked for once. Raises what will not pass."""
        asked: dict[str, bytes | NoAnswer | None] = {}
        failed: dict[str, str] = {}
        for chunk, said in self._each(list(_chunks(keys, self._asking.limits.batch))):
            if isinstance(said, str):
                failed |= dict.fromkeys(chunk, said)
            else:
                asked |= said
        return asked, failed

    def counted(self) -> Made:
        """Those that were made since it was last asked."""
        with self._counting:
            made, self._made = self._made, NONE_MADE
        return made

    def _each(self, chunks: list[list[str]]) -> Iterator[tuple[list[str], Given | str]]:
        """Several at a time, where that is allowed."""
        if self._asking.limits.concurrency == 1 or len(chunks) < 2:
            yield from ((chunk, self._said(chunk)) for chunk in chunks)
            return
        with ThreadPoolExecutor(self._asking.limits.concurrency) as threads:
            yield from zip(chunks, threads.map(self._said, chunks))

    def _said(self, chunk: list[str]) -> Given | str:
        """Answers, or why there are none. Raises what will not pass."""
        try:
            return self._call(chunk)
        except Exception as failure:
            if not (is_transient(failure) or isinstance(failure, BreakerOpen)):
                raise
            return words(failure)

    def _call(self, keys: list[str]) -> Given:
        if not self._asking.may_call:
            raise BreakerOpen(self._asking.name, 0.0, "it failed too often")
        return self._retrier(lambda: self._breaker.call(lambda: self._once(keys)))

    def _once(self, keys: list[str]) -> Given:
        """A connection that failed is not used again, unless it is one that several calls share, and that renews itself."""
        with self._opening:
            ask = self._ask = self._ask or self._open.enter_context(self._asking.caller.open())
        began = perf_counter()
        try:
            return ask(keys)
        except BaseException:
            if self._asking.limits.concurrency == 1:
                self._ask = None
                self._open.close()
            raise
        finally:
            self._count(perf_counter() - began)

    def _count(self, seconds: float) -> None:
        with self._counting:
            self._made = Made(self._made.calls + 1, self._made.seconds + seconds)


def _chunks(keys: Iterable[str], most: int) -> Iterator[list[str]]:
    listed = list(dict.fromkeys(keys))
    return (listed[first : first + most] for first in range(0, len(listed), most))
