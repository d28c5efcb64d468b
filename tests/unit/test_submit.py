"""What travels, and the line that submits it; that it works is shown on a real cluster in integration/test_cluster.py."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import _submit
import pytest
from _lib import travel
from _lib.places import ROOT, SetupFailed

from jobs.commands import lookup
from jobs.core.errors import ConfigError

JOB = lookup.find("stream_table_join")
PARCELS = _submit.Parcels(Path("/b/jobs-1.zip"), Path("/b/conf-1.zip"), Path("/b/deps-1.tar.gz"))
CANARY = "hunter2-canary"
MASTER = ["--master", "spark://host:7077"]
REMOTE = {"spark.master": "spark://host:7077", "spark.executor.memory": "8g"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"SPARK_HOME": "/spark", "PATTERNS_JARS": "/j/a.jar,/j/b.jar", "POSTGRES_PASSWORD": CANARY}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PATTERNS_CONF_DIR", raising=False)
    monkeypatch.chdir(ROOT)


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(travel, "BUILD", tmp_path / "build")
    return tmp_path / "build"


def confs(settings: Mapping[str, str]) -> list[str]:
    return [part for key, value in settings.items() for part in ("--conf", f"{key}={value}")]


def test_the_line_for_a_cluster() -> None:
    assert _submit.command(JOB, REMOTE, PARCELS, None, ["--env", "cluster"]) == [
        "/spark/bin/spark-submit",
        *("--conf", "spark.master=spark://host:7077"),
        *("--conf", "spark.executor.memory=8g"),
        *("--conf", f"spark.pyspark.python=python{sys.version_info[0]}.{sys.version_info[1]}"),
        *("--conf", "spark.executorEnv.PYTHONPATH=deps"),
        *("--conf", f"spark.pyspark.driver.python={sys.executable}"),
        *("--jars", "/j/a.jar,/j/b.jar"),
        *("--py-files", "/b/jobs-1.zip"),
        *("--archives", "/b/deps-1.tar.gz#deps,/b/conf-1.zip#conf"),
        str(ROOT / "jobs" / "stream_table_join.py"),
        *("--env", "cluster"),
    ]


def test_on_this_machine_nothing_travels() -> None:
    python = {"spark.pyspark.python": sys.executable, "spark.pyspark.driver.python": sys.executable}
    assert _submit.command(JOB, {"spark.master": "local[2]"}, None, None, []) == [
        "/spark/bin/spark-submit",
        *confs({"spark.master": "local[2]", **python}),
        *("--jars", "/j/a.jar,/j/b.jar"),
        str(ROOT / "jobs" / "stream_table_join.py"),
    ]


def test_a_driver_elsewhere_has_the_workers_python_and_dependencies() -> None:
    found = _submit.pythons({"spark.master": "yarn", "spark.submit.deployMode": "cluster"}, "/opt/python")
    assert found == {
        "spark.pyspark.python": "/opt/python",
        "spark.executorEnv.PYTHONPATH": "deps",
        "spark.yarn.appMasterEnv.PYTHONPATH": "deps",
        "spark.kubernetes.driverEnv.PYTHONPATH": "deps",
    }


def test_the_jobs_settings_are_those_of_its_config_under_the_master_that_was_asked_for() -> None:
    asked = _submit.arguments(["stream_table_join", "--env", "cluster", *MASTER, "--set", "spark.spark.ui.port=0"])
    found = _submit.check(JOB, asked)
    assert [found[key] for key in ("spark.master", "spark.executor.memory", "spark.ui.port")] == [
        "spark://host:7077",
        "8g",
        "0",
    ]
    sets = ["--set", "spark.spark.ui.port=0", "--set", "spark.spark.master=spark://host:7077"]
    assert _submit.options(asked) == ["--env", "cluster", *sets]


def test_a_recovery_is_passed_on_and_checked() -> None:
    asked = _submit.arguments(["stream_table_join", "--env", "local", "--recover", "reprocess"])
    assert _submit.options(asked) == ["--env", "local", "--recover", "reprocess"]
    asked.set = ["join.on_miss=wait", "join.wait_for=1h", "join.parked=data/parked"]
    with pytest.raises(ConfigError, match="records that waited"):
        _submit.check(JOB, asked)


def test_what_the_job_alone_takes_is_passed_on_last() -> None:
    asked = _submit.arguments(["event_replay", "--set", "a=b", "--", "--dry-run", "--stream", "u1"])
    assert _submit.options(asked) == ["--set", "a=b", "--dry-run", "--stream", "u1"]


def test_the_master_wins_over_the_one_of_an_environment() -> None:
    asked = _submit.arguments(["stream_table_join", "--env", "local", *MASTER])
    assert _submit.check(JOB, asked)["spark.master"] == "spark://host:7077"


def test_no_secret_is_on_the_line() -> None:
    asked = _submit.arguments(["stream_table_join", "--env", "cluster", *MASTER])
    line = _submit.command(JOB, _submit.check(JOB, asked), PARCELS, None, _submit.options(asked))
    assert CANARY not in " ".join(line)


def own_config(folder: Path, password: str) -> Path:
    """The shipped config with another password, in a folder of configs of its own."""
    (folder / "conf").mkdir(parents=True)
    for name in ("defaults.yaml", "schemas/order.ddl"):
        (folder / "conf" / name).parent.mkdir(exist_ok=True)
        (folder / "conf" / name).write_text((ROOT / "conf" / name).read_text())
    text = (ROOT / "conf" / "stream_table_join.yaml").read_text()
    assert "password: ${POSTGRES_PASSWORD}" in text
    (folder / "conf" / "own.yaml").write_text(text.replace("${POSTGRES_PASSWORD}", password))
    return folder / "conf" / "own.yaml"


ELSEWHERE = ["--master", "yarn", "--deploy-mode", "cluster"]


def test_a_secret_that_is_mounted_elsewhere_need_not_be_here(tmp_path: Path) -> None:
    config = str(own_config(tmp_path, "{file: /run/secrets/not-here}"))
    with pytest.raises(ConfigError, match="a mounted file"):
        _submit.check(JOB, _submit.arguments(["stream_table_join", "--config", config, *MASTER]))
    found = _submit.check(JOB, _submit.arguments(["stream_table_join", "--config", config, *ELSEWHERE]))
    assert found == {"spark.master": "yarn", "spark.submit.deployMode": "cluster"}


def test_a_secret_written_out_is_refused_wherever_the_driver_runs(tmp_path: Path) -> None:
    config = str(own_config(tmp_path, "written-out"))
    with pytest.raises(ConfigError, match=r"postgres\.password"):
        _submit.check(JOB, _submit.arguments(["stream_table_join", "--config", config, *ELSEWHERE]))


def test_a_driver_elsewhere_finds_its_config_among_those_that_travel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = own_config(tmp_path, "{file: /run/secrets/not-here}")
    monkeypatch.chdir(tmp_path)
    asked = _submit.arguments(["stream_table_join", "--config", str(config), *ELSEWHERE])
    assert _submit.options(asked)[:2] == ["--config", "conf/own.yaml"]
    asked.config = tmp_path / "own.yaml"
    with pytest.raises(ConfigError, match="what travels in cluster mode"):
        _submit.options(asked)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["stream_table_join", *MASTER, "--set", "trigger.evry=5s"], "trigger.every"),
        (["stream_table_join", *MASTER, "--set", "trigger"], "--set key=value"),
        (["stream_table_join", *MASTER, "--set", "postgres.password=x"], "postgres.password"),
        (["stream_table_join", *MASTER, "--env", "moon"], "cluster, local"),
        (["stream_tabel_join", *MASTER], "nearest: stream_table_join"),
        (["stream_table_join"], "--master"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_built(
    arguments: list[str],
    told: str,
    build: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["submit", *arguments])
    assert _submit.main() == 2
    assert told in capsys.readouterr().err
    assert not build.exists()


def test_the_script_itself_hands_over() -> None:
    command = [
        sys.executable,
        str(ROOT / "scripts" / "submit"),
        "stream_table_join",
        *MASTER,
        "--set",
        "trigger.evry=5s",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "trigger.every" in done.stderr


def test_it_becomes_spark_submit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals and exit code are those of the job: no process stands between."""
    called: list[tuple[str, list[str], Mapping[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda *call: called.append(call))
    monkeypatch.setattr(sys, "argv", ["submit", "stream_table_join", "--env", "local"])
    _submit.main()
    [(program, line, environ)] = called
    assert program == line[0] == "/spark/bin/spark-submit"
    assert environ["PATTERNS_CONF_DIR"] == str(ROOT / "conf")
    assert environ["POSTGRES_PASSWORD"] == CANARY


def test_the_folder_of_configs_travels_whole_but_for_hidden_files(build: Path, tmp_path: Path) -> None:
    folder = tmp_path / "conf"
    (folder / "schemas").mkdir(parents=True)
    for name in ("job.yaml", "schemas/a.ddl", ".secrets"):
        (folder / name).write_text(name)
    archive = travel.configs(folder)
    assert archive.parent == build
    assert zipfile.ZipFile(archive).namelist() == ["job.yaml", "schemas/a.ddl"]


def test_the_package_travels_without_bytecode(build: Path) -> None:
    names = zipfile.ZipFile(travel.package()).namelist()
    assert {"jobs/stream_table_join.py", "jobs/core/decode.py", "jobs/templates/job.py.txt"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]


def test_an_archive_is_named_by_what_is_in_it(build: Path) -> None:
    first = travel.zipped("x", {"a": b"1", "b": b""})
    written = first.read_bytes()
    first.unlink()
    assert travel.zipped("x", {"a": b"1", "b": b""}) == first
    assert first.read_bytes() == written
    others = [travel.zipped("x", contents) for contents in ({"a": b"1"}, {"a": b"2", "b": b""}, {"a": b"", "b": b"1"})]
    assert len({first, *others}) == 4
    assert sorted(build.iterdir()) == sorted([first, *others])


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, build: Path) -> list[Path]:
    """Packages as pip leaves them; says how often they were installed."""
    calls: list[Path] = []

    def install(target: Path, lock: int) -> None:
        calls.append(target)
        for name in ("bin/tool", "msgspec/core.so", "msgspec/tests/test.py", "p/__pycache__/x.pyc", "p/bin/kept"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_text(name)

    monkeypatch.setattr(travel, "_install", install)
    return calls


def test_dependencies_are_packed_once_without_what_holds_only_here(installed: list[Path], build: Path) -> None:
    archive = travel.dependencies()
    assert travel.dependencies() == archive
    assert len(installed) == 1
    with tarfile.open(archive) as packed:
        files = {entry.name: (entry.uid, entry.uname) for entry in packed if entry.isfile()}
    assert files == {"msgspec/core.so": (0, ""), "p/bin/kept": (0, "")}
    assert list(build.iterdir()) == [archive]


def test_another_lock_is_another_archive(
    installed: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = travel.dependencies()
    monkeypatch.setattr(travel, "LOCK", tmp_path / "runtime.txt")
    travel.LOCK.write_text("another")
    assert travel.dependencies() != first
    assert len(installed) == 2


def test_what_a_killed_copy_left_is_cleared(installed: list[Path], build: Path) -> None:
    (build / ".part-killed" / "deps").mkdir(parents=True)
    assert list(build.iterdir()) != [travel.dependencies()]
    assert not list(build.glob(".part-*"))


def test_pip_that_fails_is_one_sentence_and_leaves_nothing(
    build: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(travel, "LOCK", tmp_path / "runtime.txt")
    travel.LOCK.write_text("msgspec==0.22.0\n")  # no hash
    with pytest.raises(SetupFailed, match="the Python dependencies could not be packed: .*hash") as failure:
        travel.dependencies()
    assert "\n" not in str(failure.value)
    assert [path.name for path in build.iterdir()] == ["deps.log"]


def test_the_lock_leaves_spark_to_the_cluster() -> None:
    names = {line.partition("==")[0] for line in io.StringIO(travel.LOCK.read_text()) if "==" in line}
    assert {"msgspec", "pyarrow", "pandas", "numpy", "pydantic", "delta-spark"} <= names
    assert not {"pyspark", "py4j"} & names
