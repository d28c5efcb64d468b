"""The breaker: rates over a window, slow calls, probes, and the calls that say nothing."""

from __future__ import annotations

import logging
import threading
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from _clocks import Clock
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from jobs.core.breaker import PROBING_S, CircuitBreaker
from jobs.core.connections import Breaker
from jobs.core.errors import BreakerOpen
from jobs.core.failures import SinkFailure

GONE = ConnectionRefusedError("refused")
ROW = SinkFailure("23502", "NotNullViolation")
BUG = ValueError("bug")


class Circuit:
    """A breaker, its clock, and what it told."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.told: list[tuple[str, str, str]] = []
        self.breaker = CircuitBreaker(
            "PostgreSQL", Breaker.model_validate(settings), lambda *args: self.told.append(args), self.clock
        )

    def calls(self, *outcomes: BaseException | None, took: float = 0.0) -> str:
        """Makes the calls and says in which state they left it."""
        for outcome in outcomes:
            self.call(outcome, took)
        return self.breaker.state

    def call(self, outcome: BaseException | None, took: float = 0.0) -> None:
        def step() -> None:
            self.clock.now += took
            if outcome:
                raise outcome

        with suppress(type(outcome)) if outcome else nullcontext():
            self.breaker.call(step)

    def opened(self) -> Circuit:
        assert self.calls(*[GONE] * 5) == "open"
        return self


def test_what_a_call_returns_and_raises_comes_through() -> None:
    circuit = Circuit()
    assert circuit.breaker.call(lambda: 7) == 7
    with pytest.raises(ConnectionRefusedError) as raised:
        circuit.breaker.call(lambda: (_ for _ in ()).throw(GONE))
    assert raised.value is GONE


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ([GONE] * 4, "closed"),
        ([GONE] * 5, "open"),
        ([None] * 3 + [GONE] * 2, "closed"),
        ([None] * 3 + [GONE] * 3, "open"),
        ([None] * 20 + [GONE] * 9, "closed"),
        ([None] * 20 + [GONE] * 10, "open"),
        ([None] * 100 + [GONE] * 10, "open"),
        ([ROW] * 50, "closed"),
        ([BUG] * 50, "closed"),
        ([ROW] * 5 + [GONE] * 4, "closed"),
        ([ROW] * 5 + [GONE] * 5, "open"),
        ([BUG] * 5 + [GONE] * 5, "open"),
        ([KeyboardInterrupt()] * 10, "closed"),
    ],
)
def test_it_opens_by_the_share_of_transient_failures(outcomes: list[BaseException | None], state: str) -> None:
    assert Circuit(window=20, min_calls=5, failure_rate=0.5).calls(*outcomes) == state


@pytest.mark.parametrize("timed", [True, False])
def test_a_call_that_succeeds_can_be_the_one_by_which_it_is_judged(timed: bool) -> None:
    circuit = Circuit(min_calls=5, failure_rate=0.5)
    assert circuit.calls(*[GONE] * 4) == "closed"
    assert circuit.breaker.call(lambda: 7, timed) == 7
    assert circuit.breaker.state == "open"
    with pytest.raises(BreakerOpen, match="4 of 5 calls failed or were slow"):
        circuit.breaker.call(lambda: 7)


def test_a_share_is_reached_exactly() -> None:
    assert Circuit(min_calls=20, failure_rate=0.55).calls(*[None] * 9, *[GONE] * 11) == "open"


@pytest.mark.parametrize(
    ("took", "outcomes", "state"),
    [
        (10.0, [None] * 9, "closed"),
        (10.1, [None] * 4, "closed"),
        (10.1, [None] * 5, "open"),
        (10.1, [ROW] * 5, "open"),
        (10.1, [BUG] * 5, "closed"),
    ],
)
def test_it_opens_by_the_share_of_slow_calls(took: float, outcomes: list[BaseException | None], state: str) -> None:
    assert Circuit(slow_call="10s").calls(*outcomes, took=took) == state


def test_slow_calls_have_a_share_of_their_own() -> None:
    circuit = Circuit(slow_call="1s", slow_rate=0.8)
    circuit.calls(None)
    assert circuit.calls(*[None] * 3, took=2) == "closed"
    assert circuit.calls(None, took=2) == "open"


def test_while_it_is_open_no_call_is_made() -> None:
    circuit = Circuit(open_for="30s").opened()
    circuit.clock.now += 20
    with pytest.raises(BreakerOpen) as refused:
        circuit.breaker.call(lambda: pytest.fail("called"))
    assert str(refused.value) == (
        "PostgreSQL is not called, the next try is due in 10.0 s: ConnectionRefusedError: refused"
    )
    assert (refused.value.dependency, refused.value.wait_s) == ("PostgreSQL", 10)
    assert circuit.breaker.wait_s() == 10


def test_it_closes_when_every_probe_succeeds() -> None:
    circuit = Circuit(probes=2, open_for="30s").opened()
    circuit.clock.now += 30
    assert (circuit.breaker.state, circuit.breaker.wait_s()) == ("open", 0)
    assert circuit.calls(None) == "half_open"
    assert circuit.calls(None) == "closed"
    assert [told[1:] for told in circuit.told] == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]
    assert {told[0] for told in circuit.told} == {"PostgreSQL"}


def test_its_past_is_forgotten_when_it_closes() -> None:
    circuit = Circuit(probes=1).opened()
    circuit.clock.now += 30
    assert circuit.calls(None, *[GONE] * 4) == "closed"
    assert circuit.calls(GONE) == "open"


@pytest.mark.parametrize(("outcome", "took"), [(GONE, 0), (None, 11), (ROW, 11)])
def test_a_probe_that_fails_or_is_slow_opens_it_again(outcome: BaseException | None, took: float) -> None:
    circuit = Circuit(probes=2, open_for="30s", slow_call="10s").opened()
    circuit.clock.now += 30
    assert circuit.calls(None) == "half_open"
    circuit.clock.now += 5
    assert circuit.calls(outcome, took=took) == "open"
    assert circuit.breaker.wait_s() == 30


def test_a_row_at_fault_is_an_answer_to_a_probe() -> None:
    circuit = Circuit(probes=1).opened()
    circuit.clock.now += 30
    assert circuit.calls(ROW) == "closed"


def test_a_probe_that_says_nothing_makes_room_for_another() -> None:
    circuit = Circuit(probes=1).opened()
    circuit.clock.now += 30
    assert circuit.calls(BUG, BUG) == "half_open"
    assert circuit.calls(None) == "closed"


def test_no_more_probes_than_allowed_are_out_at_a_time() -> None:
    circuit = Circuit(probes=2).opened()
    circuit.clock.now += 30

    def inner() -> None:
        assert circuit.breaker.wait_s() == PROBING_S
        with pytest.raises(BreakerOpen):
            circuit.breaker.call(lambda: pytest.fail("called"))

    circuit.breaker.call(lambda: circuit.breaker.call(inner))
    assert circuit.breaker.state == "closed"


def test_a_probe_that_passed_leaves_room_for_the_rest_only() -> None:
    circuit = Circuit(probes=2).opened()
    circuit.clock.now += 30
    assert circuit.calls(None) == "half_open"
    assert circuit.breaker.call(circuit.breaker.wait_s) == PROBING_S


@pytest.mark.parametrize("late", [None, GONE])
def test_a_call_from_before_a_change_changes_nothing(late: BaseException | None) -> None:
    circuit = Circuit(probes=1, min_calls=1)

    def half_open_by_others() -> None:
        assert circuit.calls(GONE) == "open"
        circuit.clock.now += 30
        assert circuit.calls(BUG) == "half_open"
        if late:
            raise late

    with suppress(ConnectionRefusedError):
        circuit.breaker.call(half_open_by_others)
    assert (circuit.breaker.state, circuit.breaker.wait_s()) == ("half_open", 0)


def test_a_caller_that_gave_up_opens_it() -> None:
    circuit = Circuit()
    circuit.breaker.trip(GONE)
    assert (circuit.breaker.state, circuit.breaker.wait_s()) == ("open", 30)
    with pytest.raises(BreakerOpen, match="ConnectionRefusedError: refused"):
        circuit.breaker.call(lambda: pytest.fail("called"))


def test_changes_are_logged_with_their_cause(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        circuit = Circuit(probes=1).opened()
        circuit.breaker.trip(GONE)
        circuit.clock.now += 30
        circuit.calls(None)
    assert [record.message for record in caplog.records] == [
        "PostgreSQL: circuit open, it was closed: ConnectionRefusedError: refused",
        "PostgreSQL: circuit half_open, it was open",
        "PostgreSQL: circuit closed, it was half_open",
    ]


def test_a_call_that_ends_waits_for_a_change_of_state() -> None:
    ended, alive = threading.Event(), []
    other = threading.Thread(target=lambda: breaker.call(ended.wait))

    def changing(dependency: str, before: str, after: str) -> None:
        ended.set()
        other.join(0.05)
        alive.append(other.is_alive())

    breaker = CircuitBreaker("PostgreSQL", Breaker(), changing)
    other.start()
    breaker.trip(GONE)
    other.join()
    assert alive == [True]


class Model(RuleBasedStateMachine):
    """Calls in any order, beside the simplest account of what should come of them."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = Circuit(window=4, min_calls=2, failure_rate=0.5, slow_call="1s", slow_rate=0.75, probes=2)
        self.state, self.due, self.passed = "closed", 0.0, 0
        self.window: list[tuple[bool, bool]] = []

    @rule(seconds=st.sampled_from([1, 29, 30, 31]))
    def time_passes(self, seconds: int) -> None:
        self.circuit.clock.now += seconds

    @precondition(lambda self: self.state != "open" or self.circuit.clock.now >= self.due)
    @rule(outcome=st.sampled_from([None, GONE, ROW, BUG]), took=st.sampled_from([0, 2]))
    def a_call_is_made(self, outcome: BaseException | None, took: int) -> None:
        self.circuit.call(outcome, took)
        if self.state == "open":
            self.state, self.passed = "half_open", 0
        if outcome is BUG:
            return
        bad = outcome is GONE
        if self.state == "half_open":
            self.passed += 1
            if bad or took:
                self.opens()
            elif self.passed == 2:
                self.state, self.window = "closed", []
        else:
            self.window = [*self.window, (bad, took > 0)][-4:]
            made = len(self.window)
            failed, slow = (sum(call[place] for call in self.window) for place in (0, 1))
            if made >= 2 and (failed / made >= 0.5 or slow / made >= 0.75):
                self.opens()

    @precondition(lambda self: self.state == "open" and self.circuit.clock.now < self.due)
    @rule()
    def a_call_is_refused(self) -> None:
        with pytest.raises(BreakerOpen):
            self.circuit.call(None)

    def opens(self) -> None:
        self.state, self.due = "open", self.circuit.clock.now + 30

    @invariant()
    def both_agree(self) -> None:
        left = max(0.0, self.due - self.circuit.clock.now) if self.state == "open" else 0.0
        assert (self.circuit.breaker.state, self.circuit.breaker.wait_s()) == (self.state, left)


TestModel = Model.TestCase
TestModel.settings = hypothesis_settings(max_examples=50, stateful_step_count=40)


def test_only_timed_calls_are_slow_and_they_alone_are_judged_by_it() -> None:
    circuit = Circuit(min_calls=2, slow_call="1s", slow_rate=1, failure_rate=1)

    def moves_data() -> None:
        circuit.clock.now += 3600

    for _ in range(9):
        circuit.breaker.call(moves_data, timed=False)
    assert circuit.calls(None, took=2) == "closed"
    assert circuit.calls(None, took=2) == "open"


def test_a_failure_that_is_anothers_says_nothing() -> None:
    circuit = Circuit(min_calls=1)
    with pytest.raises(ConnectionRefusedError), circuit.breaker.calling(lambda failure: False, timed=True):
        raise GONE
    assert circuit.breaker.state == "closed"
    with pytest.raises(ConnectionRefusedError), circuit.breaker.calling(lambda failure: failure is GONE, timed=True):
        raise GONE
    assert circuit.breaker.state == "open"
