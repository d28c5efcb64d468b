"""What a config may say about watching a job: where it is served, when it counts as ready, how it logs, how bad its input
may be.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from jobs.core.connections import Findings, Settings
from jobs.core.problems import Finding
from jobs.core.values import Amount, Count, Duration, Host, Port, Share

IDLE_MS = 10_000  # after so long Spark tells, at a trigger, that a query without data is alive


class Ready(Settings):
    """When /readyz says no, beside a job that is ending, an open breaker and a stale reference table."""

    max_lag: Amount | None = None  # records behind the broker's ends, all partitions together
    for_: Duration = Field(default=Duration("1m"), alias="for")  # how long the lag may be greater, or not known
    no_progress: Duration = Duration("5m")  # how long a batch may take, and a query say nothing


class Logs(Settings):
    log_format: Literal["text", "json"] = "text"


class Monitoring(Logs):
    host: Host = "127.0.0.1"
    port: Port | None = None  # null: no server; 0: a free port, which the log names
    every: Duration = Duration("5s")  # how often the broker is asked where its topics end
    ready: Ready = Ready()


class ErrorBudget(Settings):
    """How many records may become dead letters: at most `count` of them, or `share` of the records read, or both."""

    count: Amount | None = None
    share: Share | None = None
    min_records: Count = 100  # by fewer records a share is not judged
    window: Duration = Duration("10m")  # counted is what the ledger was told in the last so many, since the job started
    then: Literal["stop", "alert"] = "stop"

    def findings(self) -> Findings:
        return [Finding((), "count, share, or both")] if self.count is None and self.share is None else []


def findings(monitoring: Monitoring, trigger_ms: int, has_kafka: bool) -> list[Finding]:
    """Limits that a job in good health could not keep, or that nothing would ever be held to."""
    if monitoring.port is None:
        return []
    found, least = [], trigger_ms + IDLE_MS
    if monitoring.ready.no_progress.ms <= least:
        why = "trigger.every, and the 10 s after which Spark tells of an idle query"
        found.append(Finding(("monitoring", "ready", "no_progress"), f"more than {least / 1_000:g}s: {why}"))
    if monitoring.ready.max_lag is not None and not has_kafka:
        found.append(Finding(("monitoring", "ready", "max_lag"), "only with a source in Kafka: others have no lag"))
    return found
