from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from jobs.core.connections import LeaseLimits
from jobs.core.errors import LeaseHeld, LeaseLost
from jobs.core.holder import Holder
from jobs.core.lease import Lease, Seen, take
from jobs.core.values import Duration

LIMITS = LeaseLimits(renew=Duration("1h"), ttl=Duration("3h"))  # no test waits for the thread
TTL_S = 3 * 3600
ANN = Holder("a", "m", "h1", 1, "1", "ann", "monday")
BEN = Holder("b", "m", "h2", 2, "2", "ben", "tuesday")


@dataclass
class FakeRegister:
    """A lease in memory; `then` is what happens at each look but the first."""

    seen: Seen | None = None
    then: Callable[[Seen], Seen | None] = lambda seen: seen
    mine: Holder | None = None
    failing: Exception | None = None
    path: str = "register"
    looked: int = 0
    renewed: threading.Event = field(default_factory=threading.Event)

    def look(self) -> Seen | None:
        if self.looked and self.seen:
            self.seen = self.then(self.seen)
        self.looked += 1
        return self.seen

    def claim(self, before: Seen | None, holder: Holder, epoch: int) -> bool:
        if before != self.seen:
            return False
        self.seen, self.mine = Seen(holder, epoch, "claimed", False, False), holder
        return True

    def renew(self) -> bool:
        self.renewed.set()
        if self.failing:
            raise self.failing
        return self.seen is not None and self.seen.holder == self.mine

    def give_back(self) -> None:
        if self.seen and self.seen.holder == self.mine:
            self.seen = replace(self.seen, given_back=True)


class Time:
    """A clock that only `pause` and `pass_` move."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def taken(time: Time) -> Iterator[Callable[..., Lease]]:
    leases = []

    def make(register: FakeRegister, limits: LeaseLimits = LIMITS) -> Lease:
        leases.append(take(register, "job", BEN, limits, time.pause, time))
        return leases[-1]

    yield make
    for lease in leases:
        lease.give_back()


HELD = Seen(ANN, 4, "1", given_back=False, gone=False)


@pytest.mark.parametrize(
    ("before", "epoch", "taken_from", "waited_s"),
    [
        (None, 1, None, 0),
        (replace(HELD, given_back=True), 4, None, 0),
        (replace(HELD, gone=True), 5, ANN, 0),
        (HELD, 5, ANN, TTL_S),
    ],
    ids=["nobody before", "given back", "gone", "not renewed"],
)
def test_when_a_lease_is_taken_and_under_which_epoch(
    taken: Callable[..., Lease], time: Time, before: Seen | None, epoch: int, taken_from: Holder | None, waited_s: int
) -> None:
    lease = taken(FakeRegister(before))
    assert (lease.epoch, lease.taken_from) == (epoch, taken_from)
    assert time.now == pytest.approx(waited_s, abs=1)


def test_a_lease_that_is_renewed_is_refused_naming_its_holder(taken: Callable[..., Lease], time: Time) -> None:
    register = FakeRegister(HELD, then=lambda seen: replace(seen, sign="2") if time.now > 100 else seen)
    with pytest.raises(LeaseHeld) as refused:
        taken(register)
    assert str(refused.value) == (
        "job is run by process 1 of ann on h1, since monday, which renews its lease in register; stop that one first"
    )
    assert time.now < 101


def test_a_lease_given_back_while_one_waits_is_taken_at_once(taken: Callable[..., Lease], time: Time) -> None:
    register = FakeRegister(HELD, then=lambda seen: replace(seen, given_back=True) if time.now > 1 else seen)
    assert taken(register).epoch == 4
    assert time.now < 2


def test_of_two_who_claim_the_slower_one_looks_again(taken: Callable[..., Lease], time: Time) -> None:
    class Quicker(FakeRegister):
        """Between look and claim, another one takes it once."""

        def claim(self, before: Seen | None, holder: Holder, epoch: int) -> bool:
            if self.seen == replace(HELD, gone=True):
                self.seen = replace(HELD, holder=ANN, epoch=5, sign="new")
                return False
            return super().claim(before, holder, epoch)

    lease = taken(Quicker(replace(HELD, gone=True)))
    assert lease.epoch == 6 and time.now == pytest.approx(TTL_S, abs=1)


def test_a_lease_that_was_not_renewed_in_time_is_looked_at_before_it_is_believed(
    taken: Callable[..., Lease], time: Time
) -> None:
    register = FakeRegister()
    lease = taken(register)
    register.seen = replace(HELD, epoch=2)
    lease.confirm()  # it believes so, as it had renewed it
    time.pause(TTL_S)
    with pytest.raises(LeaseLost) as lost:
        lease.confirm()
    assert str(lost.value) == (
        "job was taken over by process 1 of ann on h1, since monday, as register says; this instance writes nothing more"
    )
    time.now = 0
    with pytest.raises(LeaseLost):
        lease.check()  # and never believes it again


def test_a_late_renewal_that_succeeds_is_enough(taken: Callable[..., Lease], time: Time) -> None:
    lease = taken(FakeRegister())
    time.pause(TTL_S)
    lease.confirm()
    lease.confirm()


def test_where_its_place_is_away_only_a_batch_waits_for_it(taken: Callable[..., Lease], time: Time) -> None:
    register = FakeRegister()
    lease = taken(register)
    register.failing = OSError("away")
    time.pause(TTL_S)
    lease.check()  # a tick asks nothing, and does not end the job
    with pytest.raises(OSError, match="away"):
        lease.confirm()
    register.failing = None
    lease.confirm()


def test_the_thread_renews_and_finds_out_that_it_is_lost(taken: Callable[..., Lease], time: Time) -> None:
    register = FakeRegister()
    lease = taken(register, LeaseLimits(renew=Duration("10ms"), ttl=Duration("30ms")))
    assert register.renewed.wait(10)
    register.failing = OSError("away")
    register.renewed.clear()
    assert register.renewed.wait(10)  # a failure does not end it
    register.failing, register.seen = None, HELD
    lease._thread.join(10)
    assert not lease._thread.is_alive()
    with pytest.raises(LeaseLost):
        lease.check()


def test_what_is_given_back_is_free_and_another_s_stays(taken: Callable[..., Lease]) -> None:
    register = FakeRegister()
    taken(register).give_back()
    assert register.seen and register.seen.given_back
    lease = taken(register)
    register.seen = HELD
    lease.give_back()
    assert register.seen == HELD
