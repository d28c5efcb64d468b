from __future__ import annotations

import json
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from jobs.core.lag import Lag, positions


def lag(begin: list[Any] | None = None, end: Any = None, spans: Any = None) -> Lag:
    made = Lag("join")
    if begin is not None:
        made.begins(begin)
    if end is not None:
        made.reached(json.dumps([end]))
    made.ends(spans)
    return made


@pytest.mark.parametrize(
    ("begin", "end", "spans", "behind"),
    [
        (None, {"t": {"0": 4, "1": 0}}, {"t": {0: (0, 10), 1: (0, 0)}}, {("t", 0): 6, ("t", 1): 0}),
        (None, {"t": {"0": 10}}, {"t": {0: (3, 10)}}, {("t", 0): 0}),
        (None, {"t": {"0": 10}}, {"t": {0: (0, 10), 1: (5, 7)}}, {("t", 0): 0, ("t", 1): 2}),
        (None, {"t": {"0": 10}}, {"t": {0: (0, 8)}}, {("t", 0): 0}),
        ([{"t": {"0": 7}}], None, {"t": {0: (0, 10)}}, {("t", 0): 3}),
        ([{"t": {"0": 7}}], {"t": {"0": 9}}, {"t": {0: (0, 10)}}, {("t", 0): 1}),
        ([None], None, {"t": {0: (0, 10)}}, None),
        (None, {"t": {"0": 4}}, None, None),
    ],
    ids=[
        "behind",
        "caught up",
        "new partition",
        "ends of a moment ago",
        "first batch",
        "next",
        "no start",
        "no answer",
    ],
)
def test_what_is_still_to_come(begin: Any, end: Any, spans: Any, behind: Any) -> None:
    assert lag(begin, end, spans).behind() == behind


@pytest.mark.parametrize("end", [[{"logOffset": 3}], [5], [None], [{"reservoirVersion": 1, "index": -1}]], ids=str)
def test_only_kafka_has_positions(end: list[Any]) -> None:
    assert positions(end) == {}


def test_a_broker_that_does_not_answer_leaves_no_lag_to_read() -> None:
    made, registry = lag(None, {"b": {"1": 4}, "a": {"10": 1, "2": 1}}, {"b": {1: (0, 9)}}), CollectorRegistry()
    registry.register(made)
    offsets = [
        'patterns_ledger_offset{job="join",partition="2",topic="a"} 1.0',
        'patterns_ledger_offset{job="join",partition="10",topic="a"} 1.0',
        'patterns_ledger_offset{job="join",partition="1",topic="b"} 4.0',
    ]
    assert lines(registry) == [*offsets, 'patterns_lag_records{job="join",partition="1",topic="b"} 5.0']
    made.ends(None)
    assert lines(registry) == offsets


def lines(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
