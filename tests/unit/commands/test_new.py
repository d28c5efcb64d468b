"""The job that `patterns new` writes is run for real: its tests, the job on its sample, its notebook."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from jobs.commands.lookup import Asked, find, load
from jobs.commands.new import new
from jobs.core.audit import audit
from jobs.core.errors import ConfigError

NAME = "sized_orders"
WRITTEN = [
    "sized_orders.py",
    "conf/sized_orders.yaml",
    "conf/schemas/sized_orders.ddl",
    "tests/test_sized_orders.py",
    "notebooks/sized_orders.ipynb",
    "data/sized_orders/in/sample.jsonl",
    "conftest.py",
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a new job, as the working folder and on the path; its data where a JVM from elsewhere finds it."""
    new(NAME, tmp_path)
    config = tmp_path / f"conf/{NAME}.yaml"
    config.write_text(config.read_text().replace("data/", f"{tmp_path}/data/"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop(NAME, None)


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    made = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_all_files_are_written_and_named(tmp_path: Path) -> None:
    assert new(NAME, tmp_path) == [tmp_path / place for place in WRITTEN]
    assert files(tmp_path) == set(WRITTEN)
    assert not [place for place in WRITTEN if "{{" in (tmp_path / place).read_text()]


def test_a_second_job_shares_the_folder(tmp_path: Path) -> None:
    new("first_one", tmp_path)
    before = (tmp_path / "conftest.py").stat()
    assert tmp_path / "conftest.py" not in new("second_one", tmp_path)
    assert (tmp_path / "conftest.py").stat() == before


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("queue", "a standard-library module"),
        ("class", "a lower-case Python name"),
        ("2fast", "a lower-case Python name"),
        ("my-job", "a lower-case Python name"),
        ("../up", "a lower-case Python name"),
        ("a" * 64, "a lower-case Python name"),
        ("", "a lower-case Python name"),
        ("stream_table_join", "a job that is shipped"),
        ("conftest", "the layout itself"),
        ("defaults", "the layout itself"),
        ("pyspark", "an installed package"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_and_nothing_written(tmp_path: Path, name: str, cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        new(name, tmp_path)
    assert files(tmp_path) == set()


@pytest.mark.parametrize("place", WRITTEN[:-1])
def test_what_is_there_is_never_overwritten(tmp_path: Path, place: str) -> None:
    there = tmp_path / place
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_text("mine")
    with pytest.raises(ConfigError, match=place):
        new(NAME, tmp_path)
    assert there.read_text() == "mine"
    assert files(tmp_path) == {place}


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--into = .*file: a folder to write into"):
        new(NAME, tmp_path / "file")


def test_its_own_tests_pass(project: Path, spark: SparkSession) -> None:
    tests = vars(module(project / f"tests/test_{NAME}.py"))
    own: dict[str, Callable[..., None]] = {name: test for name, test in tests.items() if name.startswith("test_")}
    for test in own.values():
        test(spark) if test.__code__.co_argcount else test()
    assert len(own) == 3


def test_it_runs_on_its_sample_and_the_audit_holds(
    project: Path, spark: SparkSession, rows: Callable[..., DataFrame]
) -> None:
    job = find(f"{NAME}.py")
    config = load(job, Asked()).config
    module(project / f"{NAME}.py").start(spark, config).wait()
    out = spark.read.format("delta").load(f"{project}/data/{NAME}/out").select("order_id", "amount", "size")
    expected = rows(
        "order_id STRING, amount DECIMAL(12,2), size STRING",
        ("o1", Decimal("250.00"), "large"),
        ("o2", Decimal("99.99"), "small"),
        ("o3", None, None),
    )
    assert_df_equality(out, expected, ignore_nullable=True, ignore_row_order=True)
    report = audit(spark, config)
    assert report.holds
    assert report.reasons == {"CONSTRAINT": 1, "WRONG_TYPE": 1}


def test_its_notebook_runs(project: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project / "notebooks")
    monkeypatch.setattr(sys, "path", [*sys.path])
    names: dict[str, Any] = {}
    for cell in json.loads((project / f"notebooks/{NAME}.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert Path.cwd() == project
    assert (names["spark"].table(NAME).count(), names["letters"].count()) == (3, 2)
