"""A task's keys: what is kept, what is asked for, what a service that fails leaves, all of it as ANSWERS."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import types as T

from jobs.core.connections import Breaker, Retry
from jobs.core.decode_plan import DecodeSettings
from jobs.core.enrichment import asking
from jobs.core.enrichment.asking import Ask, Asking, Given, Limits, NoAnswer

RATE = T.StructType([T.StructField("rate", T.DecimalType(9, 4)), T.StructField("name", T.StringType())])
NOW = 1_000_000.0
LIMITS = Limits(ttl=60, negative_ttl=10, max_stale=600, keys=100, batch=2)
GONE = ConnectionRefusedError("refused")


@dataclass
class Service:
    """Knows some rates, counts its calls, and fails as often as it is told to."""

    rates: dict[str, Any] = field(default_factory=lambda: {"EUR": b'{"rate": 1.5, "name": "Euro"}'})
    calls: list[list[str]] = field(default_factory=list)
    fails: list[BaseException] = field(default_factory=list)
    opened: int = 0
    closed: int = 0

    @contextmanager
    def open(self) -> Iterator[Ask]:
        self.opened += 1
        yield self.ask
        self.closed += 1

    def ask(self, keys: list[str]) -> Given:
        self.calls.append(keys)
        if self.fails:
            raise self.fails.pop(0)
        return {key: self.rates.get(key) for key in keys}


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def task(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asking:
    monkeypatch.setattr(asking.SparkFiles, "getRootDirectory", lambda: str(tmp_path))
    retry = Retry.model_validate({"attempts": 2, "wait_initial": "1ms", "wait_max": "1ms"})
    breaker = Breaker.model_validate({"min_calls": 4, "window": 4})
    return Asking("rate", service, DecodeSettings("json", RATE), LIMITS, retry, breaker, NOW)


def answers(task: Asking, *keys: str, later: float = 0.0) -> list[tuple[Any, ...]]:
    """(key, rate, state, age in seconds), by one task."""
    batch = pa.RecordBatch.from_pydict({"_lookup": list(keys)})
    found = pa.Table.from_batches(replace(task, now=NOW + later)(iter([batch])))
    assert found.schema.names == [
        "_lookup",
        "rate",
        "name",
        "_state",
        "_said",
        "_age_ms",
        "_bytes",
        "_calls",
        "_calls_ms",
    ]
    rows = sorted(found.to_pylist(), key=lambda row: keys.index(row["_lookup"]))
    return [(row["_lookup"], row["rate"] and float(row["rate"]), row["_state"], row["_age_ms"] / 1_000) for row in rows]


def details(task: Asking, *keys: str) -> list[str | None]:
    found = pa.Table.from_batches(task(iter([pa.RecordBatch.from_pydict({"_lookup": list(keys)})])))
    said = dict(zip(found.column("_lookup").to_pylist(), found.column("_said").to_pylist()))
    return [said[key] for key in keys]


def test_each_key_is_asked_for_once_and_kept(task: Asking, service: Service) -> None:
    assert answers(task, "EUR", "XXX", "YYY") == [
        ("EUR", 1.5, "fresh", 0),
        ("XXX", None, "missed", 0),
        ("YYY", None, "missed", 0),
    ]
    assert service.calls == [["EUR", "XXX"], ["YYY"]]
    assert answers(task, "YYY", "EUR", later=10) == [("YYY", None, "missed", 10), ("EUR", 1.5, "cached", 10)]
    assert (len(service.calls), service.opened) == (2, 1), "where nothing is asked for, nothing is connected to"


def test_calls_are_counted_whatever_comes_of_them(task: Asking, service: Service) -> None:
    service.fails = [GONE]
    batches = [
        pa.RecordBatch.from_pydict({"_lookup": keys}) for keys in (["EUR", "XXX", "YYY"], ["EUR"], ["ZZZ", "EUR"])
    ]
    found = [batch.to_pydict() for batch in task(iter(batches))]
    assert [batch["_calls"] for batch in found] == [[3, 0, 0], [0], [0], [1]], "one was tried again"
    assert all(ms >= 0 for batch in found for ms in batch["_calls_ms"])


def test_few_answers_are_held_at_a_time(task: Asking, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ["EUR", *(f"K{number}" for number in range(6)), "USD"]
    service.rates = dict.fromkeys(keys, b'{"rate": 1}')
    monkeypatch.setattr(asking, "HELD_BYTES", 3 << 20)  # three as long as one may be
    found = task(iter([pa.RecordBatch.from_pydict({"_lookup": keys})]))
    assert (next(found).num_rows, len(service.calls)) == (3, 2), "the others are not asked for yet"
    assert [batch.num_rows for batch in found] == [3, 2]
    monkeypatch.setattr(asking, "HELD_BYTES", 22)  # two of those that came
    kept = [batch.to_pydict() for batch in task(iter([pa.RecordBatch.from_pydict({"_lookup": keys})]))]
    assert [batch["_lookup"] for batch in kept] == [keys[:2], keys[2:4], keys[4:6], keys[6:]]
    assert {state for batch in kept for state in batch["_state"]} == {"cached"}


def test_calls_take_time(task: Asking, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 10.25])
    monkeypatch.setattr(asking, "perf_counter", lambda: next(times))
    (found,) = task(iter([pa.RecordBatch.from_pydict({"_lookup": ["EUR"]})]))
    assert found.column("_calls_ms").to_pylist() == [250]


def test_what_is_too_old_is_asked_for_again(task: Asking, service: Service) -> None:
    answers(task, "EUR", "XXX")
    service.rates["EUR"] = b'{"rate": 2}'
    assert answers(task, "EUR", "XXX", later=11) == [("EUR", 1.5, "cached", 11), ("XXX", None, "missed", 0)]
    assert answers(task, "EUR", later=61) == [("EUR", 2.0, "fresh", 0)]
    assert service.calls == [["EUR", "XXX"], ["XXX"], ["EUR"]]


def test_a_blip_is_tried_again_on_a_new_connection(task: Asking, service: Service) -> None:
    service.fails = [GONE]
    assert answers(task, "EUR") == [("EUR", 1.5, "fresh", 0)]
    assert (len(service.calls), service.opened, service.closed) == (2, 2, 2)


def test_a_connection_that_calls_share_is_one_for_the_task_whatever_fails(task: Asking, service: Service) -> None:
    service.fails = [GONE] * 3
    found = answers(replace(task, limits=replace(LIMITS, concurrency=2)), *(f"K{n}" for n in range(12)))
    assert len(found) == 12 and (service.opened, service.closed) == (1, 1)


def test_a_service_that_is_away_leaves_what_is_not_too_stale(task: Asking, service: Service) -> None:
    answers(task, "EUR", "XXX")
    service.fails = [GONE] * 99
    found = answers(task, "EUR", "XXX", "USD", later=600)
    assert found == [("EUR", 1.5, "stale", 600), ("XXX", None, "failed", 0), ("USD", None, "failed", 0)]
    assert details(replace(task, now=NOW + 601), "EUR") == ["ConnectionRefusedError: refused"]
    service.fails = []
    assert answers(task, "EUR", later=602) == [("EUR", 1.5, "fresh", 0)]


def test_a_breaker_ends_the_calls_of_a_task(task: Asking, service: Service) -> None:
    service.fails = [GONE] * 99
    found = answers(task, *(f"K{n}" for n in range(20)))
    assert {state for _, _, state, _ in found} == {"failed"}
    assert len(service.calls) == 4, "two attempts at two chunks"


def test_no_call_is_made_that_may_not_be(task: Asking, service: Service) -> None:
    answers(task, "EUR")
    found = answers(replace(task, may_call=False), "EUR", "USD", later=61)
    assert found == [("EUR", 1.5, "stale", 61), ("USD", None, "failed", 0)]
    assert len(service.calls) == 1


def test_what_will_not_pass_ends_the_task(task: Asking, service: Service) -> None:
    service.fails = [ValueError("no such column")]
    with pytest.raises(ValueError, match="no such column"):
        answers(task, "EUR")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"[1]", "NOT_OBJECT: "),
        (b'{"rate": "x"}', "WRONG_TYPE: "),
        (b'{"rate": 1e99}', "OUT_OF_RANGE: "),
        (b'{"rate": 1', "MALFORMED: "),
        (b'{"rate": 1} x', "TRAILING_DATA: "),
        (b'{"rate": 1, "rate": 2}', "DUPLICATE_KEY: "),
        (b"\xff", "INVALID_TEXT: "),
    ],
)
def test_what_is_no_answer_is_unfit_not_kept_and_leaves_the_others(
    task: Asking, service: Service, answer: bytes, why: str
) -> None:
    service.rates["USD"] = answer
    found = answers(task, "USD", "EUR")
    assert found == [("USD", None, "unfit", 0), ("EUR", 1.5, "fresh", 0)]
    said, none = details(task, "USD", "EUR")
    assert (said or "").startswith(why) and none is None
    service.rates["USD"] = b'{"rate": 7}'
    assert answers(task, "USD", later=1) == [("USD", 7.0, "fresh", 0)]


def test_what_the_caller_calls_no_answer_is_unfit_unless_an_older_one_will_do(task: Asking, service: Service) -> None:
    answers(task, "EUR")
    service.rates |= {
        "EUR": NoAnswer("two rows"),
        "USD": NoAnswer("two rows"),
        "GBP": b'{"rate": 1}' + b" " * (1 << 20),
    }
    found = answers(task, "EUR", "USD", "GBP", later=61)
    assert found == [("EUR", 1.5, "stale", 61), ("USD", None, "unfit", 0), ("GBP", None, "unfit", 0)]
    assert details(replace(task, now=NOW + 61), "USD", "GBP") == ["two rows", "longer than 1048576 bytes"]


def test_calls_run_side_by_side_where_they_may(task: Asking, service: Service) -> None:
    together = threading.Barrier(3, timeout=10)
    known = service.ask
    service.ask = lambda keys: (together.wait(), known(keys))[1]  # type: ignore[method-assign]
    limits = replace(LIMITS, batch=1, concurrency=3)
    found = answers(replace(task, limits=limits), *(f"K{n}" for n in range(6)))
    assert {state for _, _, state, _ in found} == {"missed"} and len(service.calls) == 6
    assert service.opened == 1


def test_one_call_that_fails_leaves_the_others(task: Asking, service: Service) -> None:
    known = service.ask

    def ask(keys: list[str]) -> Given:
        if "BAD" in keys:
            raise GONE
        return known(keys)

    service.ask = ask  # type: ignore[method-assign]
    found = answers(replace(task, limits=replace(LIMITS, batch=1, concurrency=2)), "EUR", "BAD", "XXX")
    assert [(key, state) for key, _, state, _ in found] == [("EUR", "fresh"), ("BAD", "failed"), ("XXX", "missed")]
