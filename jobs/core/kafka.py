"""Kafka as the jobs meet it: client properties for Spark, and what a broker knows (through its own Java client)."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from jobs.core.config import Kafka, KafkaSecurity
from jobs.core.errors import DependencyMissing
from jobs.core.jvm import java_class

TOPIC = "Kafka topic"
CLOCKS = timedelta(minutes=10)  # how far those of driver, executors and broker may be apart
KAFKA = "org.apache.kafka"
Spans = dict[str, dict[int, tuple[int, int]]]  # topic: partition: (first offset, offset after the last)
NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"  # of brokers older than 2.8, and some that only speak like one
Which = Callable[[Any, str], Any]  # (Kafka's OffsetSpec, topic) -> one of its kinds
Positions = dict[str, dict[str, int]]  # topic: partition: offset, as Spark writes them


def properties(kafka: Kafka) -> dict[str, str]:
    """Client properties, as Kafka names them."""
    return {"bootstrap.servers": kafka.bootstrap_servers, **_security(kafka.security), **kafka.options}


def since(moment: datetime) -> dict[str, str]:
    """Spark's options for what came into a topic since then, and no less, however far clocks are apart."""
    at_ms = str(int((moment - CLOCKS).timestamp() * 1_000))
    return {"startingTimestamp": at_ms, "startingOffsetsByTimestampStrategy": "latest"}


def spark_options(kafka: Kafka) -> dict[str, str]:
    """The same for Spark's source and sink."""
    return {f"kafka.{key}": value for key, value in properties(kafka).items()}


@dataclass(frozen=True)
class Standing:
    """What a broker has of some topics now; of those that it lacks, nothing."""

    spans: Spans
    ids: dict[str, str]  # topic: the id that it was given when it was made, where the broker gives any


def standing(spark: SparkSession, kafka: Kafka, topics: Iterable[str]) -> Standing:
    """Raises DependencyMissing for a broker that is away."""
    with _admin(spark, kafka) as admin:
        names = admin.listTopics().names().get()
        described = _described(spark, admin, [topic for topic in topics if names.contains(topic)])
        partitions = _partitions(spark, described)
        first, after = (_offsets(spark, kafka, admin, partitions, which) for which in (_earliest, _latest))
    found: Spans = {}
    for (topic, partition), begin in first.items():
        found.setdefault(topic, {})[partition] = (begin, after[topic, partition])
    ids = {topic: str(described[topic].topicId().toString()) for topic in found}
    return Standing(found, {topic: made for topic, made in ids.items() if made != NO_ID})


def spans(spark: SparkSession, kafka: Kafka, topics: Iterable[str]) -> Spans:
    """Offsets that the topics hold now. Raises DependencyMissing for a broker that is away or a topic that it lacks."""
    wanted = list(topics)
    found = standing(spark, kafka, wanted).spans
    require(kafka, wanted, found)
    return found


def at_times(spark: SparkSession, kafka: Kafka, at_ms: Mapping[str, int]) -> Positions:
    """Of each topic the first record of each partition that is not older; where there is none, the end.

    Raises DependencyMissing.
    """
    with _admin(spark, kafka) as admin:
        require(kafka, at_ms, set(admin.listTopics().names().get()))
        partitions = _partitions(spark, _described(spark, admin, list(at_ms)))
        after = _offsets(spark, kafka, admin, partitions, _latest)  # first: what comes meanwhile is not older
        since = _offsets(spark, kafka, admin, partitions, lambda kind, topic: kind.forTimestamp(at_ms[topic]))
    found: Positions = {}
    for (topic, partition), end in after.items():
        offset = since[topic, partition]
        found.setdefault(topic, {})[str(partition)] = end if offset < 0 else offset
    return found


def matching(spark: SparkSession, kafka: Kafka, pattern: str) -> list[str]:
    """Topics that a `topic_pattern` takes now, by Java's rules as in Spark. Raises DependencyMissing."""
    matches = java_class(spark, "java.util.regex.Pattern").matches
    with _admin(spark, kafka) as admin:
        return sorted(name for name in admin.listTopics().names().get() if matches(pattern, name))


def check(spark: SparkSession, kafka: Kafka, topics: Iterable[str]) -> None:
    """Raises DependencyMissing unless the broker answers and has the topics."""
    with _admin(spark, kafka) as admin:
        require(kafka, list(topics), set(admin.listTopics().names().get()))


def require(kafka: Kafka, topics: Iterable[str], found: Container[str]) -> None:
    """Raises DependencyMissing for a topic that is not among those found."""
    missing = [topic for topic in topics if topic not in found]
    if missing:
        raise DependencyMissing(TOPIC, f"{missing[0]} on {kafka.bootstrap_servers}", "the broker has no such topic")


