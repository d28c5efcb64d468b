"""Kafka's and PostgreSQL's settings: a login where one is needed, allow-listed properties; retries and breakers that fit."""

from __future__ import annotations

from pathlib import Path

import pytest
from _configs import config, told

from jobs.core.connections import Breaker, Retry

SASL = "kafka.security={protocol: SASL_SSL, mechanism: PLAIN, username: u, password: '${P}'}"
P = {"P": "p-canary"}


def test_properties_of_the_allow_list_pass(tmp_path: Path) -> None:
    options = "{max.poll.records: 20000, session.timeout.ms: 45000, ssl.truststore.type: PEM, check.crcs: true}"
    found = config(tmp_path, f"kafka.options={options}", "postgres.options.sslmode=require")
    assert found.kafka
    assert found.kafka.options == {
        "max.poll.records": "20000",
        "session.timeout.ms": "45000",
        "ssl.truststore.type": "PEM",
        "check.crcs": "true",
    }
    assert found.postgres
    assert found.postgres.options == {"sslmode": "require"}


@pytest.mark.parametrize(
    ("name", "value", "shown", "hint"),
    [
        (
            "sasl.jaas.config",
            "com.sun.security.auth.module.JndiLoginModule required;",
            "********",
            "not one of the properties",
        ),
        (
            "sasl.jaas.config",
            "com.sun.security.auth.module.LdapLoginModule required;",
            "********",
            "not one of the properties",
        ),
        ("ssl.keystore.password", "x", "********", "not one of the properties"),
        ("interceptor.classes", "a.B", "a.B", "not one of the properties"),
        ("ssl.engine.factory.class", "a.B", "a.B", "not one of the properties"),
        ("group.id", "g", "g", "not one of the properties"),
        ("acks", "0", "0", "not one of the properties"),
        ("kafka.max.poll.records", "5", "5", "(nearest: max.poll.records)"),
        ("max.poll.record", "5", "5", "(nearest: max.poll.records)"),
        ("max.poll.records", "-5", "-5", "a whole number of at least 1"),
        ("max.poll.records", "0", "0", "a whole number of at least 1"),
        ("session.timeout.ms", "10 parsecs", "10 parsecs", "a whole number of at least 1"),
        ("ssl.endpoint.identification.algorithm", "none", "none", "one of: https"),
        ("client.id", '"a\\nb"', "a", "one line of text"),
    ],
)
def test_no_other_kafka_property_passes(tmp_path: Path, name: str, value: str, shown: str, hint: str) -> None:
    path, found, allowed = told(tmp_path, f"kafka.options.{name}={value}")
    assert path == f"kafka.options.{name}"
    assert shown in found
    assert hint in allowed


@pytest.mark.parametrize(
    "name",
    [
        "socketFactory",
        "socketFactoryArg",
        "sslfactory",
        "loggerFile",
        "jaasApplicationName",
        "authenticationPluginClassName",
        "kerberosServerName",
    ],
)
def test_no_other_jdbc_property_passes(tmp_path: Path, name: str) -> None:
    path, _, allowed = told(tmp_path, f"postgres.options.{name}=org.example.Evil")
    assert path == f"postgres.options.{name}"
    assert "not one of the properties that may be set" in allowed


@pytest.mark.parametrize(
    ("security", "path", "hint"),
    [
        ("{protocol: SASL_SSL, username: u, password: '${P}'}", "mechanism", "required with protocol SASL_SSL"),
        (
            "{protocol: SASL_PLAINTEXT, mechanism: PLAIN, password: '${P}'}",
            "username",
            "required with protocol SASL_PLAINTEXT",
        ),
        ("{protocol: SASL_SSL, mechanism: PLAIN, username: u}", "password", "required with protocol SASL_SSL"),
        ("{mechanism: PLAIN}", "mechanism", "only with protocol SASL_SSL or SASL_PLAINTEXT, not PLAINTEXT"),
        (
            "{protocol: SASL_SSL, mechanism: GSSAPI, username: u, password: '${P}'}",
            "mechanism",
            "'PLAIN', 'SCRAM-SHA-256'",
        ),
        ("{protocol: NONE}", "protocol", "'PLAINTEXT', 'SSL'"),
        ("{protocol: SSL, truststore: /nowhere/x.jks}", "truststore", "a file that can be read"),
        ("{protocol: SSL, keystore: /}", "keystore", "a file that can be read"),
        ("{truststore: /nowhere/x.jks}", "truststore", "only with protocol SSL or SASL_SSL"),
    ],
)
def test_a_login_is_complete_and_its_stores_are_there(tmp_path: Path, security: str, path: str, hint: str) -> None:
    found = told(tmp_path, f"kafka.security={security}", environ=P)
    assert found[0] == f"kafka.security.{path}"
    assert hint in found[2]


