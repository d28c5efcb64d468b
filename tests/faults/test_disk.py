"""A full disk under checkpoint, Delta table and PostgreSQL: the error names the place, and once there is room nothing is lost.

The disk is a small tmpfs, so these need root and a kernel that lets it mount one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from _faults.case import Case
from _faults.kinds import ROW
from _faults.servers import Servers
from _lib.processes import until
from pyspark.sql import SparkSession

from jobs import event_replay
from jobs.core import runner
from jobs.core.errors import NoSpace
from jobs.core.events import replay_options
from jobs.core.events.envelope import EVENT

SIZE_MB = 16
AT = datetime(2026, 1, 5, 10, tzinfo=timezone.utc)
REPLAY = runner.parser()
replay_options.add(REPLAY)


class Disk:
    """A file system that can be filled to its last block."""

    def __init__(self, path: Path) -> None:
        self.path, self._ballast = path, path / "ballast"

    def fill(self) -> None:
        with contextlib.suppress(OSError), self._ballast.open("wb", buffering=0) as out:
            while True:
                out.write(bytes(4096))

    def make_room(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk() -> Iterator[Disk]:
    place = Path(tempfile.mkdtemp(prefix="stream-patterns-disk-"))  # where PostgreSQL's own user may go, too
    place.chmod(0o755)
    options = ["-o", f"size={SIZE_MB}m,mode=777", "tmpfs", str(place)]
    mounted = subprocess.run(["mount", "-t", "tmpfs", *options], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield Disk(place)
    subprocess.run(["umount", "-l", str(place)], check=True)
    place.rmdir()


@pytest.mark.parametrize("what", ["checkpoint", "sink"])
def test_a_full_disk_under_a_folder_of_the_job(cases: Callable[..., Case], disk: Disk, what: str) -> None:
    case = cases("delta")
    case.send(10)
    case.drain()
    shutil.move(case.path / what, disk.path / what)
    (case.path / what).symlink_to(disk.path / what)
    case.send(10)
    disk.fill()
    with pytest.raises(NoSpace, match=f"no space left under .*{case.path / what}"):
        case.drain()
    disk.make_room()
    case.drain()
    case.check()


@pytest.mark.parametrize("what", ["work", "into", "snapshots"])
def test_a_full_disk_under_a_replay(spark: SparkSession, tmp_path: Path, disk: Disk, what: str) -> None:
    """The states are the old ones until they are the new ones."""
    folders = {name: tmp_path / name for name in ("log", "into", "work", "snapshots")} | {what: disk.path / what}
    places: dict[str, Any] = {name: {"path": str(folder)} for name, folder in folders.items()}
    places["snapshots"]["every"] = 1
    fold = {"state": "name STRING", "events": {"user_created": "set"}}
    config = event_replay.Config.model_validate({"job": "users", **places, "fold": fold})
    replay = partial(event_replay.start, spark, config, event_replay.request(config, REPLAY.parse_args([])))

    def log(number: int) -> None:
        event = (f"u{number}", 1, "a", "user_created", 1, f'{{"name": "{number}"}}', None, AT, AT, None, None, None)
        spark.createDataFrame([event], EVENT).write.format("delta").mode("append").save(str(folders["log"]))

    def names() -> list[str]:
        return sorted(row["name"] for row in spark.read.format("delta").load(str(folders["into"])).collect())

    log(1)
    assert (replay(), names()) == (0, ["1"])
    log(2)
    disk.fill()
    with pytest.raises(NoSpace, match=f"no space left under .*{folders[what]}"):
        replay()
    assert names() == (["1", "2"] if what == "snapshots" else ["1"])
    disk.make_room()
    assert (replay(), names()) == (0, ["1", "2"])


def test_a_full_disk_under_postgres(cases: Callable[..., Case], servers: Servers, disk: Disk) -> None:
    case, place = cases("postgres"), disk.path / "tables"
    place.mkdir()
    shutil.chown(place, *(("nobody", "nogroup") if os.geteuid() == 0 else (None, None)))
    servers.ask(f"CREATE TABLESPACE small LOCATION '{place}'")
    servers.ask(f"DROP TABLE {case.table}")
    servers.ask(f"CREATE TABLE {case.table} ({ROW}) TABLESPACE small")
    disk.fill()
    case.send(1500)
    running: Any = case.begin(spark={"spark.sql.shuffle.partitions": "1"})
    try:
        assert until(lambda: running._guard.state("sink") == "open", 60), "the breaker did not open"
        assert case.batches() == 0
        disk.make_room()
        assert until(case.caught_up, 60), "it did not go on"
    finally:
        running.stop()
    case.check()
    servers.ask(f"DROP TABLE {case.table}")
    servers.ask("DROP TABLESPACE small")
