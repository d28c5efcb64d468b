"""Everything that stops a job, as one tree; each error carries data and an exit code.

    JobError                     1   anything that has no better name
    ├── ConfigError              2   refused before Spark starts: file, key path, value, what is allowed
    ├── DependencyMissing        3   a dependency was not there at the start
    ├── SinkFailed               1   a sink did not take a batch; it runs again at the next start
    │   └── RowsRefused              for more of its rows than may become dead letters
    ├── EventFailed          1   an event that a fold cannot take; a replay changes nothing then
    ├── EvolveFailed             the same, as the executors raise it (`core.events.evolving`)
    ├── UpcastFailed             a step that could not bring an event up to date (`core.events.upcasting`)
    ├── DeadLettersRefused       1   the topic did not take dead letters; their batch runs again at the next start
    ├── NoSpace                  1   a disk is full; the batch in flight runs again at the next start
    ├── LookupFailed             1   a service refuses what it is asked; its batch runs again at the next start
    ├── BreakerOpen              1   a dependency fails so often that it is not called for a while
    ├── StoppedWaiting           0   asked to end while a dependency was away: ended as asked, its batch runs again
    └── Refused                  4   refused for the data's safety
        ├── CheckpointDamaged        a file of the checkpoint is missing, is one too many or cannot be read
        ├── LedgerMismatch           checkpoint and ledger tell different stories
        ├── LeaseHeld                another instance of the job is running
        ├── LeaseLost                another instance has taken the job over, after this one had stood still
        ├── MigrationChanged         a step of the database's schema is not the one that was applied
        ├── SourceLost               records that were still to be read are gone, or the topic is another one
        ├── StagingLost              rows that were staged for a batch are not all there
        ├── ReplayRefused            what a replay has built is not what the log has, or it would replace what is not its own
        ├── BudgetSpent              more records became dead letters than the error budget allows
        └── ReferenceStale           the reference table is older than it may be

A rejected record is not an error: it is a row with a reason (`core.reasons`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

SHOWN = 5  # of many alike


class JobError(Exception):
    """Stops the job; `exit_code` is what the process ends with."""

    exit_code: ClassVar[int] = 1


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a config."""

    path: str  # dotted key path, "" for the whole file
    value: str  # as written, masked where it is secret
    allowed: str  # what would be right
    origin: str  # the file, variable or argument that set it

    def __str__(self) -> str:
        where = f"{self.origin}: {self.path}" if self.path else self.origin
        shown = f" = {self.value}" if self.value else ""
        return f"{where}{shown}: {self.allowed}"


class ConfigError(JobError):
    """The config cannot be used; every problem found is in `problems`."""

    exit_code = 2

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class DependencyMissing(JobError):
    """A broker, database or table was not there at the start."""

    exit_code = 3

    def __init__(self, dependency: str, address: str, cause: str) -> None:
        super().__init__(f"{dependency} {address} unreachable: {cause}")
        self.dependency, self.address, self.cause = dependency, address, cause


class SinkFailed(JobError):
    """A sink did not take a batch; nothing of it is there."""

    def __init__(self, sink: str, batch_id: int, cause: str) -> None:
        super().__init__(f"{sink} did not take batch {batch_id}: {cause}")
        self.sink, self.batch_id, self.cause = sink, batch_id, cause


class RowsRefused(SinkFailed):
    """The sink refuses more rows of a batch than may become dead letters; `first` is one of them, without its values."""

    def __init__(self, batch_id: int, first: str, allowed: int) -> None:
        few = f"more than {allowed:,} of its rows are refused (sink.max_refused), one of them"
        cause = f"{few if allowed else 'without dead_letters a refused row has no place to go to'}: {first}"
        super().__init__("the sink", batch_id, cause)
        self.first, self.allowed = first, allowed


class EventFailed(JobError):
    """An event that its fold, or a step that brings it up to date, cannot take."""

    def __init__(self, stream_id: str, stream_version: int, event: str, cause: str) -> None:
        """`event` is its id, or its type where that is not known."""
        super().__init__(f"stream {stream_id}, version {stream_version}, event {event}: {cause}")
        self.stream_id, self.stream_version, self.event, self.cause = stream_id, stream_version, event, cause


class DeadLettersRefused(JobError):
    """A topic does not take a dead letter: `largest` names the largest of those that were sent together."""

    def __init__(self, topic: str, largest: str, cause: str) -> None:
        remedy = "If it is too large, raise the topic's max.message.bytes, or say dead_letters.kafka.too_large: cut"
        super().__init__(f"topic {topic} did not take dead letters: {cause}. The largest is {largest}. {remedy}.")
        self.topic, self.largest, self.cause = topic, largest, cause


class NoSpace(JobError):
    """There is no room where the job has to write."""

    def __init__(self, places: Sequence[str]) -> None:
        super().__init__(f"no space left under {', '.join(places)}; once there is room, start the job again")
        self.places = tuple(places)


