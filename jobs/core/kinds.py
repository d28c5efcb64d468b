"""Which failures pass, which are for good, and which are the rows' fault: SQLSTATEs, Kafka's codes, Java's classes.

Of an SQLSTATE the first two characters are the class; a whole code goes before its class. What is not listed is PERMANENT:
syntax and privileges (42), logins (28), unknown databases (3D), unsupported features (0A), internal errors (XX).
"""

from __future__ import annotations

from enum import Enum

from confluent_kafka import KafkaError


class Kind(Enum):
    """Whether a failure passes by itself, and whose it is."""

    TRANSIENT = "transient"  # the dependency is away or busy: the same step may succeed later
    PERMANENT = "permanent"  # it fails again until somebody changes something
    DATA = "data"  # the rows are at fault; the dependency is well


LOST = "08006"  # a connection's end has no code of its own in psycopg2
REFUSED = "28000"

SQLSTATES = {
    "08": Kind.TRANSIENT,  # connections, 08P01 too: PgBouncer says so when its server is away
    "08004": Kind.PERMANENT,  # pgjdbc: the server asks for a login or for TLS that is not configured
    "22": Kind.DATA,  # encoding, range, length, format
    "23": Kind.DATA,  # constraints
    "25006": Kind.TRANSIENT,  # read-only: a fail-over's old primary, until the new one is connected to
    "25P03": Kind.TRANSIENT,  # idle in transaction for too long: a driver that stood still
    "25P04": Kind.TRANSIENT,  # a transaction that took too long
    "40": Kind.TRANSIENT,  # deadlocks, serialization failures, unknown outcomes: steps are idempotent
    "40002": Kind.DATA,  # a constraint checked at COMMIT
    "44": Kind.DATA,  # a view's CHECK OPTION
    "53": Kind.TRANSIENT,  # memory, connections, and a full disk: no row is at fault, and the job goes on once there is room
    "53400": Kind.PERMANENT,  # a limit that somebody configured, as temp_file_limit
    "54000": Kind.DATA,  # a row too large for its page or its index; the rest of 54 is about statements
    "55006": Kind.TRANSIENT,  # in use
    "55P03": Kind.TRANSIENT,  # lock_timeout, NOWAIT
    "57": Kind.TRANSIENT,  # shutdown, crash, start-up, a cancelled statement (its time-out is 57014)
    "57P04": Kind.PERMANENT,  # the database was dropped
    "P0001": Kind.DATA,  # a trigger's RAISE EXCEPTION
}

KAFKA_CODES = {
    Kind.TRANSIENT: (
        "_ALL_BROKERS_DOWN _TRANSPORT _RESOLVE _DESTROY_BROKER _TIMED_OUT _MSG_TIMED_OUT _TIMED_OUT_QUEUE _QUEUE_FULL _RETRY"
        " _WAIT_COORD _WAIT_CACHE _ISR_INSUFF _IN_PROGRESS LEADER_NOT_AVAILABLE NOT_LEADER_FOR_PARTITION REQUEST_TIMED_OUT"
        " BROKER_NOT_AVAILABLE REPLICA_NOT_AVAILABLE NETWORK_EXCEPTION COORDINATOR_LOAD_IN_PROGRESS"
        " COORDINATOR_NOT_AVAILABLE NOT_COORDINATOR NOT_CONTROLLER KAFKA_STORAGE_ERROR NOT_ENOUGH_REPLICAS"
        " NOT_ENOUGH_REPLICAS_AFTER_APPEND CONCURRENT_TRANSACTIONS THROTTLING_QUOTA_EXCEEDED FENCED_LEADER_EPOCH"
        " UNKNOWN_LEADER_EPOCH OFFSET_NOT_AVAILABLE"
    ),
    Kind.DATA: (
        "MSG_SIZE_TOO_LARGE RECORD_LIST_TOO_LARGE INVALID_RECORD INVALID_TIMESTAMP _KEY_SERIALIZATION _VALUE_SERIALIZATION"
    ),
    # The client has asked again and again by itself, and a topic does not make itself.
    Kind.PERMANENT: "_UNKNOWN_TOPIC _UNKNOWN_PARTITION UNKNOWN_TOPIC_OR_PART",
}
KAFKA = {getattr(KafkaError, name): kind for kind, names in KAFKA_CODES.items() for name in names.split()}
OF_KAFKA = ("org.apache.kafka.", "org.apache.spark.sql.kafka010.")
_ERRORS = "org.apache.kafka.common.errors."
JAVA = {
    f"{_ERRORS}UnknownTopicOrPartitionException": Kind.PERMANENT,
    f"{_ERRORS}RetriableException": Kind.TRANSIENT,
    f"{_ERRORS}RecordTooLargeException": Kind.DATA,
    f"{_ERRORS}RecordBatchTooLargeException": Kind.DATA,
    f"{_ERRORS}InvalidTimestampException": Kind.DATA,
    f"{_ERRORS}SerializationException": Kind.DATA,
    "org.apache.kafka.common.InvalidRecordException": Kind.DATA,
    "org.apache.spark.sql.delta.schema.InvariantViolationException": Kind.DATA,  # CHECK, NOT NULL, varchar(n)
    f"{_ERRORS}ApiException": Kind.PERMANENT,
    "org.apache.spark.sql.delta.DeltaConcurrentModificationException": Kind.TRANSIENT,  # another commit came between
    "java.net.SocketException": Kind.TRANSIENT,
    "java.net.SocketTimeoutException": Kind.TRANSIENT,
    "java.net.UnknownHostException": Kind.TRANSIENT,
    "java.util.concurrent.TimeoutException": Kind.TRANSIENT,
}
UNRESOLVED = "No resolvable bootstrap urls"  # Kafka's word for an unknown host, a ConfigException


def of_sqlstate(state: str) -> Kind:
    """By the whole code, else by its class, else PERMANENT."""
    return SQLSTATES.get(state) or SQLSTATES.get(state[:2]) or Kind.PERMANENT


def of_kafka(error: KafkaError) -> Kind:
    """By the code, else by what the client says of it."""
    if error.fatal():
        return Kind.PERMANENT
    return KAFKA.get(error.code()) or (Kind.TRANSIENT if error.retriable() else Kind.PERMANENT)


def of_java(names: list[str], text: str) -> Kind | None:
    """By a class and those above it, or the one text that has no class of its own; None where neither says anything."""
    known = next((JAVA[name] for name in names if name in JAVA), None)
    return known or (Kind.TRANSIENT if text.startswith(UNRESOLVED) else None)
