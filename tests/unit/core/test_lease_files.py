from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.core.holder import this
from jobs.core.lease_files import FileRegister

NOW = datetime(2026, 1, 5, tzinfo=timezone.utc)


@pytest.fixture
def two(spark: SparkSession, tmp_path: Path) -> tuple[FileRegister, FileRegister]:
    """The register of one job, as two instances see it."""
    return FileRegister(spark, str(tmp_path)), FileRegister(spark, str(tmp_path))


def test_a_lease_from_claim_to_give_back(two: tuple[FileRegister, FileRegister]) -> None:
    one, other = two
    mine = this(NOW)
    assert other.look() is None
    assert one.claim(None, mine, 1)
    seen = other.look()
    assert seen and (seen.holder, seen.epoch, seen.is_free) == (mine, 1, False)
    assert one.renew()
    one.give_back()
    seen = other.look()
    assert seen and seen.given_back


def test_a_renewal_changes_the_sign(two: tuple[FileRegister, FileRegister], tmp_path: Path) -> None:
    one, other = two
    assert one.claim(None, this(NOW), 1)
    (alive,) = tmp_path.glob("*.alive")
    signs = set()
    for _ in range(2):
        assert one.renew()
        seen = other.look()
        signs.add(seen.sign if seen else None)
        alive.touch()
        while f"{alive.stat().st_mtime_ns // 1_000_000}" in str(seen):
            alive.touch()  # until the file system's clock has moved on
    assert len(signs) == 2


def test_of_two_claims_one_fails_and_the_older_holder_learns_of_it(two: tuple[FileRegister, FileRegister]) -> None:
    one, other = two
    assert one.claim(None, this(NOW), 1) and not other.claim(None, this(NOW), 1)
    assert other.claim(other.look(), this(NOW), 2)
    assert not one.renew() and other.renew()
    one.give_back()
    seen = one.look()
    assert seen and (seen.epoch, seen.given_back) == (2, False)


def test_a_late_claim_of_a_term_that_was_long_over_fails(
    two: tuple[FileRegister, FileRegister], spark: SparkSession, tmp_path: Path
) -> None:
    one, late = two
    before = late.look()
    for epoch in range(1, 5):
        assert one.claim(one.look(), this(NOW), epoch)
    assert sorted(path.name for path in tmp_path.glob("*.json")) == [f"{term:020d}.json" for term in (2, 3)]
    assert not late.claim(before, this(NOW), 1)
    assert one.renew()


def test_a_holder_whose_process_has_ended_is_gone(two: tuple[FileRegister, FileRegister]) -> None:
    one, other = two
    assert one.claim(None, replace(this(NOW), began="earlier"), 1)
    seen = other.look()
    assert seen and seen.gone