class LookupFailed(JobError):
    """A lookup's service refuses what it is asked, whatever the key."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(f"lookup {name} failed: {cause}")
        self.name, self.cause = name, cause


class BreakerOpen(JobError):
    """A call that was not made, as the dependency's circuit is open; `wait_s` until one may be."""

    def __init__(self, dependency: str, wait_s: float, cause: str) -> None:
        super().__init__(f"{dependency} is not called, the next try is due in {wait_s:.1f} s: {cause}")
        self.dependency, self.wait_s, self.cause = dependency, wait_s, cause


class StoppedWaiting(JobError):
    """The job was asked to end while it waited for a dependency; `cause` is the last failure."""

    exit_code = 0

    def __init__(self, dependency: str, cause: str) -> None:
        super().__init__(f"ended as asked, waiting for {dependency}: {cause}")
        self.dependency, self.cause = dependency, cause


class Refused(JobError):
    """Going on could lose or repeat data."""

    exit_code = 4


class CheckpointDamaged(Refused):
    """A file of the checkpoint is not what Spark would have left there."""

    def __init__(self, checkpoint: str, file: str, cause: str, remedy: str) -> None:
        super().__init__(f"checkpoint {checkpoint}: {file} {cause}. {remedy}")
        self.checkpoint, self.file, self.cause, self.remedy = checkpoint, file, cause, remedy


class LedgerMismatch(Refused):
    """The checkpoint and the ledger beside the sink do not belong together."""

    def __init__(self, checkpoint: str, ledger: str, cause: str, remedy: str) -> None:
        super().__init__(f"checkpoint {checkpoint} against ledger {ledger}: {cause}. {remedy}")
        self.checkpoint, self.ledger, self.cause, self.remedy = checkpoint, ledger, cause, remedy


class LeaseHeld(Refused):
    """Another instance of the job is running: it renews its lease."""

    def __init__(self, job: str, register: str, holder: str) -> None:
        super().__init__(f"{job} is run by {holder}, which renews its lease in {register}; stop that one first")
        self.job, self.register, self.holder = job, register, holder


class LeaseLost(Refused):
    """Another instance has taken the job over; what this one had begun is undone, and the other one goes on with it."""

    def __init__(self, job: str, register: str, holder: str) -> None:
        super().__init__(f"{job} was taken over by {holder}, as {register} says; this instance writes nothing more")
        self.job, self.register, self.holder = job, register, holder


@dataclass(frozen=True)
class Loss:
    """What is not there any more of one partition."""

    topic: str
    partition: int
    cause: str

    def __str__(self) -> str:
        return f"topic {self.topic}, partition {self.partition}: {self.cause}"


class SourceLost(Refused):
    """The source cannot be read on where the job stands; every partition of which that is so is in `losses`."""

    def __init__(self, losses: Sequence[Loss], remedy: str) -> None:
        more = f"; and {len(losses) - SHOWN} partitions more" if len(losses) > SHOWN else ""
        super().__init__(f"{'; '.join(map(str, losses[:SHOWN]))}{more}. {remedy}")
        self.losses, self.remedy = tuple(losses), remedy


class MigrationChanged(Refused):
    """A migration's file was changed after it had been applied."""

    def __init__(self, name: str, applied: str, found: str) -> None:
        super().__init__(f"migration {name} was applied with SHA-256 {applied[:12]}, the file has {found[:12]}")
        self.name, self.applied, self.found = name, applied, found


class StagingLost(Refused):
    """A server that crashed has emptied the staging; the batch runs again at the next start."""

    def __init__(self, table: str, expected: int, found: int) -> None:
        super().__init__(f"{expected} rows were staged for {table}, {found} are there; start the job again")
        self.table, self.expected, self.found = table, expected, found


class ReplayRefused(Refused):
    """A replay that changes nothing, and forgets what it had built."""

    def __init__(self, table: str, cause: str) -> None:
        super().__init__(f"{table} stays as it is: {cause}")
        self.table, self.cause = table, cause


class BudgetSpent(Refused):
    """More records became dead letters within the window than may; all of them are there, and the ledger has them."""

    def __init__(self, job: str, limit: str, window: str, read: int, bad: int, reasons: dict[str, int]) -> None:
        why = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())
        share = f" ({bad / read:.1%})" if read else ""
        super().__init__(
            f"job {job} has spent its error budget, {limit} within {window}: {bad:,} of {read:,} records read{share}"
            f" became dead letters: {why}"
        )
        self.job, self.limit, self.window, self.read, self.bad, self.reasons = job, limit, window, read, bad, reasons


class ReferenceStale(Refused):
    """The last good version of a reference table is older than `max_staleness`."""

    def __init__(self, table: str, age_s: float, limit_s: float, cause: str) -> None:
        super().__init__(f"reference {table} is {age_s:.0f} s old, {limit_s:.0f} s are allowed: {cause}")
        self.table, self.age_s, self.limit_s, self.cause = table, age_s, limit_s, cause
