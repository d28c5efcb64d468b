"""Chaos itself, run by scripts/chaos inside the environment."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from _faults.case import Case
from _faults.chaos import Outcome, Run, Violated, await_batch, strike
from _faults.driver import LIMIT_S, SMALL
from _faults.load import Load
from _faults.servers import Servers
from _lib.processes import until
from rich.console import Console
from rich.table import Table

from jobs.core.session import session

SINKS = {"delta": ["delta"], "postgres": ["postgres"], "both": ["delta", "postgres"]}
screen = Console(width=120)


@dataclass(frozen=True)
class Lived:
    """What one job went through."""

    sink: str
    outcomes: list[Outcome]
    records: int
    batches: int
    dead_letters: int
    ended: list[int]  # exit codes with which it ended by itself, to be started again
    violation: str | None


def main() -> int:
    asked = _arguments()
    screen.print(f"seed {asked.seed}", highlight=False)
    folder = Path(tempfile.mkdtemp(prefix="stream-patterns-chaos-"))
    lived = list(_lives(asked, folder))
    violated = any(life.violation for life in lived)
    screen.print(_table(lived))
    for life in lived:
        screen.print(_sentence(life), highlight=False)
    if asked.report:
        asked.report.write_text(_report(asked, lived))
    if violated:
        screen.print(f"chaos: FAILED; the evidence is in {folder}", highlight=False)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    screen.print("chaos: OK")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Random faults under a constant load; the invariant is checked after each."
    )
    parser.add_argument("--minutes", type=float, required=True, help="how long, both sinks together")
    parser.add_argument("--seed", type=int, default=None, help="which faults in which order; a new one unless given")
    parser.add_argument("--sink", choices=SINKS, default="both")
    parser.add_argument("--rate", type=int, default=50, help="records a second, one in ten of them bad")
    parser.add_argument("--report", type=Path, metavar="FILE", help="writes the result as Markdown")
    asked = parser.parse_args()
    if asked.minutes <= 0 or asked.rate <= 0:
        parser.error("--minutes and --rate: more than 0")
    if asked.seed is None:
        asked.seed = random.SystemRandom().randrange(1 << 32)
    return asked


def _lives(asked: argparse.Namespace, folder: Path) -> Iterator[Lived]:
    """One sink after the other, so that recovery is not slowed down by another job."""
    sinks, servers = SINKS[asked.sink], Servers(folder / "stack")
    os.environ.update(servers.environment())
    spark = session("chaos", {**SMALL, "spark.master": "local[1]"})
    spark.sparkContext.setLogLevel("ERROR")
    try:
        for sink in sinks:
            pick = random.Random(f"{asked.seed} {sink}")
            lived = _live(Case(servers, spark, folder / sink, sink), pick, 60 * asked.minutes / len(sinks), asked.rate)
            yield lived
            if lived.violation:
                return
    finally:
        spark.stop()
        servers.stop()


def _live(case: Case, pick: random.Random, seconds: float, rate: int) -> Lived:
    """Faults until the time is up, then all that is left, and the whole is checked."""
    run, outcomes, violation = Run(case, pick, case.start()), list[Outcome](), None
    try:
        with Load(case, rate):
            await_batch(run, 0, "start")
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                outcomes.append(strike(run))
                _tell(outcomes[-1])
                if outcomes[-1].problems:
                    raise Violated("; ".join(outcomes[-1].problems))
        _drain(run)
    except Violated as violated:
        violation = str(violated)
    finally:
        run.driver.kill()
    known = case.ledger()
    dead = sum(record["counts"]["dead_letters"] for record in known)
    return Lived(case.sink, outcomes, case.covered(), case.batches(), dead, run.ended, violation)


def _drain(run: Run) -> None:
    def drained() -> bool:
        run.supervise()
        return run.case.caught_up()

    if not until(drained, LIMIT_S):
        raise Violated(f"not all that was sent is in the ledger\n{run.driver.said[-4000:]}")
    run.driver.terminate()
    if code := run.driver.wait():
        raise Violated(f"at the end it ended with {code}")
    if problems := run.case.problems():
        raise Violated("; ".join(problems))


def _tell(outcome: Outcome) -> None:
    verdict = "; ".join(outcome.problems) or "holds"
    screen.print(f"{outcome.fault}: next batch after {outcome.recovery_s:.1f} s, {verdict}", highlight=False)


HEAD = ["sink", "fault", "times", "next batch, median s", "worst s", "invariant"]


def _rows(lived: Sequence[Lived]) -> Iterator[list[str]]:
    for life in lived:
        for fault in sorted({outcome.fault for outcome in life.outcomes}):
            these = [outcome for outcome in life.outcomes if outcome.fault == fault]
            yield [life.sink, fault, *_figures(these)]
        yield [
            life.sink,
            "every kill -9 of the job",
            *_figures([o for o in life.outcomes if o.fault.startswith("kill -9")]),
        ]


def _figures(outcomes: Sequence[Outcome]) -> list[str]:
    if not outcomes:
        return ["0", "", "", ""]
    took = [outcome.recovery_s for outcome in outcomes]
    holds = all(not outcome.problems for outcome in outcomes)
    return [str(len(took)), f"{statistics.median(took):.1f}", f"{max(took):.1f}", "holds" if holds else "VIOLATED"]


def _table(lived: Sequence[Lived]) -> Table:
    table = Table(*HEAD, title="chaos")
    for row in _rows(lived):
        table.add_row(*row)
    return table


def _sentence(life: Lived) -> str:
    codes = f", started again after exit {', '.join(map(str, life.ended))}" if life.ended else ""
    read = f"{life.records:,} records in {life.batches:,} batches, {life.dead_letters:,} dead letters{codes}"
    return f"{life.sink}: {read}; " + (
        f"VIOLATED: {life.violation}" if life.violation else "at the end the whole holds"
    )


def _report(asked: argparse.Namespace, lived: Sequence[Lived]) -> str:
    """Markdown, without anything of this machine but its size."""
    rows = [HEAD, ["---"] * len(HEAD), *_rows(lived)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    how = f"{asked.minutes:g} minutes, {asked.rate} records a second, {os.cpu_count()} cores, seed {asked.seed}."
    told = "\n".join(f"- {_sentence(life).splitlines()[0]}" for life in lived)
    command = f"scripts/chaos --minutes {asked.minutes:g} --sink {asked.sink} --seed {asked.seed}"
    return f"# Chaos\n\n`{command}`: {how}\n\n{table}\n\n{told}\n"


if __name__ == "__main__":
    sys.exit(main())
