"""A job as a process of its own, started by spark-submit, with points at which it can be hit."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from _lib.classes import QUICK
from _lib.processes import Process, is_stopped, start_time, until

from _faults import points
from _faults.points import Act
from jobs.core.session import shared_classes

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 240
SMALL = {
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.sql.shuffle.partitions": "1",
    "spark.default.parallelism": "1",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.sql.streaming.noDataMicroBatches.enabled": "false",
}


class JobEnded(AssertionError):
    """The job has ended, or does not do what is waited for; the sentence holds the end of its log."""


class Driver:
    """One start of the job, and what can be done to it."""

    def __init__(
        self,
        config: Path,
        folder: Path,
        log: Path,
        environment: Mapping[str, str],
        *more: str,
        job: str = "jobs.stream_table_join",
    ) -> None:
        """`folder` has the faults that are armed."""
        self.folder, self.log = folder, log
        settings = {**SMALL, **shared_classes(QUICK)}
        confs = [part for key, value in settings.items() for part in ("--conf", f"{key}={value}")]
        program = str(Path(os.environ["SPARK_HOME"]) / "bin" / "spark-submit")
        command = [str(Path(__file__).with_name("armed_job.py")), job, "--config", str(config), *more]
        paths = os.pathsep.join((str(ROOT), str(ROOT / "scripts")))
        own = {"PYTHONPATH": paths, "SPARK_CONF_DIR": str(ROOT), points.FOLDER: str(folder)}
        self._written = log.stat().st_size if log.exists() else 0
        with log.open("ab") as out:
            self._started = subprocess.Popen(
                [program, "--master", "local[1]", *confs, "--jars", os.environ["PATTERNS_JARS"], *command],
                env={**os.environ, **environment, **own},
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.process = Process(self._started.pid, start_time(self._started.pid) or "")

    @property
    def said(self) -> str:
        """What it wrote since this start."""
        return self.log.read_bytes()[self._written :].decode(errors="replace")

    @property
    def code(self) -> int | None:
        return self._started.poll()

    def arm(self, point: str, act: Act) -> None:
        points.arm(self.folder, point, act)

    def until(self, seen: Callable[[], bool], what: str, limit_s: float = LIMIT_S) -> None:
        """Raises JobEnded."""
        until(lambda: self.code is not None or seen(), limit_s)
        if not seen():
            how = f"ended with {self.code}" if self.code is not None else f"did not within {limit_s:.0f} s"
            raise JobEnded(f"the job {how}, still not: {what}\n{self.said[-4000:]}")

    def stands_at(self, point: str) -> None:
        """Waits until it was stopped there, and with it who stops the others, and stops last: a SIGCONT before that is lost."""

        def stands() -> bool:
            last = points.hit_by(self.folder, point)
            return last is not None and is_stopped(last) and is_stopped(self.process.pid)

        self.until(stands, f"stopped at {point}")

    def is_held_at(self, point: str) -> None:
        """Waits until a thread of it is held there."""
        self.until(lambda: points.was_hit(self.folder, point), f"held at {point}")

    def go_on(self) -> None:
        self.process.signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9, whatever it does or stands at."""
        self.process.signal(signal.SIGKILL)
        self._started.wait(30)

    def terminate(self) -> None:
        """SIGTERM to the JVM, which is whom spark-submit's pid names."""
        self._started.terminate()

    def wait(self, limit_s: float = LIMIT_S) -> int:
        try:
            return self._started.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise JobEnded(f"the job did not end within {limit_s:.0f} s\n{self.said[-4000:]}") from None
