"""Orders: placed, paid, shipped, cancelled, refunded.

    placed ──> paid ──> shipped        a refund takes back all that was paid, or a part of it, once or often
       └────────┴──> cancelled         a paid order that is cancelled is refunded, too

STATE    `Order`. None: there is no such order
events   order_placed, order_paid, order_shipped, order_cancelled, order_refunded, each with `order_id`; amounts in minor
         units of the order's currency
refused  ORDER_EXISTS, ORDER_UNKNOWN, WRONG_STATUS, WRONG_AMOUNT
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from jobs.domain.decider import CommandRefused, Event, Happened, UnknownEvent

Status = Literal["placed", "paid", "shipped", "cancelled"]


@dataclass(frozen=True)
class Order:
    order_id: str
    customer_id: str | None = None
    status: Status = "placed"
    total_minor: int = 0
    paid_minor: int = 0
    refunded_minor: int = 0
    tracking: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class PlaceOrder:
    order_id: str
    at: datetime
    customer_id: str
    total_minor: int


@dataclass(frozen=True)
class PayOrder:
    order_id: str
    at: datetime
    amount_minor: int


@dataclass(frozen=True)
class ShipOrder:
    order_id: str
    at: datetime
    tracking: str


@dataclass(frozen=True)
class CancelOrder:
    order_id: str
    at: datetime
    reason: str


@dataclass(frozen=True)
class RefundOrder:
    order_id: str
    at: datetime
    amount_minor: int


Command = PlaceOrder | PayOrder | ShipOrder | CancelOrder | RefundOrder


def initial_state() -> Order | None:
    return None


def decide(command: Command, state: Order | None) -> list[Event]:
    """What happens, in order; nothing where it already has. Raises CommandRefused."""
    if isinstance(command, PlaceOrder):
        return _place(command, state)
    if state is None:
        raise CommandRefused("ORDER_UNKNOWN", order_id=command.order_id)
    if isinstance(command, PayOrder):
        return _pay(command, state)
    if isinstance(command, ShipOrder):
        return _ship(command, state)
    return _cancel(command, state) if isinstance(command, CancelOrder) else _refund(command, state)


def evolve(state: Order | None, event: Happened) -> Order | None:
    """The order after an event; one whose placing was never seen is made of what is known. Raises UnknownEvent."""
    if event.event_type not in CHANGES:
        raise UnknownEvent("orders", event.event_type, CHANGES)
    return CHANGES[event.event_type](state or Order(event.data["order_id"]), event.data)


def restored(columns: Mapping[str, Any]) -> Order:
    """The order that a table's row tells of; what it has no column for is as it was in the beginning."""
    return Order(**columns)


def _place(command: PlaceOrder, state: Order | None) -> list[Event]:
    if state is not None:
        raise CommandRefused("ORDER_EXISTS", order_id=command.order_id)
    if command.total_minor <= 0:
        raise CommandRefused("WRONG_AMOUNT", given=command.total_minor, least=1)
    return [_event("placed", command, customer_id=command.customer_id, total_minor=command.total_minor)]


def _pay(command: PayOrder, order: Order) -> list[Event]:
    _require(order, "placed")
    if command.amount_minor != order.total_minor:
        raise CommandRefused("WRONG_AMOUNT", given=command.amount_minor, due=order.total_minor)
    return [_event("paid", command, amount_minor=command.amount_minor)]


def _ship(command: ShipOrder, order: Order) -> list[Event]:
    _require(order, "paid")
    return [_event("shipped", command, tracking=command.tracking)]


def _cancel(command: CancelOrder, order: Order) -> list[Event]:
    if order.status == "cancelled":
        return []
    _require(order, "placed", "paid")
    owed = order.paid_minor - order.refunded_minor
    refund = [_event("refunded", command, amount_minor=owed)] if owed else []
    return [_event("cancelled", command, reason=command.reason), *refund]


def _refund(command: RefundOrder, order: Order) -> list[Event]:
    left = order.paid_minor - order.refunded_minor
    if not 0 < command.amount_minor <= left:
        raise CommandRefused("WRONG_AMOUNT", given=command.amount_minor, most=left)
    return [_event("refunded", command, amount_minor=command.amount_minor)]


def _require(order: Order, *allowed: Status) -> None:
    if order.status not in allowed:
        raise CommandRefused("WRONG_STATUS", order_id=order.order_id, status=order.status, allowed=allowed)


def _event(what: str, command: Command, **data: Any) -> Event:
    return Event(f"order_{what}", {"order_id": command.order_id, **data}, command.at)


Change = Callable[[Order, Mapping[str, Any]], Order]
CHANGES: dict[str, Change] = {
    "order_placed": lambda order, data: replace(
        order, customer_id=data["customer_id"], total_minor=data["total_minor"], status="placed"
    ),
    "order_paid": lambda order, data: replace(
        order, status="paid", paid_minor=order.paid_minor + int(data["amount_minor"])
    ),
    "order_shipped": lambda order, data: replace(order, status="shipped", tracking=data["tracking"]),
    "order_cancelled": lambda order, data: replace(order, status="cancelled", reason=data["reason"]),
    "order_refunded": lambda order, data: replace(
        order, refunded_minor=order.refunded_minor + int(data["amount_minor"])
    ),
}
