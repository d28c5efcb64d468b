"""Which SQLSTATEs, Kafka codes and Java classes pass, which are for good, and which are the rows' fault."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from jobs.core.kinds import Kind, of_java, of_kafka, of_sqlstate

TRANSIENT, PERMANENT, DATA = Kind.TRANSIENT, Kind.PERMANENT, Kind.DATA


@pytest.mark.parametrize(
    ("states", "kind"),
    [
        ("08000 08001 08003 08006 08P01", TRANSIENT),
        ("40000 40001 40003 40P01 55006 55P03", TRANSIENT),
        ("53000 53100 53200 53300 57000 57014 57P01 57P02 57P03 57P05", TRANSIENT),
        ("25006 25P03 25P04", TRANSIENT),
        ("22000 22001 22003 22021 22P02 22P04 23502 23503 23505 23514 23P01 40002 44000 54000 P0001", DATA),
        ("08004 25P02 28000 28P01 3D000 0A000 42501 42601 42703 42P01 53400 54001 54011 57P04 P0002 XX000", PERMANENT),
        ("99999 5 zz", PERMANENT),
    ],
)
def test_each_sqlstate_has_its_kind(states: str, kind: Kind) -> None:
    assert {state: of_sqlstate(state) for state in states.split()} == dict.fromkeys(states.split(), kind)


def test_no_sqlstate_is_permanent() -> None:
    assert of_sqlstate("") is PERMANENT


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ("_ALL_BROKERS_DOWN _TRANSPORT _MSG_TIMED_OUT _QUEUE_FULL NOT_ENOUGH_REPLICAS LEADER_NOT_AVAILABLE", TRANSIENT),
        ("MSG_SIZE_TOO_LARGE INVALID_RECORD _VALUE_SERIALIZATION", DATA),
        ("UNKNOWN_TOPIC_OR_PART _UNKNOWN_TOPIC TOPIC_AUTHORIZATION_FAILED _AUTHENTICATION _INVALID_ARG", PERMANENT),
        ("SASL_AUTHENTICATION_FAILED INVALID_PRODUCER_EPOCH PRODUCER_FENCED", PERMANENT),
    ],
)
def test_each_kafka_code_has_its_kind(names: str, kind: Kind) -> None:
    found = {name: of_kafka(KafkaError(getattr(KafkaError, name))) for name in names.split()}
    assert found == dict.fromkeys(names.split(), kind)


def test_the_client_knows_more_than_the_code() -> None:
    code = KafkaError._APPLICATION
    assert of_kafka(KafkaError(code)) is PERMANENT
    assert of_kafka(KafkaError(code, "again", retriable=True)) is TRANSIENT
    assert of_kafka(KafkaError(KafkaError._TRANSPORT, "fenced", fatal=True)) is PERMANENT
    assert of_kafka(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "gone", retriable=True)) is PERMANENT


ERRORS = "org.apache.kafka.common.errors."
DELTA = "org.apache.spark.sql.delta"


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ([f"{ERRORS}TimeoutException", f"{ERRORS}RetriableException", f"{ERRORS}ApiException"], TRANSIENT),
        ([f"{ERRORS}UnknownTopicOrPartitionException", f"{ERRORS}RetriableException"], PERMANENT),
        ([f"{ERRORS}RecordTooLargeException", f"{ERRORS}ApiException"], DATA),
        ([f"{ERRORS}SaslAuthenticationException", f"{ERRORS}ApiException"], PERMANENT),
        (["java.net.ConnectException", "java.net.SocketException", "java.io.IOException"], TRANSIENT),
        (["java.net.SocketTimeoutException", "java.io.InterruptedIOException"], TRANSIENT),
        (["io.delta.exceptions.ConcurrentAppendException", f"{DELTA}.DeltaConcurrentModificationException"], TRANSIENT),
        (["java.net.UnknownHostException", "java.io.IOException"], TRANSIENT),
        (["org.apache.kafka.common.KafkaException", "java.lang.RuntimeException"], None),
        (["java.lang.IllegalStateException", "java.lang.RuntimeException"], None),
    ],
)
def test_the_nearest_java_class_decides(names: list[str], kind: Kind | None) -> None:
    assert of_java(names, "what it said") is kind


def test_kafkas_word_for_an_unknown_host() -> None:
    names = ["org.apache.kafka.common.config.ConfigException", "org.apache.kafka.common.KafkaException"]
    assert of_java(names, "No resolvable bootstrap urls given in bootstrap.servers") is TRANSIENT
    assert of_java(names, "Invalid value 5 for configuration acks") is None
