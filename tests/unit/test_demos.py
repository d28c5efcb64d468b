"""What the demos show is counted, and what is not as it should be is said: on literal rows, ledgers and logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from _demos import DemoFailed, enrichment
from _demos.enrichment import Phase, lived
from _demos.job import Ledger
from _demos.outcomes import Lived, counted, opened, spans, told_apart, within, wrong
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

Rows = Callable[..., DataFrame]
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
PHASES = [
    Lived("well", NOON.timestamp(), 1.0, {0: 2, 1: 1}),
    Lived("down", NOON.timestamp() + 10, 1.0, {0: 3, 1: 4}),
]
ALL = {("well", "fresh"): 2, ("well", "dead"): 1, ("down", "stale"): 1, ("down", "waited"): 3}


def test_an_order_that_waited_counts_as_such_however_often_it_did(rows: Rows) -> None:
    written = rows(
        "_partition INT, _offset BIGINT, _enrichment MAP<STRING, STRING>",
        (0, 0, {"customer": "missed", "rate": "fresh"}),
        (0, 1, {"rate": "stale"}),
        (1, 0, {"rate": "cached"}),
    )
    found = told_apart(written, rows("_partition INT, _offset BIGINT", (1, 0), (1, 0), (9, 1)))
    expected = rows(
        "_partition INT, _offset BIGINT, outcome STRING", (0, 0, "fresh"), (0, 1, "stale"), (1, 0, "waited")
    )
    assert_df_equality(found.drop("_enrichment"), expected, ignore_row_order=True, ignore_nullable=True)


def test_orders_belong_to_the_phase_in_which_they_were_sent(spark: SparkSession, rows: Rows) -> None:
    found = rows(
        "_partition INT, _offset BIGINT, outcome STRING",
        (0, 0, "fresh"),
        (0, 1, "fresh"),
        (0, 2, "stale"),
        (1, 0, "dead"),
        (1, 1, "waited"),
        (1, 2, "waited"),
        (1, 3, "waited"),
        (1, 4, "waited"),
    )
    assert counted(within(found, spans(spark, PHASES))) == ALL


@pytest.mark.parametrize(
    ("counts", "without", "said"),
    [
        (ALL, 0, []),
        ({**ALL, ("well", "fresh"): 1}, 0, ["rates well: 3 orders were sent, 2 are accounted for"]),
        ({**ALL, ("down", "dead"): 1}, 0, ["rates down: 4 orders were sent, 5 are accounted for"]),
        (
            {**ALL, ("well", "fresh"): 1, ("well", "missed"): 1},
            0,
            ["rates well: 3 orders were sent, 2 are accounted for"],
        ),
        ({**ALL, ("down", "stale"): 0, ("down", "waited"): 4}, 0, ["no order ever had a stale rate"]),
        ({**ALL, ("down", "stale"): 4, ("down", "waited"): 0}, 0, ["no order ever waited and was written"]),
        (ALL, 2, ["2 orders were written without a rate"]),
    ],
)
def test_what_is_not_as_it_should_be(counts: dict[tuple[str, str], int], without: int, said: list[str]) -> None:
    assert list(wrong(PHASES, counts, without)) == said


def test_the_breaker_of_the_rates_is_counted_as_the_driver_logs_it(tmp_path: Path) -> None:
    local = [datetime.fromtimestamp(NOON.timestamp() + s).strftime("%Y-%m-%d %H:%M:%S,000") for s in (1, 9, 11, 12)]
    opens = "WARNING jobs.core.breaker: rate: circuit open, it was closed: Away: rate: 3 keys have no answer"
    log = tmp_path / "job.log"
    log.write_text(
        f"{local[0]} {opens}\n{local[1]} {opens}\n{local[2]} {opens}\n"
        "rate: circuit open, it was closed: Busy: a task has one of its own\n"
        f"{local[3]} WARNING jobs.core.breaker: rate: circuit half_open, it was open\n"
        f"{local[3]} WARNING jobs.core.breaker: sink: circuit open, it was closed: Away\n"
    )
    assert opened(log, PHASES) == {"well": 2, "down": 1}


class Acted:
    """A stage whose job has one order to go at one look, and none at the next; some wait."""

    def __init__(self, waiting: list[int]) -> None:
        self.sent, self.waves, self.stack, self.feed = 0, list[int](), None, self
        self._waiting = waiting

    @property
    def ends(self) -> dict[int, int]:
        return {0: self.sent}

    def say(self, what: str) -> None: ...

    def send(self, count: int) -> None:
        self.sent += count
        self.waves.append(count)

    def until(self, done: Callable[[Any], bool]) -> None:
        for ledger in self._ledgers():
            if done(ledger):
                return
        raise AssertionError("it went on for longer than it should")

    def _ledgers(self) -> Iterator[Any]:
        for waiting in self._waiting:
            yield SimpleNamespace(read=self.sent - 1, waiting=waiting)
            yield SimpleNamespace(read=self.sent, waiting=waiting)


def waits(ledger: Ledger, began: float) -> bool:
    return ledger.waiting > 0


def test_a_phase_sends_its_share_and_then_single_orders_until_it_has_shown_what_it_is_for() -> None:
    stage = Acted([0, 0, 0, 0, 7, 7])
    begun: list[str] = []
    phase = lived(stage, Phase("down", lambda stack: begun.append("down"), waits), 10)  # type: ignore[arg-type]
    assert (begun, stage.waves, phase.ends) == (["down"], [5, 5, 1, 1], {0: 12})


def test_a_phase_that_never_shows_it_fails_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrichment, "PHASE_S", -1)
    with pytest.raises(DemoFailed, match="rates were down for -1 s"):
        lived(Acted([0, 0]), Phase("down", lambda stack: None, waits), 10)  # type: ignore[arg-type]


def test_a_ledger_says_what_was_read_what_waits_and_when_the_last_batch_began() -> None:
    def record(kind: str, at: datetime, read: int, parked: int) -> dict[str, Any]:
        return {"kind": kind, "written_at": at.isoformat(), "counts": {"read": read, "parked": parked}, "note": {}}

    later = NOON.replace(hour=13)
    ledger = Ledger([record("batch", NOON, 9, 5), record("release", later, 0, -2)])
    assert (ledger.read, ledger.waiting, ledger.newest) == (9, 3, NOON.timestamp())
    assert Ledger().newest == 0.0
