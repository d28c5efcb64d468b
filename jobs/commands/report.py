"""An audit's report for people and for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table

if TYPE_CHECKING:  # it comes with Spark, which only an audit needs
    from jobs.core.audit import Report


def as_table(job: str, report: Report) -> RenderableType:
    """The checks, then what was counted, then the verdict."""
    return Group(_checks(job, report), _facts(report), f"audit: {_verdict(report)}")


def as_json(job: str, report: Report) -> str:
    checks = [{**asdict(check), "holds": check.holds} for check in report.checks]
    return json.dumps({"job": job, "holds": report.holds, **asdict(report), "checks": checks}, indent=2)


def _verdict(report: Report) -> str:
    if not report.holds:
        return "DOES NOT HOLD"
    return "holds" if report.batches else "nothing to hold, no batch has run yet"


def _checks(job: str, report: Report) -> Table:
    table = Table(title=f"Audit of {job}", title_justify="left")
    table.add_column("check", overflow="fold")
    table.add_column("expected", justify="right")
    table.add_column("found", justify="right")
    table.add_column("", justify="center")
    for check in report.checks:
        mark = "[green]✓[/]" if check.holds else "[red]✗[/]"
        table.add_row(check.name, str(check.expected), str(check.found), mark)
    return table


def _facts(report: Report) -> Table:
    table = Table(show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, text in _told(report).items():
        table.add_row(name, text)
    return table


def _told(report: Report) -> dict[str, str]:
    counts = {name.replace("_", " "): str(count) for name, count in asdict(report.counts).items()}
    return {
        "batches": str(report.batches),
        **counts,
        "reasons": _pairs(report.reasons),
        "reference versions": ", ".join(report.versions) or "-",
        "lag": "unknown" if report.lag is None else str(report.lag),
    }


def _pairs(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "-"
