"""What the config of every job has, whether it runs for ever (`core.config.JobConfig`) or to an end of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from jobs.core import checks
from jobs.core.connections import Findings, Kafka, Postgres, Settings
from jobs.core.errors import ConfigError, Problem
from jobs.core.monitoring import Logs
from jobs.core.values import DataPath, Duration, Name, Properties

if TYPE_CHECKING:
    from typing_extensions import Self


class Place(Settings):
    """One folder."""

    path: DataPath


class RunConfig(Settings):
    """A process with a name, a log and a session; `conf/defaults.yaml` may set what stands here."""

    job: Name
    kafka: Kafka | None = None
    postgres: Postgres | None = None
    stop_within: Duration = Duration("2m")  # asked to end, a batch has so long; then it is cut short
    monitoring: Logs = Logs()
    spark: Properties = Field(default_factory=dict)

    def recovering(self, how: str | None) -> Self:
        """The same config for a start that recovers. Raises ConfigError where the job can't."""
        if how:
            raise ConfigError(Problem("--recover", how, "only for a job that has a checkpoint", "command line"))
        return self

    def findings(self) -> Findings:
        return checks.spark_settings(self.spark)
