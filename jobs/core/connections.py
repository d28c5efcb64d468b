"""What a job connects to, Kafka and PostgreSQL, how it bears their absence, and what every group of settings is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from jobs.core import allowed, checks
from jobs.core.problems import Finding, refuse
from jobs.core.values import Count, Duration, JdbcUrl, Line, Properties, Secret, Servers, Share

if TYPE_CHECKING:
    from typing_extensions import Self

Findings = Iterable[Finding]


class Settings(BaseModel):
    """A frozen group of settings in which an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, hide_input_in_errors=True)

    def findings(self) -> Findings:
        """What does not fit together, once each value by itself is right."""
        return ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        refuse(self.findings())
        return self


class KafkaSecurity(Settings):
    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: Line | None = None
    password: Secret | None = None
    truststore: Line | None = None
    truststore_password: Secret | None = None
    keystore: Line | None = None
    keystore_password: Secret | None = None

    def findings(self) -> Findings:
        return checks.security(self)


class Kafka(Settings):
    """The broker, shared by source, sinks and dead letters."""

    bootstrap_servers: Servers
    security: KafkaSecurity = KafkaSecurity()
    options: Properties = Field(default_factory=dict)  # allow-listed client properties, without `kafka.`
    timeout: Duration = Duration("10s")  # how long a broker may take to answer at the start

    def findings(self) -> Findings:
        return checks.options(self.options, allowed.KAFKA)


class Timeouts(Settings):
    """How long PostgreSQL lets a session of ours go on, for sinks and ledgers."""

    statement: Duration = Duration("10m")  # the upsert of a large batch is one statement
    lock: Duration = Duration("30s")
    idle_in_transaction: Duration = Duration("10m")  # a task that copies waits for the records that it decodes


class Postgres(Settings):
    """The database, shared by reference tables and sinks."""

    url: JdbcUrl
    user: Line
    password: Secret | None = None
    options: Properties = Field(default_factory=dict)  # allow-listed JDBC properties
    timeouts: Timeouts = Timeouts()

    def findings(self) -> Findings:
        return [*checks.options(self.options, allowed.POSTGRES), *checks.encrypted(self)]


class Retry(Settings):
    """How often, and for how long, a step is tried again after a failure that may pass."""

    attempts: Count = 5  # the first one counts
    wait_initial: Duration = Duration("200ms")  # the shortest wait; each may be up to twice as long as the one before
    wait_max: Duration = Duration("5s")  # the longest
    timeout: Duration = Duration("30s")  # from the first attempt on, none begins later

    def findings(self) -> Findings:
        return checks.waits(self)


class LeaseLimits(Settings):
    """How one instance of a job shows that it lives, and how long another one believes so."""

    renew: Duration = Duration("5s")
    ttl: Duration = Duration("30s")  # not renewed for so long, it may be taken over

    def findings(self) -> Findings:
        return checks.renewals(self)


class Breaker(Settings):
    """When a dependency is no longer called, and when it is tried again."""

    window: Count = 20  # the last calls, by which it is judged
    min_calls: Count = 5  # fewer judge nothing
    failure_rate: Share = 0.5
    slow_call: Duration = Duration("10s")  # a call that takes longer is slow, whether it succeeds or not
    slow_rate: Share = 0.8
    open_for: Duration = Duration("30s")
    probes: Count = 2  # calls in a row that have to succeed before it is closed again, and as many at a time at most

    def findings(self) -> Findings:
        return checks.judged(self)
