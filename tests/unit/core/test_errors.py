from __future__ import annotations

import pytest

from jobs.core.errors import (
    BreakerOpen,
    CheckpointDamaged,
    ConfigError,
    DependencyMissing,
    JobError,
    LedgerMismatch,
    Loss,
    NoSpace,
    Problem,
    ReferenceStale,
    Refused,
    SourceLost,
    StoppedWaiting,
)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (JobError("odd"), 1, "odd"),
        (ConfigError(Problem("a.b", "7", "a word", "job.yaml:3")), 2, "job.yaml:3: a.b = 7: a word"),
        (ConfigError(Problem("", "", "empty", "job.yaml")), 2, "job.yaml: empty"),
        (DependencyMissing("Kafka", "b:9092", "gone"), 3, "Kafka b:9092 unreachable: gone"),
        (NoSpace(["a", "b"]), 1, "no space left under a, b; once there is room, start the job again"),
        (BreakerOpen("PostgreSQL", 12.34, "gone"), 1, "PostgreSQL is not called, the next try is due in 12.3 s: gone"),
        (StoppedWaiting("PostgreSQL", "gone"), 0, "ended as asked, waiting for PostgreSQL: gone"),
        (Refused("no"), 4, "no"),
        (CheckpointDamaged("cp", "offsets/3", "is empty", "Do this"), 4, "checkpoint cp: offsets/3 is empty. Do this"),
        (LedgerMismatch("cp", "led", "why", "Do this"), 4, "checkpoint cp against ledger led: why. Do this"),
        (SourceLost([Loss("t", 3, "gone")], "Do this"), 4, "topic t, partition 3: gone. Do this"),
        (ReferenceStale("t", 61.2, 60, "gone"), 4, "reference t is 61 s old, 60 s are allowed: gone"),
    ],
)
def test_each_error_says_what_and_ends_with_its_code(error: JobError, code: int, said: str) -> None:
    assert (error.exit_code, str(error)) == (code, said)
