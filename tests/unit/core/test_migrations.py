from __future__ import annotations

from jobs.core.migrations import steps


def test_steps_come_in_order_each_with_its_sha256() -> None:
    assert [step.name for step in steps()] == [
        "0001_ledger.sql",
        "0002_roles.sql",
        "0003_lease.sql",
        "0004_subject_keys.sql",
    ]
    assert [len(step.sha256) for step in steps()] == [64] * 4
    assert steps()[0].text.startswith("-- The ledger")
