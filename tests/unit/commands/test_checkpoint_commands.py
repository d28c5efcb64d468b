"""The commands on a checkpoint that Spark wrote, without a broker."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs import cli
from jobs.commands import checkpoint as commands
from jobs.commands.new import new

GOLDEN = Path(__file__).parents[1] / "core" / "golden" / "checkpoint"
QUERY = "84bb4b3b-0892-44b1-90d2-fec337950546"


class Place:
    """A new job's folder with a checkpoint in it, and its commands."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.checkpoint = folder / "cp"

    def run(self, *argv: str) -> tuple[int, str]:
        name, *rest = argv
        with pytest.raises(SystemExit) as ended:
            cli.main(["checkpoint", name, "counted.py", "--set", f"checkpoint={self.checkpoint}", *rest])
        printed = self._capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err


@pytest.fixture
def place(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Place:
    @contextmanager
    def running(*_: object) -> Iterator[SparkSession]:
        yield spark

    new("counted", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "spark_for", running)
    shutil.copytree(GOLDEN, tmp_path / "cp")
    return Place(tmp_path, capsys)


def asides(place: Place) -> list[Path]:
    return list(place.folder.glob("cp.2*Z"))


def test_inspect_tells_what_there_is_and_that_a_start_is_refused(place: Place) -> None:
    code, said = place.run("inspect")
    told = dict(line.split(maxsplit=1) for line in said.splitlines() if line.startswith(("planned", "ledger")))
    assert (code, told) == (4, {"planned": "0 to 2, 3 in all", "ledger": "empty"})
    assert f"query id    {QUERY}" in said and "batch 2 is planned but the ledger is empty" in said


def test_inspect_tells_programs_of_every_defect(place: Place) -> None:
    (place.checkpoint / "metadata").unlink()
    (place.checkpoint / "offsets/2").write_text("")
    code, said = place.run("inspect", "--json")
    found = json.loads(said)
    assert (code, found["accepted"], found["query_id"], found["offsets"]) == (4, False, None, None)
    assert [(defect["file"], defect["cause"]) for defect in found["defects"]] == [
        ("metadata", "is missing"),
        ("offsets/2", "is empty"),
    ]


def test_a_checkpoint_that_continues_its_ledger_is_accepted(place: Place) -> None:
    for number in (1, 2):
        (place.checkpoint / f"offsets/{number}").unlink()
        (place.checkpoint / f"commits/{number}").unlink()
    assert place.run("inspect")[0] == 0


def test_clone_copies_to_a_new_folder_only(place: Place) -> None:
    to = place.folder / "copy"
    assert place.run("clone", "--to", str(to), "--dry-run") == (0, f"dry run: copy: {place.checkpoint} -> {to}\n")
    assert not to.exists()
    assert place.run("clone", "--to", str(to))[0] == 0
    assert (to / "offsets/2").read_bytes() == (GOLDEN / "offsets/2").read_bytes()
    code, said = place.run("clone", "--to", str(to))
    assert code == 2 and "a folder that is not there yet" in said


def test_reset_moves_aside_and_says_what_that_means(place: Place) -> None:
    assert "dry run: move:" in place.run("reset", "--dry-run")[1] and asides(place) == []
    code, said = place.run("reset")
    assert code == 0 and "refused unless it says --recover" in said
    assert not place.checkpoint.exists() and len(asides(place)) == 1
    assert place.run("reset")[0] == 2


def test_rewind_is_for_kafka_alone(place: Place) -> None:
    code, said = place.run("rewind", "--to", "x", "--to-offsets", '{"t": {"0": 5}}')
    assert code == 2 and "a job with a kafka source" in said


@pytest.mark.parametrize("argv", [[], ["--to-timestamp", "noon"], ["--to-offsets", "5"]])
def test_rewind_needs_to_know_where_to(place: Place, argv: list[str]) -> None:
    assert place.run("rewind", "--to", "x", *argv)[0] == 2
