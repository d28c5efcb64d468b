"""The rates that the local stack's service makes up."""

from __future__ import annotations

from _rates import rate


def test_a_made_up_rate_has_at_most_four_decimals_so_that_every_one_fits_its_type() -> None:
    found = [rate(f"K{number}") for number in range(1_000)]
    rates = [one["rate"] for one in found if one]
    assert len(set(rates)) > 900
    assert [one for one in rates if one != round(one, 4)] == []
    assert max(len(str(one)) for one in rates) == 6
