"""Stream enrichment: the service of currency rates fails in every way that it has, one after the other, and orders go on.

In each phase a share of the orders is sent, the next few whenever the job has taken those before. A phase is over once its
share is taken and what it is there for has come about: what is kept has become too old to serve without a call, or too old to
serve at all. At the end the service is well again, and what waited is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from _lib import rates
from _stack import Stack

from _demos import DemoFailed
from _demos.job import Ledger
from _demos.outcomes import Lived, judged
from _demos.report import Played, Verdict
from _demos.stage import Stage
from jobs.core.config import JobConfig
from jobs.stream_enrichment import Config

TTL_S, MAX_STALE_S = 5, 20
WAVES = 2  # a share
PHASE_S = 180  # no phase lasts longer, unless something is wrong


class Phase(NamedTuple):
    """One way for the service to be."""

    name: str
    begin: Callable[[Stack], object]
    shows: Callable[[Ledger, float], bool]  # what it is there for, by the ledger and the time of its begin


def _told(mode: str) -> Callable[[Stack], object]:
    return lambda stack: rates.told(stack.rates_url, {"mode": mode})


def _gone(stack: Stack) -> None:
    stack.processes()["rates"].stop(rates.STOP)


def _back(stack: Stack) -> None:
    Stack.start(stack.directory)


def _anything(ledger: Ledger, began: float) -> bool:
    return True


def _too_old_for_no_call(ledger: Ledger, began: float) -> bool:
    return ledger.newest > began + TTL_S


def _too_old(ledger: Ledger, began: float) -> bool:
    return ledger.waiting > 0


def _none_waits(ledger: Ledger, began: float) -> bool:
    return ledger.waiting == 0


PHASES = (
    Phase("well", _told("well"), _anything),
    Phase("slow", _told("slow"), _too_old_for_no_call),
    Phase("wrong", _told("wrong"), _anything),
    Phase("down", _told("down"), _too_old),
    Phase("gone", _gone, _anything),
    Phase("back", _back, _none_waits),
)


class Enrichment:
    """A `Demo`."""

    job, rows, least = "stream_enrichment", 40_000, 1_000
    model: type[JobConfig] = Config

    def __init__(self) -> None:
        self._lived: list[Lived] = []
        self._log: Path

    def settings(self, folder: Path) -> dict[str, object]:
        return {
            "sink.delta.path": folder / "orders_in_euros",
            "waiting.parked": folder / "orders_waiting",
            "checkpoint": folder / "checkpoint",
            "trigger.every": "500ms",
            "enrich.rate.lookup.cache.ttl": f"{TTL_S}s",
            "enrich.rate.lookup.cache.max_stale": f"{MAX_STALE_S}s",
            "enrich.rate.lookup.http.timeout": "1s",
            "waiting.wait_for": "5m",
            "retry.attempts": 2,
            "breaker.window": 4,
            "breaker.min_calls": 2,
            "breaker.open_for": "3s",
            "breaker.probes": 1,
        }

    def play(self, stage: Stage) -> None:
        """The phases in their order; the last one has all orders that are left."""
        self._log = stage.job.log
        stage.feed.send(1)
        stage.until(lambda ledger: ledger.read > 0)
        for phase in PHASES[:-1]:
            self._lived.append(lived(stage, phase, stage.rows // len(PHASES)))
        stage.prepare_report()
        self._lived.append(lived(stage, PHASES[-1], stage.rows - stage.feed.sent))

    def judge(self, played: Played) -> Verdict:
        return judged(played, self._lived, self._log)


def lived(stage: Stage, phase: Phase, share: int) -> Lived:
    """Sends the share, and then an order now and then for as long as the phase has not shown what it is there for."""
    feed, whole = stage.feed, stage.feed.sent + share
    phase.begin(stage.stack)
    began = time.time()

    def is_over(ledger: Ledger) -> bool:
        stage.say(f"rates {phase.name}" + (f", {ledger.waiting:,} wait" if ledger.waiting else ""))
        if ledger.read < feed.sent:
            return False
        if feed.sent >= whole and phase.shows(ledger, began):
            return True
        if time.time() - began > PHASE_S:
            raise DemoFailed(f"rates were {phase.name} for {PHASE_S} s, and the orders do not show it")
        feed.send(max(1, min(whole - feed.sent, share // WAVES)))
        return False

    stage.until(is_over)
    return Lived(phase.name, began, time.time() - began, dict(feed.ends))
