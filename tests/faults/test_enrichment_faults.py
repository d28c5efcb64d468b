"""A service that is wrong, down, slow or gone, a database that is away, kills of the job: each order is enriched once.

What other faults do to this job is proven where they are proven for the table join.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from _faults.case import Case
from _faults.servers import Servers

EACH = 10  # orders at a time, of which one is bad


@pytest.fixture
def asking(cases: Callable[..., Case], servers: Servers) -> Iterator[Case]:
    """A job that looks up all it needs, from a service that is well before and after."""
    yield cases("asking")
    servers.revive()
    servers.tell_rates("well")


def outcomes(written: int, waiting: int = 0) -> tuple[int, int, int]:
    """Of so many times EACH orders."""
    return (EACH - 1) * written, written + waiting, (EACH - 1) * waiting


def test_orders_wait_for_their_service_and_the_database_and_come_once(asking: Case, servers: Servers) -> None:
    case = asking
    with case.running() as driver:
        case.send(EACH)
        driver.until(lambda: case.outcomes() == outcomes(1), "orders with a rate")
        for waiting, mode in enumerate(("wrong", "down", "slow", "gone"), start=1):
            servers.kill("rates") if mode == "gone" else servers.tell_rates(mode)
            case.send(EACH)
            seen = outcomes(1, waiting)
            driver.until(lambda seen=seen: case.outcomes() == seen, f"orders that wait, with the service {mode}")  # type: ignore[misc]
        servers.revive()
        driver.until(lambda: case.outcomes() == outcomes(5), "all of them, as the service is back")
        servers.kill("postgres")
        case.send(EACH)
        driver.until(
            lambda: "lookup customer" in driver.said or "customer: " in driver.said,
            "customers who are asked for in vain",
        )
        assert case.covered() == 5 * EACH, "offsets do not move"
        servers.revive()
        driver.until(lambda: case.outcomes() == outcomes(6), "orders after the database was back")
    case.check()


@pytest.mark.parametrize("point", [pytest.param("written", marks=pytest.mark.long), "before_ledger"])
def test_a_kill_while_orders_wait_loses_none(asking: Case, servers: Servers, point: str) -> None:
    """One in a batch of which some wait, and one in their release."""
    case = asking
    servers.tell_rates("down")
    case.send(EACH)
    assert case.start(before_ledger="kill").wait() == -9
    driver = case.start()
    driver.until(lambda: case.outcomes() == outcomes(0, 1), "orders that wait")
    driver.arm(point, "kill")
    servers.tell_rates("well")
    assert driver.wait() == -9
    case.drain()
    assert case.outcomes() == outcomes(1)
    case.check()
