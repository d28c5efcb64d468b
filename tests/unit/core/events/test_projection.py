from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from _replays import FOLD, LOG, STATE
from chispa import assert_df_equality
from pydantic import ValidationError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from jobs.core.errors import ConfigError
from jobs.core.events.envelope import EVENT
from jobs.core.events.folds import Fold
from jobs.core.events.projection import Evolve, declared, evolved

USERS = Fold.model_validate(FOLD)
PARTIAL = f"stream_id STRING, stream_version BIGINT, has_state BOOLEAN, {STATE}"
ANN = ("u1", 2, True, "u1", "Anna")
MODULE = """
from jobs.core.events.upcasting import Chain, Step

CHAIN = Chain(
    {"user_created": 2, "user_updated": 1, "user_deleted": 1},
    [Step("user_created", 1, lambda data: {**data, "name": "up"})],
)
"""


@pytest.fixture
def module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """A module by its text, which can be imported."""
    monkeypatch.syspath_prepend(str(folder))

    def write(name: str, text: str) -> str:
        (folder / f"{name}.py").write_text(text)
        sys.modules.pop(name, None)
        return name

    return write


def test_both_kinds_give_the_same(rows: Callable[..., DataFrame]) -> None:
    events = rows(EVENT, *(event for event in LOG if event[0] == "u1"))
    for one in (declared(USERS, None, "reject"), evolved(Evolve(module="jobs.domain.users", state=STATE))):
        assert one.state == STATE
        assert_df_equality(one.partials(events, None), rows(PARTIAL, ANN), ignore_nullable=True)
        base = rows(PARTIAL, ("u1", 1, True, "u1", "Ann"))
        assert_df_equality(one.partials(events, base), rows(PARTIAL, ANN), ignore_nullable=True)


def test_an_order_is_restored_from_its_columns(rows: Callable[..., DataFrame]) -> None:
    state = "order_id STRING, status STRING, paid_minor BIGINT, total_minor BIGINT, refunded_minor BIGINT"
    orders = evolved(Evolve(module="jobs.domain.orders", state=state))
    paid = ("o1", 2, "e", "order_paid", 1, '{"order_id": "o1", "amount_minor": 5}', None, *LOG[0][7:])
    ddl = f"stream_id STRING, stream_version BIGINT, has_state BOOLEAN, {state}"
    base = rows(ddl, ("o1", 1, True, "o1", "placed", 0, 5, 0))
    wanted = rows(ddl, ("o1", 2, True, "o1", "paid", 5, 5, 0))
    assert_df_equality(orders.partials(rows(EVENT, paid), base), wanted, ignore_nullable=True)


def test_events_are_brought_up_to_date_first(module: Any, rows: Callable[..., DataFrame]) -> None:
    upcast = declared(USERS, module("chained_users", MODULE), "pass")
    found = upcast.partials(rows(EVENT, LOG[0]), None)
    assert_df_equality(found, rows(PARTIAL, ("u1", 1, True, "u1", "up")), ignore_nullable=True)


def test_a_type_without_a_rule_passes_or_is_named(rows: Callable[..., DataFrame]) -> None:
    events = rows(EVENT, LOG[0], ("u1", 2, "e2", "renamed", *LOG[0][4:]))
    assert declared(USERS, None, "pass").partials(events, None).collect()[0].stream_version == 2
    with pytest.raises(PySparkException, match="stream u1, version 2, event e2: UNKNOWN_TYPE: event type renamed"):
        declared(USERS, None, "reject").partials(events, None).collect()


def test_a_fingerprint_is_of_all_that_a_fold_means(module: Any) -> None:
    other = Fold.model_validate({**FOLD, "events": {**FOLD["events"], "user_updated": "set"}})
    module("moving", f"def evolve(state, event): return state{MODULE}")
    python = Evolve(module="moving", state=STATE)
    prints = [
        declared(USERS, None, "pass").fingerprint,
        declared(USERS, None, "reject").fingerprint,
        declared(other, None, "pass").fingerprint,
        declared(USERS, "moving", "pass").fingerprint,
        evolved(python).fingerprint,
        evolved(Evolve(module="moving", state="name STRING")).fingerprint,
        evolved(Evolve(module="moving", state=STATE, version=2)).fingerprint,
    ]
    assert declared(Fold.model_validate(FOLD), None, "pass").fingerprint == prints[0]
    assert evolved(python).fingerprint == prints[4]
    module("moving", f"def evolve(state, event): return None{MODULE}")
    assert len({*prints, evolved(python).fingerprint}) == 8


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("no_such_module", None, "evolve.module = no_such_module: a Python module that can be imported (ModuleNot"),
        ("breaks_at_once", "1 / 0", "can be imported (ZeroDivisionError: division by zero)"),
        ("has_no_evolve", "", "a module with a function evolve(state, event)"),
        ("odd_chain", "def evolve(a, b): ...\nCHAIN = 1", "a module whose CHAIN is a jobs.core.events.upcasting.Chain"),
    ],
)
def test_a_module_that_is_no_domain_is_refused(module: Any, name: str, text: str | None, said: str) -> None:
    if text is not None:
        module(name, text)
    with pytest.raises(ConfigError) as refused:
        evolved(Evolve(module=name, state=STATE))
    assert said in str(refused.value)


def test_a_module_to_upcast_with_has_a_chain() -> None:
    with pytest.raises(ConfigError, match="conf: upcast = jobs.domain.users: a module whose CHAIN"):
        declared(USERS, "jobs.domain.users", "pass")


@pytest.mark.parametrize(
    "given",
    [
        {"module": "jobs/domain/users.py", "state": STATE},
        {"module": "jobs.domain.users", "state": "name STRUNG"},
        {"module": "jobs.domain.users", "state": "stream_id STRING"},
        {"module": "jobs.domain.users", "state": "name STRING NOT NULL"},
        {"module": "jobs.domain.users", "state": STATE, "version": 0},
    ],
)
def test_settings_that_no_module_fits_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Evolve.model_validate(given)
