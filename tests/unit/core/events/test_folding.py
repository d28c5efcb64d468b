from __future__ import annotations

import random
import sys
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import _histories
import pytest
from _histories import AT, READ, History, collected, expected, frame, histories, reference, rows
from chispa import assert_df_equality
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark import cloudpickle
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.events import evolving
from jobs.core.events.evolving import PythonFold
from jobs.core.events.folding import partials, states
from jobs.core.events.folds import Fold

USERS = Fold.model_validate(
    {
        "state": "user_id STRING, name STRING, age BIGINT",
        "events": {"created": "set", "updated": "merge", "deleted": "delete"},
    }
)
ALL = Fold.model_validate(
    {
        "state": "name STRING, logins BIGINT, paid DECIMAL(12,0), tags ARRAY<STRING>",
        "events": {
            "created": "set",
            "updated": "merge",
            "touched": {"merge": True, "on_missing": "ignore"},
            "logged_in": {"increment": {"logins": 1}},
            "paid": {"increment": {"paid": "amount", "logins": 2}, "on_missing": "ignore"},
            "tagged": {"append": {"tags": "tag"}},
            "marked": {"append": {"tags": "tag"}, "on_missing": "ignore"},
            "deleted": "delete",
        },
    }
)
TEXT = st.sampled_from(["", "a", "null", 'ä"\\'])
USER = histories(["created", "updated", "deleted", "other"], {"user_id": TEXT, "name": TEXT, "age": st.integers(0, 9)})
ANY = histories(
    [*ALL.events, "other"],
    {
        "name": TEXT,
        "logins": st.integers(-3, 3),
        "paid": st.integers(-3, 3),
        "amount": st.integers(-3, 3),
        "tags": st.lists(st.none() | TEXT, max_size=2),
        "tag": TEXT,
    },
)
FEW = settings(
    max_examples=2,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


def holds(spark: SparkSession, fold: Fold, given: dict[str, History]) -> None:
    """Both kinds of fold, whole and in two steps, give what the reference gives."""
    wanted, everything = expected(fold, given), rows(given)
    random.Random(len(everything)).shuffle(everything)
    assert collected(partials(frame(spark, everything), fold)) == wanted
    base = partials(frame(spark, rows(given, last=4)), fold)
    later = rows(given, 3)  # 3 and 4 a second time, as a projection may get them
    assert collected(partials(frame(spark, later), fold, base)) == wanted
    evolve = PythonFold(fold.state, partial(evolved, fold))
    base = evolving.partials(frame(spark, rows(given, last=4)), evolve)
    assert collected(evolving.partials(frame(spark, everything), evolve, base)) == wanted


cloudpickle.register_pickle_by_value(_histories)  # workers cannot import what stands beside tests
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def evolved(fold: Fold, state: Any, event: evolving.Recorded) -> Any:
    return reference(fold, state, event.event_type, event.data)


@FEW
@given(given=USER)
def test_set_merge_and_delete_are_the_reference(spark: SparkSession, given: dict[str, History]) -> None:
    holds(spark, USERS, given)


@FEW
@given(given=ANY)
def test_all_kinds_are_the_reference(spark: SparkSession, given: dict[str, History]) -> None:
    holds(spark, ALL, given)


MANY = "stream_id STRING, stream_version BIGINT, has_state BOOLEAN, user_id STRING, name STRING, age BIGINT"
LOG = (
    ("u1", 2, "updated", '{"name": null, "age": 7, "x": 1}', AT),
    ("u1", 1, "created", '{"user_id": "u1", "name": "Ann"}', AT),
    ("u2", 1, "updated", '{"name": "a null"}', AT),
    ("u3", 2, "deleted", "{}", AT),
    ("u3", 1, "created", '{"user_id": "u3"}', AT),
    ("u4", 1, "other", '{"name": 5}', AT),
    ("u5", 3, "created", "{}", AT),
    ("u5", 2, "deleted", "{}", AT),
    ("u5", 1, "created", '{"user_id": "u5", "age": 1}', AT),
)
PARTIALS = (
    ("u1", 2, True, "u1", None, 7),
    ("u2", 1, True, None, "a null", None),
    ("u3", 2, False, None, None, None),
    ("u4", 1, False, None, None, None),
    ("u5", 3, True, None, None, None),
)


@pytest.fixture
def log(rows: Callable[..., DataFrame]) -> DataFrame:
    return rows(READ, *LOG)


def test_a_partial_has_a_row_for_each_stream(log: DataFrame, rows: Callable[..., DataFrame]) -> None:
    found = partials(log, USERS)
    assert_df_equality(found, rows(MANY, *PARTIALS), ignore_row_order=True, ignore_nullable=True)


def test_a_state_table_has_the_streams_that_have_one(rows: Callable[..., DataFrame]) -> None:
    kept = [(stream, version, *state) for stream, version, there, *state in PARTIALS if there]
    wanted = rows(MANY.replace("has_state BOOLEAN, ", ""), *kept)
    assert_df_equality(states(rows(MANY, *PARTIALS)), wanted, ignore_row_order=True, ignore_nullable=True)


def test_data_may_be_a_variant(log: DataFrame, rows: Callable[..., DataFrame]) -> None:
    found = partials(log.withColumn("data", F.parse_json("data")), USERS)
    assert_df_equality(found, rows(MANY, *PARTIALS), ignore_row_order=True, ignore_nullable=True)


@pytest.mark.parametrize("fold", [USERS, ALL])
@pytest.mark.parametrize("based", [False, True])
def test_there_is_one_shuffle(log: DataFrame, rows: Callable[..., DataFrame], fold: Fold, based: bool) -> None:
    base = rows(f"stream_id STRING, stream_version BIGINT, has_state BOOLEAN, {fold.state}") if based else None
    plan = partials(log, fold, base)._jdf.queryExecution().executedPlan().toString()
    assert plan.count("Exchange hashpartitioning(stream_id") == plan.count("Exchange") == 1


def test_no_events_are_no_partials(rows: Callable[..., DataFrame]) -> None:
    assert partials(rows(READ), ALL).collect() == []


def test_a_sum_is_exact_and_ends_the_query_where_it_leaves_its_type(rows: Callable[..., DataFrame]) -> None:
    fold = Fold.model_validate(
        {"state": "n TINYINT, d DECIMAL(4,2)", "events": {"add": {"increment": {"n": "n", "d": "d"}}}}
    )
    events = [("s", version, "add", '{"n": 60, "d": 0.10}', AT) for version in (1, 2, 3)]
    assert partials(rows(READ, *events[:2]), fold).collect()[0][3:] == (120, Decimal("0.20"))
    with pytest.raises(PySparkException, match="CAST_OVERFLOW"):
        partials(rows(READ, *events), fold).collect()


def test_what_is_appended_is_in_the_order_of_versions(rows: Callable[..., DataFrame]) -> None:
    order = (7, 2, 9, 4, 1, 8, 3, 6, 5)
    events = [("s", version, "tagged", f'{{"tag": "t{version}"}}', AT) for version in order]
    assert collected(partials(rows(READ, *events), ALL))["s"][-1] == [f"t{version}" for version in range(1, 10)]


def test_a_stream_of_many_events_is_folded(spark: SparkSession) -> None:
    """In order, across Arrow batches."""
    version = (F.col("id") + 1).alias("stream_version")
    text = F.format_string('{"logins": %d, "tag": "t%d"}', "id", "id").alias("data")
    kind = F.when(F.col("id") == 0, "created").when(F.col("id") % 1000 == 0, "tagged").otherwise("logged_in")
    at = F.lit(AT).alias("occurred_at")
    events = spark.range(60_000).select(F.lit("s").alias("stream_id"), version, kind.alias("event_type"), text, at)
    wanted = {"s": (60_000, True, None, 59_940, None, [f"t{n}000" for n in range(1, 60)])}
    assert collected(partials(events, ALL)) == wanted
    assert collected(evolving.partials(events, PythonFold(ALL.state, partial(evolved, ALL)))) == wanted
