"""Random histories: a whole replay, one from a snapshot and ten lines of plain Python come to the same table."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from typing import Any

import _histories
import pytest
from _histories import AT, History, expected, histories, reference, rows
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from pyspark import cloudpickle
from pyspark.sql import SparkSession

from jobs.core.events import evolving, projection
from jobs.core.events.envelope import EVENT
from jobs.core.events.evolving import PythonFold
from jobs.core.events.folds import Fold
from jobs.core.events.projection import Projection
from jobs.core.events.rebuilding import Rebuild, Request

cloudpickle.register_pickle_by_value(_histories)  # workers cannot import what stands beside tests
cloudpickle.register_pickle_by_value(sys.modules[__name__])
FOLD = Fold.model_validate(
    {
        "state": "name STRING, logins BIGINT, tags ARRAY<STRING>",
        "events": {
            "created": "set",
            "updated": "merge",
            "logged_in": {"increment": {"logins": 1}, "on_missing": "ignore"},
            "tagged": {"append": {"tags": "tag"}},
            "deleted": "delete",
        },
    }
)
GIVEN = histories(
    [*FOLD.events, "other"],
    {"name": st.sampled_from(["", "a", "null"]), "logins": st.integers(0, 3), "tag": st.sampled_from(["x", "y"])},
)
FEW = settings(
    max_examples=1,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


def evolved(state: Any, event: evolving.Recorded) -> Any:
    return reference(FOLD, state, event.event_type, event.data)


IN_PYTHON = PythonFold(FOLD.state, evolved)
FOLDS = (
    projection.declared(FOLD, None, "pass"),
    Projection(FOLD.state, "python", lambda events, base: evolving.partials(events, IN_PYTHON, base)),
)


@pytest.mark.parametrize("fold", FOLDS, ids=["declared", "python"])
@FEW
@given(history=GIVEN, until=st.integers(1, 8))
def test_they_come_to_the_same(spark: SparkSession, fold: Projection, history: dict[str, History], until: int) -> None:
    assume(any(len(one) > until for one in history.values()))
    wanted = {stream: (head, *state) for stream, (head, there, *state) in expected(FOLD, history).items() if there}
    with tempfile.TemporaryDirectory() as folder:
        kept = {"snapshots": f"{folder}/snapshots", "every": 1}
        whole = Request("j", f"{folder}/log", f"{folder}/whole", f"{folder}/work", fold, **kept)
        onwards = replace(whole, into=f"{folder}/onwards", from_snapshot=True)
        append(spark, whole.log, rows(history, last=until))
        Rebuild(spark, whole).run()
        append(spark, whole.log, rows(history, until + 1))
        Rebuild(spark, onwards).run()
        assert states(spark, onwards.into) == wanted
        Rebuild(spark, whole).run()
        assert states(spark, whole.into) == wanted


def append(spark: SparkSession, path: str, given: list[tuple[Any, ...]]) -> None:
    """`rows` of _histories, as the log has them."""
    events = [
        (stream, version, f"{stream}/{version}", kind, 1, data, None, at, AT, "t", 0, version)
        for stream, version, kind, data, at in given
    ]
    spark.createDataFrame(events, EVENT).write.format("delta").mode("append").save(path)


def states(spark: SparkSession, path: str) -> dict[str, tuple[Any, ...]]:
    return {row[0]: tuple(row[1:]) for row in spark.read.format("delta").load(path).collect()}
