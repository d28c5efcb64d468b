"""Faults in turn, picked from a seed, on a job under load; after each the next batch has to come and the invariant to hold."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from _lib.processes import until

from _faults.case import Case
from _faults.driver import LIMIT_S, Driver, JobEnded

REFUSED = (2, 4)  # exit codes after which a job that is started again would only end again
Fault = Callable[["Run"], float]  # does it, and says when it hit
SEGMENTS = ["gold", "silver", "bronze", "iron"]
POINTS = {
    "delta": ["before_write", "written", "before_dead_letters", "after_dead_letters", "before_ledger", "after_ledger"],
    "postgres": ["mid_copy", "written", "before_move", "in_transaction", "after_dead_letters", "after_ledger"],
}


class Violated(Exception):
    """The invariant does not hold, or the job does not come back."""


@dataclass
class Run:
    """One job under chaos, and whoever starts it again when it has ended."""

    case: Case
    pick: random.Random
    driver: Driver
    ended: list[int] = field(default_factory=list)  # exit codes of its own accord

    def restart(self, *more: str) -> None:
        self.driver = self.case.start(*more)

    def supervise(self) -> None:
        """Starts again what has ended with a failure that may pass."""
        code = self.driver.code
        if code in REFUSED:
            raise Violated(f"the job ended with {code}\n{self.driver.said[-4000:]}")
        if code is not None:
            self.ended.append(code)
            self.restart()


@dataclass(frozen=True)
class Outcome:
    """One fault, and how long it took until the next batch was in the ledger."""

    fault: str
    recovery_s: float
    problems: list[str]


def strike(run: Run) -> Outcome:
    """A fault that is picked, what follows on it, and whether the invariant holds. Raises Violated."""
    name = run.pick.choice(sorted(faults(run.case.sink)))
    await_batch(run, run.case.batches(), f"before {name}")
    try:
        hit = faults(run.case.sink)[name](run)
    except JobEnded as ended:
        raise Violated(f"{name}: {ended}") from None
    before = run.case.batches()
    await_batch(run, before, name)
    return Outcome(name, time.monotonic() - hit, run.case.problems())


def await_batch(run: Run, before: int, name: str) -> None:
    def committed() -> bool:
        run.supervise()
        return run.case.batches() > before

    if not until(committed, LIMIT_S):
        raise Violated(f"{name}: no batch within {LIMIT_S} s\n{run.driver.said[-4000:]}")


def faults(sink: str) -> dict[str, Fault]:
    """All that can happen to a job with this sink, by name."""
    at = POINTS[sink]
    own = (
        {"PostgreSQL kill -9 in the sink's transaction": database_killed_in_a_transaction} if sink == "postgres" else {}
    )
    return {
        "kill -9": killed,
        "kill -9 at a named point": lambda run: killed_at(run, run.pick.choice(at)),
        "kill -9 during a reference swap": killed_in_a_swap,
        "kill -9, newest commit deleted": killed_and_commit_deleted,
        "kill -9, checkpoint deleted, --recover from-ledger": killed_and_checkpoint_deleted,
        "SIGTERM": terminated,
        "SIGSTOP of the job at a named point": lambda run: paused_at(run, run.pick.choice(at)),
        "a failure at a named point": lambda run: failed_at(run, run.pick.choice(at)),
        "broker kill -9": lambda run: server_killed(run, "kafka"),
        "broker SIGSTOP": lambda run: server_stopped(run, "kafka"),
        "PostgreSQL kill -9": lambda run: server_killed(run, "postgres"),
        "PostgreSQL SIGSTOP": lambda run: server_stopped(run, "postgres"),
        "reference table changed": changed,
        **own,
    }


def killed(run: Run) -> float:
    time.sleep(run.pick.uniform(0, 2))  # anywhere in a batch
    return _killed(run)


def killed_at(run: Run, point: str) -> float:
    run.driver.arm(point, "kill")
    if run.driver.wait() != -signal.SIGKILL:
        raise Violated(f"it was not killed at {point}\n{run.driver.said[-4000:]}")
    hit = time.monotonic()
    run.restart()
    return hit


def killed_in_a_swap(run: Run) -> float:
    run.driver.arm("in_swap", "stop")
    run.case.change("c1", run.pick.choice(SEGMENTS))
    run.driver.stands_at("in_swap")
    return _killed(run)


def killed_and_commit_deleted(run: Run) -> float:
    run.driver.kill()
    hit = time.monotonic()
    commits = run.case.path / "checkpoint" / "commits"
    newest = max((int(file.name) for file in commits.glob("[0-9]*")), default=None)
    for name in (str(newest), f".{newest}.crc"):
        (commits / name).unlink(missing_ok=True)
    run.restart()
    return hit


def killed_and_checkpoint_deleted(run: Run) -> float:
    run.driver.kill()
    hit = time.monotonic()
    shutil.rmtree(run.case.path / "checkpoint")
    run.restart("--recover", "from-ledger")
    return hit


def terminated(run: Run) -> float:
    hit = time.monotonic()
    run.driver.terminate()
    code = run.driver.wait()
    if code != 0:
        raise Violated(f"SIGTERM ended it with {code}\n{run.driver.said[-4000:]}")
    run.restart()
    return hit


def paused_at(run: Run, point: str) -> float:
    run.driver.arm(point, "stop")
    run.driver.stands_at(point)
    hit = time.monotonic()
    time.sleep(run.pick.uniform(1, 5))
    run.driver.go_on()
    return hit


def failed_at(run: Run, point: str) -> float:
    run.driver.arm(point, "fail")
    run.driver.is_held_at(point)
    return time.monotonic()


def server_killed(run: Run, name: str) -> float:
    hit = time.monotonic()
    run.case.servers.kill(name)
    time.sleep(run.pick.uniform(0, 3))
    run.case.servers.revive()
    return hit


def server_stopped(run: Run, name: str) -> float:
    hit = time.monotonic()
    with run.case.servers.stopped(name):
        time.sleep(run.pick.uniform(2, 10))
    return hit


def database_killed_in_a_transaction(run: Run) -> float:
    run.driver.arm("in_transaction", "stop")
    run.driver.stands_at("in_transaction")
    hit = server_killed(run, "postgres")
    run.driver.go_on()
    return hit


def changed(run: Run) -> float:
    run.case.change("c0", run.pick.choice(SEGMENTS))
    return time.monotonic()


def _killed(run: Run) -> float:
    run.driver.kill()
    hit = time.monotonic()
    run.restart()
    return hit