def test_a_login_that_is_complete(tmp_path: Path) -> None:
    from _configs import loaded

    (tmp_path / "trust.pem").write_text("x")
    found = loaded(tmp_path, SASL, f"kafka.security.truststore={tmp_path}/trust.pem", environ=P).config.kafka
    assert found
    assert found.security.password
    assert found.security.password.get_secret_value() == "p-canary"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"])
def test_on_this_machine_nothing_needs_to_be_encrypted(tmp_path: Path, host: str) -> None:
    assert config(tmp_path, f"postgres.url=jdbc:postgresql://{host}:5432/db")


@pytest.mark.parametrize("suffix", ["", "?sslmode=require", "?sslmode=prefer"])
def test_elsewhere_the_server_proves_who_it_is(tmp_path: Path, suffix: str) -> None:
    path, _, allowed = told(tmp_path, f"postgres.url=jdbc:postgresql://db.example/db{suffix}")
    assert (path, allowed) == ("postgres.url", "?sslmode=verify-full, as db.example is not this machine")
    assert config(tmp_path, "postgres.url=jdbc:postgresql://db.example/db?sslmode=verify-full")
    assert config(tmp_path, "postgres.url=jdbc:postgresql://db.example/db", "postgres.options.sslmode=verify-full")


def test_url_and_properties_agree_on_encryption(tmp_path: Path) -> None:
    both = ["postgres.url=jdbc:postgresql://db.example/db?sslmode=disable", "postgres.options.sslmode=verify-full"]
    assert told(tmp_path, *both)[0] == "postgres.url"
    assert told(tmp_path, "postgres.url=jdbc:postgresql://127.0.0.1.evil.example/db")[0] == "postgres.url"


def test_a_job_bears_an_absence_without_being_told_how(tmp_path: Path) -> None:
    found = config(tmp_path)
    assert found.retry == Retry(attempts=5, wait_initial="200ms", wait_max="5s", timeout="30s")
    assert found.breaker == Breaker(
        window=20, min_calls=5, failure_rate=0.5, slow_call="10s", slow_rate=0.8, open_for="30s", probes=2
    )


@pytest.mark.parametrize(
    ("override", "path", "value", "hint"),
    [
        ("retry.attempts=0", "retry.attempts", "0", "at least 1"),
        ("retry.attempts=1.5", "retry.attempts", "1.5", "a whole number"),
        ("retry.wait_initial=6s", "retry.wait_initial", "6s", "at most wait_max, which is 5s"),
        ("retry.wait_max=31s", "retry.wait_max", "31s", "at most timeout, which is 30s"),
        ("retry.timeout=10 parsecs", "retry.timeout", "10 parsecs", "a number with a unit"),
        ("retry.wait=1s", "retry.wait", "1s", "wait_max"),
        ("breaker.min_calls=21", "breaker.min_calls", "21", "at most window, which is 20"),
        ("breaker.window=0", "breaker.window", "0", "at least 1"),
        ("breaker.failure_rate=0", "breaker.failure_rate", "0", "more than 0"),
        ("breaker.failure_rate=1.1", "breaker.failure_rate", "1.1", "at most 1"),
        ("breaker.failure_rate=half", "breaker.failure_rate", "half", "a number"),
        ("breaker.slow_rate=.nan", "breaker.slow_rate", ".nan", "a number"),
        ("breaker={slow_rate: true}", "breaker.slow_rate", "true", "a number"),
        ("breaker.open_for=0s", "breaker.open_for", "0s", "a number with a unit"),
        ("breaker.probes=0", "breaker.probes", "0", "at least 1"),
    ],
)
def test_bounds_that_do_not_fit_are_refused(tmp_path: Path, override: str, path: str, value: str, hint: str) -> None:
    found = told(tmp_path, override)
    assert found[:2] == (path, value)
    assert hint in found[2]


def test_bounds_may_be_equal(tmp_path: Path) -> None:
    retry, breaker = "{wait_initial: 1s, wait_max: 1s, timeout: 1s}", "{window: 5, min_calls: 5, failure_rate: 1}"
    assert config(tmp_path, f"retry={retry}", f"breaker={breaker}").breaker.failure_rate == 1
