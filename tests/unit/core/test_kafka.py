from __future__ import annotations

from jobs.core.config import Kafka
from jobs.core.kafka import properties, spark_options


def secured(mechanism: str) -> Kafka:
    security = {"protocol": "SASL_SSL", "mechanism": mechanism, "username": 'a"b', "password": "p\\w;x"}
    return Kafka.model_validate(
        {"bootstrap_servers": "b:9093", "security": security, "options": {"max.poll.records": "9"}}
    )


def test_a_plain_broker_needs_nothing_but_its_address() -> None:
    assert properties(Kafka(bootstrap_servers="b:9092")) == {"bootstrap.servers": "b:9092"}


def test_the_login_line_is_rendered_and_quoted() -> None:
    assert properties(secured("SCRAM-SHA-512")) == {
        "bootstrap.servers": "b:9093",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.jaas.config": 'org.apache.kafka.common.security.scram.ScramLoginModule required username="a\\"b" '
        'password="p\\\\w;x";',
        "max.poll.records": "9",
    }


def test_plain_has_a_login_module_of_its_own() -> None:
    assert "security.plain.PlainLoginModule" in properties(secured("PLAIN"))["sasl.jaas.config"]


def test_spark_gets_them_under_its_prefix() -> None:
    assert spark_options(Kafka(bootstrap_servers="b:9092")) == {"kafka.bootstrap.servers": "b:9092"}
