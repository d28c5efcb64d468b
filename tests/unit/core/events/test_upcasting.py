from __future__ import annotations

import pickle
from typing import Any

import pytest

from jobs.core.decode_plan import Rejection
from jobs.core.events.upcasting import Chain, ChainRefused, Data, Policy, Step, Upcast, UpcastFailed
from jobs.core.reasons import Reason


def split(data: Data) -> Data:
    first, last = data.pop("name").split()
    return {**data, "first": first, "last": last}


def lower(data: Data) -> Data:
    return {**data, "email": data["email"].lower()}


CHAIN = Chain(
    {"user_created": 3, "user_updated": 1},
    [
        Step("user_created", 2, lower),
        Step("user_created", 1, split),
        Step("user_renamed", 1, lambda data: {"first": data["to"]}, to=("user_updated", 1)),
    ],
)
OLD = {"name": "Ann Lee", "email": "A@X"}
NEW = {"first": "Ann", "last": "Lee", "email": "a@x"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("user_created", 1, OLD), ("user_created", 3, NEW)),
        (("user_created", 2, {"email": "A@X"}), ("user_created", 3, {"email": "a@x"})),
        (("user_created", 3, {"email": "A@X"}), ("user_created", 3, {"email": "A@X"})),
        (("user_updated", 1, {}), ("user_updated", 1, {})),
        (("user_renamed", 1, {"to": "Bo"}), ("user_updated", 1, {"first": "Bo"})),
    ],
)
def test_an_event_is_read_in_its_current_version(given: tuple[str, int, Data], expected: tuple[str, int, Data]) -> None:
    assert CHAIN.upcast(*given) == Upcast(*expected)


def test_the_event_itself_stays_as_it_was() -> None:
    CHAIN.upcast("user_created", 1, OLD)
    assert OLD == {"name": "Ann Lee", "email": "A@X"}


@pytest.mark.parametrize(
    ("event_type", "version", "reason", "detail"),
    [
        ("user_deleted", 1, Reason.UNKNOWN_TYPE, "event type user_deleted"),
        ("user_created", 4, Reason.UNKNOWN_VERSION, "user_created has no version 4, the newest is 3"),
        ("user_created", 0, Reason.UNKNOWN_VERSION, "user_created has no version 0, the newest is 3"),
        ("user_renamed", 2, Reason.UNKNOWN_VERSION, "user_renamed has no version 2, the newest is 1"),
    ],
)
def test_what_is_unknown_is_rejected_or_passed_on(event_type: str, version: int, reason: Reason, detail: str) -> None:
    assert CHAIN.upcast(event_type, version, {"x": 1}) == Rejection(reason, detail)
    passed: dict[str, Policy] = {"unknown_type": "pass", "unknown_version": "pass"}
    lenient = Chain(CHAIN.current, CHAIN._steps.values(), **passed)  # type: ignore[arg-type]
    assert lenient.upcast(event_type, version, {"x": 1}) == Upcast(event_type, version, {"x": 1})


def test_each_policy_is_for_its_reason() -> None:
    chain = Chain({"a": 1}, unknown_type="pass")
    assert isinstance(chain.upcast("b", 1, {}), Upcast)
    assert isinstance(chain.upcast("a", 2, {}), Rejection)


def test_a_type_with_steps_alone_is_known() -> None:
    found = CHAIN.upcast("user_renamed", 9, {})
    assert isinstance(found, Rejection)
    assert found.reason is Reason.UNKNOWN_VERSION


def same(data: Data) -> Data:
    return data


@pytest.mark.parametrize(
    ("current", "steps", "faults"),
    [
        ({"a": 3}, [Step("a", 2, same)], ["no step from a version 1"]),
        ({"a": 3}, [Step("a", 1, same)], ["no step from a version 2"]),
        ({"a": 1}, [Step("b", 1, same)], ["no step from b version 2"]),
        ({"a": 2}, [Step("a", 1, same), Step("a", 1, same)], ["two steps from a version 1"]),
        (
            {"a": 1},
            [Step("a", 1, same)],
            ["no step from a version 2", "a step from a version 1, and the current one is 1"],
        ),
        (
            {"a": 1},
            [Step("b", 1, same, ("c", 1)), Step("c", 1, same, ("b", 1))],
            ["a loop: b version 1 -> c version 1 -> b version 1"],
        ),
        ({"a": 2}, [Step("a", 1, same, ("a", 1))], ["a loop: a version 1 -> a version 1"]),
        (
            {"a": 3},
            [Step("a", 2, same), Step("a", 2, same)],
            ["two steps from a version 2", "no step from a version 1"],
        ),
    ],
)
def test_a_chain_that_leads_nowhere_is_refused(current: dict[str, int], steps: list[Step], faults: list[str]) -> None:
    with pytest.raises(ChainRefused) as refused:
        Chain(current, steps)
    assert list(refused.value.faults) == faults
    assert str(refused.value) == "; ".join(faults)


def test_a_step_that_fails_names_itself_and_travels() -> None:
    with pytest.raises(UpcastFailed, match="upcasting user_created from version 1: KeyError: 'name'") as failure:
        CHAIN.upcast("user_created", 1, {})
    again = pickle.loads(pickle.dumps(failure.value))
    assert (again.event_type, again.schema_version) == ("user_created", 1)


def test_a_step_has_to_give_back_an_object() -> None:
    nothing: Any = lambda data: data.update(x=1)  # noqa: E731
    with pytest.raises(UpcastFailed, match="the step gave back a NoneType, and no object"):
        Chain({"a": 2}, [Step("a", 1, nothing)]).upcast("a", 1, {})
