"""What the README shows is run, and what it lists is compared with what there is."""

from __future__ import annotations

import inspect
import os
import re
import shlex
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import typer.main

import jobs.stream_table_join as join_job
from jobs import cli, stream_enrichment
from jobs.commands import lookup
from jobs.core import errors, health
from jobs.core.layers import CONF, load
from jobs.core.metrics import Metrics
from jobs.core.reasons import Reason
from jobs.core.reference import Status
from jobs.core.watched import LookupStatus, Watched
from jobs.stream_table_join import Config

ROOT = CONF.parent
TEXT = (ROOT / "README.md").read_text("utf-8")
ENVIRONMENT = {"POSTGRES_PASSWORD": "x"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def table(heading: str) -> list[list[str]]:
    """The rows of the table whose first column is called so, without its head."""
    (body,) = re.findall(rf"^\| {heading} \|.*\n\| -.*\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in body.splitlines()]


def first_line(block: str) -> str:
    return block.splitlines()[0]


def test_the_transform_is_the_jobs_own() -> None:
    assert blocks("python")[0] == inspect.getsource(join_job.enrich)


@pytest.mark.parametrize("block", blocks("python")[1:], ids=first_line)
def test_a_python_block_passes_as_a_test(block: str, request: pytest.FixtureRequest) -> None:
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test(**{name: request.getfixturevalue(name) for name in inspect.signature(test).parameters})


@pytest.mark.parametrize("block", blocks("yaml"), ids=first_line)
def test_a_yaml_block_is_a_whole_config(block: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(block)
    model = stream_enrichment.Config if "\nenrich:" in block else Config
    config = load(model, file, "local", (), ENVIRONMENT, CONF).config
    assert f"job: {config.job}" == first_line(block)


def test_the_first_config_is_twenty_lines_at_most() -> None:
    assert len(blocks("yaml")[0].splitlines()) <= 20


@pytest.mark.parametrize("block", blocks("console"), ids=first_line)
def test_a_command_prints_what_is_shown(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POSTGRES_PASSWORD", "x")
    command, _, shown = block.removeprefix("$ patterns ").partition("\n")
    with pytest.raises(SystemExit):
        cli.main(shlex.split(command))
    printed = capsys.readouterr()
    assert printed.out + printed.err == shown


def test_every_job_has_its_row() -> None:
    shown = {Path(link) for row in table("pattern") for link in re.findall(r"\(([^)]*)\)", row[1])}
    assert shown == {job.path.relative_to(ROOT) for job in lookup.shipped()}


def test_every_link_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_script_and_file_that_is_named_is_there() -> None:
    named = set(re.findall(r"(?<![\w/])(?:scripts|jobs|conf|tests|notebooks)/[\w./]*\w", TEXT))
    own = {
        "conf/JOB.yaml",
        "conf/env/NAME.yaml",
        *(name for row in table("file") for name in re.findall(r"`(.*)`", row[0])),
    }
    assert [name for name in sorted(named - own) if not (ROOT / name).exists()] == []


def test_every_command_is_listed() -> None:
    shown = set(re.findall(r"`patterns ([a-z-]+)", " ".join(row[0] for row in table("command"))))
    assert shown == set(typer.main.get_command(cli.app).commands)  # type: ignore[attr-defined]


def test_every_reason_is_listed_in_the_order_in_which_they_are_tried() -> None:
    assert [row[0] for row in table("reason")] == [f"`{reason.value}`" for reason in Reason]


def test_every_exit_code_is_listed() -> None:
    known = {0} | {
        error.exit_code for error in vars(errors).values() if inspect.isclass(error) and hasattr(error, "exit_code")
    }
    assert [int(row[0]) for row in table("exit code")] == sorted(known)


def test_every_metric_is_listed_with_its_labels() -> None:
    metrics = Metrics("join", lambda: datetime(2026, 1, 1, tzinfo=timezone.utc))
    tables, lookups = {"t": lambda: Status("v1", 0, None, 0)}, {"l": lambda: LookupStatus("closed", {}, 0, 0, 0)}
    metrics.watch(Watched(tables, lookups))
    metrics.lag.reached('[{"orders": {"0": 1}}]')
    metrics.lag.ends({"orders": {0: (0, 1)}})
    metrics.took("write", 1)
    metrics.retried("kafka")
    metrics.budget(True)
    metrics.breaker("kafka", "open")
    samples = [sample for metric in metrics.registry.collect() for sample in metric.samples]
    found = {
        (re.sub("_(bucket|sum|count)$", "", sample.name), *sorted(sample.labels.keys() - {"job", "le"}))
        for sample in samples
        if sample.name.startswith("patterns_")
    }
    rows = [[*re.findall("`(.*?)`", row[0]), *sorted(re.findall("`(.*?)`", row[1]))] for row in table("metric")]
    assert {tuple(row) for row in rows if row[0] != "process_*"} == found


def test_every_path_and_cause_is_listed() -> None:
    paths = {row[0]: row[1] for row in table("path")}
    source = inspect.getsource(health)
    assert set(paths) == {f"`{path}`" for path in ("/metrics", "/healthz", "/readyz")}
    assert set(re.findall("`([a-z_]+)`", paths["`/readyz`"])) == set(re.findall(r'Cause\("(\w+)"', source))


def test_what_new_writes_is_listed() -> None:
    (written,) = (block for block in blocks("console") if "patterns new" in block)
    assert [row[0].strip("`") for row in table("file")] == re.findall(r"^wrote mine/(.*)$", written, re.MULTILINE)


def test_versions_are_the_locked_ones() -> None:
    locked = {
        line.split()[1]
        for line in (ROOT / "scripts/locks/jars.txt").read_text().splitlines()
        if line.startswith("spark ")
    }
    (packages,) = re.findall(r"--packages (\S+)", TEXT)
    assert set(packages.split(",")) <= locked


def test_no_place_of_this_machine_is_named() -> None:
    places = {str(ROOT), str(Path.home()), os.environ.get("TMPDIR", "/tmp") + "/"} - {"/"}
    assert [place for place in places if place in TEXT] == []
