from __future__ import annotations

import json
from dataclasses import asdict, replace

from rich.console import Console

from jobs.commands.report import as_json, as_table
from jobs.core.audit import Check, Report
from jobs.core.ledger import Counts

FINE = Check("sink: records written", 8, 8)
WRONG = Check("sink: records written more than once", 0, 2)
REPORT = Report((FINE,), Counts(10, 8, 0, 2, 0), {"WRONG_TYPE": 1, "FUTURE": 1}, ("v1", "v2"), 3, 0)


def printed(report: Report) -> list[list[str]]:
    """Words of each line, without the table's frame."""
    console = Console(width=100, no_color=True)
    with console.capture() as capture:
        console.print(as_table("orders", report))
    return [line.translate(str.maketrans("│┃", "  ")).split() for line in capture.get().splitlines()]


def test_the_table_shows_checks_counts_and_the_verdict() -> None:
    lines = printed(REPORT)
    assert [*FINE.name.split(), "8", "8", "✓"] in lines
    for told in (["batches", "3"], ["read", "10"], ["dead", "letters", "2"], ["lag", "0"]):
        assert told in lines
    assert ["reasons", "FUTURE", "1,", "WRONG_TYPE", "1"] in lines
    assert ["reference", "versions", "v1,", "v2"] in lines
    assert lines[-1] == ["audit:", "holds"]


def test_what_does_not_hold_is_marked() -> None:
    lines = printed(replace(REPORT, checks=(FINE, WRONG), reasons={}, versions=(), lag=None))
    assert [*WRONG.name.split(), "0", "2", "✗"] in lines
    assert ["reasons", "-"] in lines
    assert ["lag", "unknown"] in lines
    assert lines[-1] == ["audit:", "DOES", "NOT", "HOLD"]


def test_a_job_that_never_ran_is_not_praised() -> None:
    last = printed(replace(REPORT, batches=0))[-1]
    assert " ".join(last) == "audit: nothing to hold, no batch has run yet"


def test_json_holds_all_of_it() -> None:
    assert json.loads(as_json("orders", replace(REPORT, checks=(WRONG,)))) == {
        "job": "orders",
        "holds": False,
        "checks": [{"name": WRONG.name, "expected": 0, "found": 2, "holds": False}],
        "counts": {**dict.fromkeys(asdict(Counts()), 0), "read": 10, "written": 8, "dead_letters": 2},
        "reasons": {"WRONG_TYPE": 1, "FUTURE": 1},
        "versions": ["v1", "v2"],
        "batches": 3,
        "lag": 0,
    }
