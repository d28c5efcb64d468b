"""A start, or a run, that is refused: a broker that is not there, and a topic that is not what it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from _faults.case import Case
from _faults.driver import Driver
from _faults.servers import Servers

from jobs.core.errors import DependencyMissing, SourceLost

long = pytest.mark.long
SINKS = pytest.mark.parametrize("case", ["delta", pytest.param("postgres", marks=long)], indirect=True)
NOWHERE = "127.0.0.1:9"


@pytest.mark.parametrize("kind", ["delta", pytest.param("enriching", marks=long)])
def test_a_broker_that_is_not_there_at_the_start(cases: Callable[..., Case], kind: str) -> None:
    case = cases(kind, kafka={"bootstrap_servers": NOWHERE, "timeout": "1s"})
    driver = case.start()
    assert driver.wait() == 3, driver.said
    assert f"DependencyMissing: Kafka {NOWHERE} unreachable" in driver.said
    assert not (case.path / "checkpoint").exists()


@pytest.mark.parametrize("kind", ["delta", "enriching", "asking"])
def test_a_database_of_customers_that_is_not_there_at_the_start(cases: Callable[..., Case], kind: str) -> None:
    away = {"url": f"jdbc:postgresql://{NOWHERE}/patterns", "user": "patterns", "password": "${POSTGRES_PASSWORD}"}
    case = cases(kind, postgres=away)
    with pytest.raises(DependencyMissing, match=rf"table {case.customers} at .*{NOWHERE}/patterns") as missing:
        case.drain()
    assert missing.value.exit_code == 3
    assert not (case.path / "checkpoint").exists()


@SINKS
def test_records_that_were_deleted_before_they_were_read(case: Case, servers: Servers) -> None:
    case.send(10)
    case.drain()
    case.send(20)
    servers.delete_records(case.topic, before=25)
    said = f"topic {case.topic}, partition 0: the job stands at offset 10, the broker has 25 to 30: 15 records are gone"
    with pytest.raises(SourceLost, match=said) as lost:
        case.drain()
    assert lost.value.exit_code == 4
    case.drain("reprocess")
    assert case.end() == {"0": 30}
    assert sorted(row.place[2] for row in case.rows()) == [*range(9), *range(25, 29)]


@SINKS
def test_a_topic_made_anew_with_more_records(case: Case, servers: Servers) -> None:
    case.send(10)
    case.drain()
    servers.delete_topic(case.topic)
    with pytest.raises(SourceLost, match="partition 0: the job stands at offset 10, the broker has no such topic"):
        case.drain()
    servers.topic("orders", name=case.topic)
    case.send(20)
    said = r"partition 0: the topic was deleted and made anew \(id .*\); the job stands at offset 10, it has 0 to 20"
    for recover in (None, "from-ledger", "reprocess"):
        with pytest.raises(SourceLost, match=said):
            case.drain(recover)
    assert case.end() == {"0": 10}


def ends_with_a_loss(driver: Driver, said: str) -> None:
    assert driver.wait() == 4, driver.said
    assert f"SourceLost: topic {said}" in driver.said, driver.said[-3000:]


def test_a_topic_that_is_deleted_in_the_run(cases: Callable[..., Case], servers: Servers) -> None:
    case = cases("delta")
    case.send(10)
    driver = case.start()
    driver.until(case.caught_up, "ten records in the ledger")
    servers.delete_topic(case.topic)
    ends_with_a_loss(driver, f"{case.topic}, partition 0: the job stands at offset 10, the broker has no such topic")


def test_records_that_are_deleted_under_a_batch(cases: Callable[..., Case], servers: Servers) -> None:
    case = cases("postgres")
    case.send(40)
    driver = case.start(before_write="stop")
    driver.stands_at("before_write")
    servers.delete_records(case.topic, before=25)
    driver.go_on()
    ends_with_a_loss(
        driver, f"{case.topic}, partition 0: the job stands at offset 0, the broker has 25 to 40: 25 records"
    )