def lacks(spark: SparkSession, kafka: Kafka, topic: str) -> bool:
    """Whether a broker that answers has no such topic."""
    try:
        check(spark, kafka, [topic])
    except DependencyMissing as missing:
        return missing.dependency == TOPIC
    return False


def largest_record(spark: SparkSession, kafka: Kafka, topic: str) -> int:
    """What the topic takes, in bytes. Raises DependencyMissing, also where the job may not ask."""
    named = f"{KAFKA}.common.config.ConfigResource"
    with _admin(spark, kafka) as admin:
        resource = java_class(spark, named)(java_class(spark, f"{named}$Type").TOPIC, topic)
        found = admin.describeConfigs(java_class(spark, "java.util.List").of(resource)).all().get()
        return int(found.get(resource).get("max.message.bytes").value())


def _security(security: KafkaSecurity) -> dict[str, str]:
    secret = {
        "ssl.truststore.password": security.truststore_password,
        "ssl.keystore.password": security.keystore_password,
    }
    plain = {
        "security.protocol": None if security.protocol == "PLAINTEXT" else security.protocol,
        "sasl.mechanism": security.mechanism,
        "ssl.truststore.location": security.truststore,
        "ssl.keystore.location": security.keystore,
        "sasl.jaas.config": _jaas(security),
        **{key: value.get_secret_value() for key, value in secret.items() if value},
    }
    return {key: value for key, value in plain.items() if value}


def _jaas(security: KafkaSecurity) -> str | None:
    """The login line, rendered here so that no module but Kafka's own can be named."""
    if not security.mechanism or security.password is None:
        return None
    module = "plain.Plain" if security.mechanism == "PLAIN" else "scram.Scram"
    user, password = (_quoted(text) for text in (security.username or "", security.password.get_secret_value()))
    return f"org.apache.kafka.common.security.{module}LoginModule required username={user} password={password};"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@contextmanager
def _admin(spark: SparkSession, kafka: Kafka) -> Iterator[Any]:
    settings = java_class(spark, "java.util.HashMap")()
    limit = str(int(kafka.timeout.ms))
    quick = {"default.api.timeout.ms": limit, "request.timeout.ms": limit, "retries": "3"}
    for key, value in {**properties(kafka), **quick}.items():
        settings.put(key, value)
    try:
        admin = java_class(spark, f"{KAFKA}.clients.admin.AdminClient").create(settings)
    except Py4JJavaError as failure:
        raise DependencyMissing("Kafka", kafka.bootstrap_servers, _cause(failure)) from None
    try:
        yield admin
    except Py4JJavaError as failure:
        raise DependencyMissing("Kafka", kafka.bootstrap_servers, _cause(failure)) from None
    finally:
        admin.close(java_class(spark, "java.time.Duration").ofSeconds(1))


def _described(spark: SparkSession, admin: Any, topics: list[str]) -> Any:
    return admin.describeTopics(java_class(spark, "java.util.ArrayList")(topics)).allTopicNames().get()


def _partitions(spark: SparkSession, described: Any) -> list[Any]:
    partition = java_class(spark, f"{KAFKA}.common.TopicPartition")
    return [partition(topic, info.partition()) for topic in described for info in described[topic].partitions()]


def _offsets(
    spark: SparkSession, kafka: Kafka, admin: Any, partitions: list[Any], which: Which
) -> dict[tuple[str, int], int]:
    asked, kind = java_class(spark, "java.util.HashMap")(), java_class(spark, f"{KAFKA}.clients.admin.OffsetSpec")
    for partition in partitions:
        asked.put(partition, which(kind, partition.topic()))
    options = java_class(spark, f"{KAFKA}.clients.admin.ListOffsetsOptions")(_isolation(spark, kafka))
    answer = admin.listOffsets(asked, options)
    return {(p.topic(), p.partition()): answer.partitionResult(p).get().offset() for p in partitions}


def _earliest(kind: Any, topic: str) -> Any:
    return kind.earliest()


def _latest(kind: Any, topic: str) -> Any:
    return kind.latest()


def _isolation(spark: SparkSession, kafka: Kafka) -> Any:
    """As the source reads: with open transactions, its end is before the topic's."""
    level = kafka.options.get("isolation.level", "read_uncommitted")
    return getattr(java_class(spark, f"{KAFKA}.common.IsolationLevel"), level.upper())


def _cause(failure: Py4JJavaError) -> str:
    """The innermost exception's own words."""
    error = failure.java_exception
    while error.getCause() is not None:
        error = error.getCause()
    return f"{error.getClass().getSimpleName()}: {error.getMessage()}"
