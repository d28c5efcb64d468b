"""The allow-lists, as data."""

from __future__ import annotations

import pytest

from jobs.core.allowed import KAFKA, POSTGRES, looks_secret, wrong_option


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "ssl.key.password",
        "PASSWD",
        "sasl.jaas.config",
        "apiToken",
        "client_secret",
        "private_key",
        "access.key",
        "spark.hadoop.fs.azure.account.key.x",
        "credentials",
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize("name", ["topic", "key", "customer_id", "bypass", "compass", "sasl.mechanism", "user"])
def test_names_of_other_things(name: str) -> None:
    assert not looks_secret(name)


def test_no_property_of_a_list_is_secret_or_names_a_class() -> None:
    names = [*KAFKA, *POSTGRES]
    assert not [name for name in names if looks_secret(name) or "class" in name.lower() or "factory" in name.lower()]


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("max.poll.records", "500", None),
        ("max.poll.records", "0", "a whole number of at least 1"),
        ("max.poll.records", "", "a whole number of at least 1"),
        ("client.id", "a b", None),
        ("client.id", "a\tb", "one line of text"),
        ("isolation.level", "read_committed", None),
        ("isolation.level", "serial", "one of: read_committed, read_uncommitted"),
        ("fetch.min.byte", "1", "not one of the properties that may be set (nearest: fetch.min.bytes)"),
    ],
)
def test_a_property_and_its_value(name: str, value: str, wrong: str | None) -> None:
    assert wrong_option(name, value, KAFKA) == wrong


def test_a_property_like_no_other_gets_the_list() -> None:
    wrong = wrong_option("zzz", "1", POSTGRES)
    assert wrong
    assert wrong.startswith("not one of the properties that may be set: ApplicationName, cancelSignalTimeout, ")
