from __future__ import annotations

import pytest

from jobs.core.errors import (
    BreakerOpen,
    BudgetSpent,
    CheckpointDamaged,
    ConfigError,
    DeadLettersRefused,
    DependencyMissing,
    EventFailed,
    JobError,
    LeaseHeld,
    LeaseLost,
    LedgerMismatch,
    Loss,
    NoSpace,
    Problem,
    ReferenceStale,
    Refused,
    ReplayRefused,
    RowsRefused,
    SinkFailed,
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
        (SinkFailed("table t", 3, "why"), 1, "table t did not take batch 3: why"),
        (
            RowsRefused(3, "topic t, partition 0, offset 1: why", 1_000),
            1,
            "the sink did not take batch 3: more than 1,000 of its rows are refused (sink.max_refused), one of them:"
            " topic t, partition 0, offset 1: why",
        ),
        (
            DeadLettersRefused("t", "that one", "too large"),
            1,
            "topic t did not take dead letters: too large. The largest is that one. If it is too large, raise the topic's"
            " max.message.bytes, or say dead_letters.kafka.too_large: cut.",
        ),
        (EventFailed("s", 3, "e", "why"), 1, "stream s, version 3, event e: why"),
        (Refused("no"), 4, "no"),
        (ReplayRefused("t", "why"), 4, "t stays as it is: why"),
        (
            BudgetSpent("j", "error_budget.count: 1", "10m", 2_000, 4, {"FUTURE": 3, "MALFORMED": 1}),
            4,
            "job j has spent its error budget, error_budget.count: 1 within 10m: 4 of 2,000 records read (0.2%) became"
            " dead letters: FUTURE 3, MALFORMED 1",
        ),
        (CheckpointDamaged("cp", "offsets/3", "is empty", "Do this"), 4, "checkpoint cp: offsets/3 is empty. Do this"),
        (
            LeaseHeld("j", "reg", "process 1"),
            4,
            "j is run by process 1, which renews its lease in reg; stop that one first",
        ),
        (
            LeaseLost("j", "reg", "process 2"),
            4,
            "j was taken over by process 2, as reg says; this instance writes nothing more",
        ),
        (LedgerMismatch("cp", "led", "why", "Do this"), 4, "checkpoint cp against ledger led: why. Do this"),
        (SourceLost([Loss("t", 3, "gone")], "Do this"), 4, "topic t, partition 3: gone. Do this"),
        (ReferenceStale("t", 61.2, 60, "gone"), 4, "reference t is 61 s old, 60 s are allowed: gone"),
    ],
)
def test_each_error_says_what_and_ends_with_its_code(error: JobError, code: int, said: str) -> None:
    assert (error.exit_code, str(error)) == (code, said)
