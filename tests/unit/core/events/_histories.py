"""What a declared fold means, in ten lines of plain Python; and random histories to hold all folds to it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from jobs.core.events.folds import Fold

State = dict[str, Any]
History = list[tuple[str, dict[str, Any]]]  # type and data of the versions 1, 2, 3, ...
READ = "stream_id STRING, stream_version BIGINT, event_type STRING, data STRING, occurred_at TIMESTAMP"
AT = datetime(2026, 1, 5, 10)


def reference(fold: Fold, state: State | None, event_type: str, data: dict[str, Any]) -> State | None:
    """The state after an event."""
    rule = fold.events.get(event_type)
    if rule is None or (state is None and rule.ignores):
        return state
    if rule.delete or rule.set:
        return {column: data.get(column) for column in fold.kinds} if rule.set else None
    state = dict(state or dict.fromkeys(fold.kinds))
    if rule.merge:
        state |= {column: data[column] for column in fold.kinds if column in data}
    for column, by in (rule.increment or {}).items():
        amount = by if isinstance(by, int) else data.get(by)
        state[column] = state[column] if amount is None else (state[column] or 0) + amount
    for column, field in (rule.append or {}).items():
        state[column] = [*(state[column] or []), data[field]] if field in data else state[column]
    return state


def expected(fold: Fold, histories: dict[str, History]) -> dict[str, tuple[Any, ...]]:
    """PARTIAL by stream: version, whether there is a state, its columns."""
    found = {}
    for stream, history in histories.items():
        state: State | None = None
        for event_type, data in history:
            state = reference(fold, state, event_type, data)
        if history:
            found[stream] = (len(history), state is not None, *(state or dict.fromkeys(fold.kinds)).values())
    return found


def rows(histories: dict[str, History], first: int = 1, last: int = 1 << 30) -> list[tuple[Any, ...]]:
    """The events with these versions, as the log has them."""
    return [
        (stream, version, event_type, json.dumps(data), AT)
        for stream, history in histories.items()
        for version, (event_type, data) in enumerate(history, 1)
        if first <= version <= last
    ]


def frame(spark: SparkSession, given: list[tuple[Any, ...]]) -> DataFrame:
    return spark.createDataFrame(given, READ)


def collected(partials: DataFrame) -> dict[str, tuple[Any, ...]]:
    """PARTIAL by stream, each stream once."""
    found = [tuple(row) for row in partials.collect()]
    assert len({row[0] for row in found}) == len(found)
    return {row[0]: row[1:] for row in found}


def histories(types: list[str], fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, History]]:
    """Many streams; data lack fields, have nulls, and fields that nobody knows."""
    known = {name: st.none() | values for name, values in fields.items()}
    data = st.fixed_dictionaries({}, optional={**known, "stranger": st.just({"x": None})})
    history = st.integers(0, 12).flatmap(
        lambda size: st.lists(st.tuples(st.sampled_from(types), data), min_size=size, max_size=size)
    )
    return st.lists(history, min_size=25, max_size=40).map(lambda all_: {f"s{n}": one for n, one in enumerate(all_)})
