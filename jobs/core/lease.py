"""One live instance a job: a lease with an epoch.

An instance takes its job's lease before it looks at anything else, renews it while it runs, and gives it back at its end.
Another one takes it over

    at once, under the same epoch      where it was given back
    at once, under the next epoch      where its holder is known to be gone: a process that ended, a connection that broke
    after `ttl`, under the next epoch  where it was not renewed in all that time; no two machines' clocks are compared

and is refused as soon as it sees it renewed. A lease by itself fences nothing: an instance that was stopped, and wakes up,
believes that it has it. So the sink is asked: PostgreSQL in the transaction that writes (`lease_postgres`), a Delta table by
a property that is read from the snapshot that is committed on (`sinks.commits`), a ledger in files by the number of its next
record, which whoever takes over uses up first. Parquet, Kafka and views can't be asked; there the lease is looked at before
each batch.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from jobs.core.connections import LeaseLimits
from jobs.core.errors import LeaseHeld, LeaseLost
from jobs.core.failures import words
from jobs.core.holder import Holder

LOOK_S = 0.2
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seen:
    """A lease, as it stands."""

    holder: Holder
    epoch: int
    sign: str  # another one after each renewal
    given_back: bool
    gone: bool  # the holder certainly is

    @property
    def is_free(self) -> bool:
        return self.given_back or self.gone


class Register(Protocol):
    """Where a job's lease is recorded."""

    @property
    def path(self) -> str:
        """Where that is, in words."""

    def look(self) -> Seen | None:
        """The lease as it stands; None where nobody ever had it."""

    def claim(self, before: Seen | None, holder: Holder, epoch: int) -> bool:
        """Takes it from `before`; False where another was quicker."""

    def renew(self) -> bool:
        """Renews it; False where it is another's."""

    def give_back(self) -> None:
        """Gives it back, if it is still this one's."""


class Lease:
    """A lease that was taken. A thread renews it until it is given back, or found to be another's."""

    def __init__(
        self,
        register: Register,
        job: str,
        epoch: int,
        before: Seen | None,
        limits: LeaseLimits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.job, self.epoch = job, epoch
        self.taken_from = before.holder if before and not before.given_back else None
        self._register, self._limits, self._clock = register, limits, clock
        self._renewed = clock()
        self._lost: LeaseLost | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._renew_until_ended, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """By what is known already. Raises LeaseLost."""
        if self._lost:
            raise self._lost

    def confirm(self) -> None:
        """Looks again where it was not renewed in time, as after a stop of the process.

        Raises LeaseLost, and what renewing raises where the lease's place is away: before a batch that may be tried again.
        """
        if self._clock() - self._renewed >= self._limits.ttl.seconds_total:
            self._renew()
        self.check()

    def loss(self) -> LeaseLost:
        """Whoever has it now, as an error."""
        seen = self._register.look()
        return LeaseLost(self.job, self._register.path, str(seen.holder) if seen else "nobody")

    def give_back(self) -> None:
        """Ends the renewals. The lease is free then, unless it is another's."""
        self._ended.set()
        self._thread.join()
        try:
            self._register.give_back()
        except Exception as failure:  # the next instance finds out by itself
            log.warning("the lease of %s was not given back: %s", self.job, words(failure))

    def _renew_until_ended(self) -> None:
        while not self._lost and not self._ended.wait(self._limits.renew.seconds_total):
            try:
                self._renew()
            except Exception as failure:  # where it is kept is away for a while, or it is too late for that, too
                log.warning("the lease of %s was not renewed: %s", self.job, words(failure))

    def _renew(self) -> None:
        with self._lock:
            now = self._clock()
            if self._register.renew():
                self._renewed = now
            else:
                self._lost = self.loss()


def take(
    register: Register,
    job: str,
    holder: Holder,
    limits: LeaseLimits,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Lease:
    """Waits until the lease is free, for `ttl` at most. Raises LeaseHeld, naming the instance that renews it."""
    while True:
        seen = _watched(register, job, limits, pause, clock)
        epoch = 1 if seen is None else seen.epoch if seen.given_back else seen.epoch + 1
        if register.claim(seen, holder, epoch):
            lease = Lease(register, job, epoch, seen, limits, clock)
            if lease.taken_from:
                log.warning("%s is taken over from %s, epoch %d", job, lease.taken_from, epoch)
            return lease


def _watched(
    register: Register, job: str, limits: LeaseLimits, pause: Callable[[float], None], clock: Callable[[], float]
) -> Seen | None:
    """The lease once it may be claimed."""
    first, since = register.look(), clock()
    seen = first
    if first and not first.is_free:
        log.warning("%s is run by %s; does it renew its lease within %s?", job, first.holder, limits.ttl)
    while first and seen and not seen.is_free and clock() - since < limits.ttl.seconds_total:
        pause(LOOK_S)
        seen = register.look()
        if seen and seen.sign != first.sign and not seen.is_free:
            raise LeaseHeld(job, register.path, str(seen.holder))
    return seen
