from __future__ import annotations

from datetime import datetime, timezone

import pytest

from jobs.domain import orders
from jobs.domain.decider import Event
from jobs.domain.orders import CancelOrder, Command, Order, PayOrder, PlaceOrder, RefundOrder, ShipOrder
from jobs.domain.testing import specification

given = specification(orders)
NOON = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)


def event(what: str, **data: object) -> Event:
    return Event(f"order_{what}", {"order_id": "o1", **data})


PLACED = event("placed", customer_id="c1", total_minor=500)
PAID = event("paid", amount_minor=500)
SHIPPED = event("shipped", tracking="t1")
CANCELLED = event("cancelled", reason="late")
PLACE, PAY = PlaceOrder("o1", NOON, "c1", 500), PayOrder("o1", NOON, 500)
SHIP, CANCEL = ShipOrder("o1", NOON, "t1"), CancelOrder("o1", NOON, "late")


def refund(amount: int) -> RefundOrder:
    return RefundOrder("o1", NOON, amount)


def refunded(amount: int) -> Event:
    return event("refunded", amount_minor=amount)


@pytest.mark.parametrize(
    ("history", "command", "expected"),
    [
        ((), PLACE, [PLACED]),
        ((PLACED,), PAY, [PAID]),
        ((PLACED, PAID), SHIP, [SHIPPED]),
        ((PLACED,), CANCEL, [CANCELLED]),
        ((PLACED, PAID), CANCEL, [CANCELLED, refunded(500)]),
        ((PLACED, PAID, refunded(200)), CANCEL, [CANCELLED, refunded(300)]),
        ((PLACED, PAID, refunded(500)), CANCEL, [CANCELLED]),
        ((PLACED, CANCELLED), CANCEL, []),
        ((PLACED, PAID, SHIPPED), refund(500), [refunded(500)]),
        ((PLACED, PAID, refunded(200)), refund(300), [refunded(300)]),
    ],
)
def test_what_happens(history: tuple[Event, ...], command: Command, expected: list[Event]) -> None:
    given(*history).when(command).then(*expected)


@pytest.mark.parametrize(
    ("history", "command", "rule", "facts"),
    [
        ((PLACED,), PLACE, "ORDER_EXISTS", {"order_id": "o1"}),
        ((), PlaceOrder("o1", NOON, "c1", 0), "WRONG_AMOUNT", {"given": 0, "least": 1}),
        ((), PAY, "ORDER_UNKNOWN", {"order_id": "o1"}),
        ((), refund(1), "ORDER_UNKNOWN", {"order_id": "o1"}),
        ((PLACED,), PayOrder("o1", NOON, 499), "WRONG_AMOUNT", {"given": 499, "due": 500}),
        ((PLACED, PAID), PAY, "WRONG_STATUS", {"status": "paid", "allowed": ("placed",)}),
        ((PLACED,), SHIP, "WRONG_STATUS", {"status": "placed", "allowed": ("paid",)}),
        ((PLACED, PAID, SHIPPED), CANCEL, "WRONG_STATUS", {"status": "shipped", "allowed": ("placed", "paid")}),
        ((PLACED,), refund(1), "WRONG_AMOUNT", {"given": 1, "most": 0}),
        ((PLACED, PAID, refunded(200)), refund(301), "WRONG_AMOUNT", {"given": 301, "most": 300}),
        ((PLACED, PAID), refund(0), "WRONG_AMOUNT", {"given": 0, "most": 500}),
    ],
)
def test_what_is_refused(history: tuple[Event, ...], command: Command, rule: str, facts: dict[str, object]) -> None:
    given(*history).when(command).refused(rule, **facts)


def test_the_state_after_each_event() -> None:
    placed = Order("o1", "c1", "placed", 500)
    given().then_state(None)
    given(PLACED).then_state(placed)
    given(PLACED).when(PAY).then_state(Order("o1", "c1", "paid", 500, 500))
    given(PLACED, PAID).when(SHIP).then_state(Order("o1", "c1", "shipped", 500, 500, tracking="t1"))
    given(PLACED, PAID).when(CANCEL).then_state(Order("o1", "c1", "cancelled", 500, 500, 500, reason="late"))


def test_a_replay_that_begins_in_the_middle_goes_on() -> None:
    given(PAID).then_state(Order("o1", status="paid", paid_minor=500))


def test_events_happened_when_the_command_says() -> None:
    assert [event.occurred_at for event in given(PLACED, PAID).when(CANCEL).happened] == [NOON, NOON]


def test_an_order_is_restored_from_its_row() -> None:
    assert orders.restored({"order_id": "o1", "status": "paid", "paid_minor": 5}) == orders.Order(
        "o1", status="paid", paid_minor=5
    )
