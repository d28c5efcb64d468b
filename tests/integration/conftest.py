"""How an integration test runs the main job: a config of its own, to the end of what is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from _faults import points
from _faults.driver import Driver
from _letters import Case
from pyspark.sql import SparkSession

from jobs import event_append, stream_enrichment, stream_table_join
from jobs.core import layers
from jobs.core.audit import Report, audit
from jobs.core.config import JobConfig
from jobs.core.migrations import migrate
from jobs.core.postgres import Database
from jobs.core.running import Running
from jobs.stream_table_join import Config

Settings = dict[str, Any]


class Job:
    """One configured job; every `run` is a start, all that is there, and an end."""

    def __init__(self, spark: SparkSession, module: Any, config: Any, path: Path) -> None:
        self.spark, self.module, self.config, self.path = spark, module, config, path

    def start(self) -> Running:
        return self.module.start(self.spark, self.config)  # type: ignore[no-any-return]

    def run(self) -> Report:
        assert self.start().wait(120), "the job did not end"
        return self.audit()

    def audit(self) -> Report:
        return audit(self.spark, self.config)


@pytest.fixture(scope="session")
def migrated(stack: Any, database: Any) -> Any:
    """The stack's database with our tables in it, and a table `t` that a job writes."""
    database.cursor().execute("CREATE TABLE t (id int PRIMARY KEY, _topic text, _partition int, _offset bigint)")
    postgres = {"url": stack.jdbc_url, "user": stack.user, "password": stack.password}
    whole = {"job": "j", "postgres": postgres, "source": {"rate": {}}, "checkpoint": "data/cp"}
    config = JobConfig.model_validate({**whole, "sink": {"postgres": {"table": "t"}}})
    assert config.postgres
    migrate(Database(config.postgres), config)
    return stack


@pytest.fixture
def configured(tmp_path: Path, stack: Any) -> Callable[..., Config]:
    """A Config from a nested dict, read by the ordinary loader."""

    def load(settings: Settings, model: Any = Config) -> Config:
        import yaml

        file = tmp_path / "job.yaml"
        whole = {
            "job": "join",
            "kafka": {"bootstrap_servers": stack.bootstrap_servers},
            "postgres": {"url": stack.jdbc_url, "user": stack.user, "password": "${POSTGRES_PASSWORD}"},
            "checkpoint": str(tmp_path / "checkpoint"),
            "trigger": {"available_now": True},
            **settings,
        }
        file.write_text(yaml.safe_dump(whole, sort_keys=False))
        return layers.load(model, file, None, (), stack.environment()).config

    return load


@pytest.fixture
def killed(stack: Any) -> Callable[[Job, str], None]:
    """Runs a job in a process of its own until it is killed, JVM and all, at a named point."""

    def kill(made: Job, point: str) -> None:
        folder = made.path / "faults"
        folder.mkdir(exist_ok=True)
        points.arm(folder, point, "kill")
        log, job = made.path / "job.log", made.module.__name__
        driver = Driver(made.path / "job.yaml", folder, log, stack.environment(), job=job)
        assert driver.wait() == -9, driver.said[-3000:]

    return kill


@pytest.fixture
def job(spark: SparkSession, configured: Callable[..., Config], tmp_path: Path) -> Callable[..., Job]:
    return lambda settings: Job(spark, stream_table_join, configured(settings), tmp_path)


@pytest.fixture
def append(spark: SparkSession, configured: Callable[..., Any], tmp_path: Path) -> Callable[..., Job]:
    """The job that appends events, to a log under the test's folder."""

    def made(settings: Settings) -> Job:
        whole = {
            "job": "append",
            "sink": {"delta": {"path": str(tmp_path / "log")}},
            "events": {"buckets": 2},
            **settings,
        }
        return Job(spark, event_append, configured(whole, event_append.Config), tmp_path)

    return made


@pytest.fixture
def enrichment(spark: SparkSession, configured: Callable[..., Any], tmp_path: Path) -> Callable[..., Job]:
    """The job that enriches its events."""
    return lambda settings: Job(spark, stream_enrichment, configured(settings, stream_enrichment.Config), tmp_path)


@pytest.fixture
def case(job: Callable[..., Job], broker: Any, table: Callable[..., str], tmp_path: Path) -> Case:
    return Case(job, broker, table, tmp_path)
