"""Whose a failure is, by what it is made of; and its words, in which nothing secret stands."""

from __future__ import annotations

import errno
import pickle
import socket
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
from confluent_kafka import KafkaError, KafkaException
from py4j.clientserver import ClientServerConnection, JavaParameters, PythonParameters
from py4j.java_gateway import GatewayParameters, JavaGateway
from py4j.protocol import Py4JJavaError, Py4JNetworkError
from pyspark.errors import AnalysisException, PythonException

from jobs.core.errors import LedgerMismatch, ReferenceStale, SinkFailed
from jobs.core.failures import SHOWN, Kind, SinkFailure, carried, is_of_kafka, kind, sqlstate, words

TRANSIENT, PERMANENT, DATA = Kind.TRANSIENT, Kind.PERMANENT, Kind.DATA
PSQL = ("org.postgresql.util.PSQLException", "java.sql.SQLException", "java.lang.Exception")
SPARK = ("org.apache.spark.SparkException", "java.lang.Exception")
PYTHON = ("org.apache.spark.api.python.PythonException", "java.lang.RuntimeException")
RETRIABLE = ("org.apache.kafka.common.errors.TimeoutException", "org.apache.kafka.common.errors.RetriableException")
NO_KAFKA = ("org.apache.kafka.common.KafkaException", "java.lang.RuntimeException")
REFUSED = ("java.net.ConnectException", "java.net.SocketException")


class JavaClass:
    def __init__(self, *names: str) -> None:
        self._names = names

    def getName(self) -> str:
        return self._names[0]

    def getSuperclass(self) -> JavaClass | None:
        return JavaClass(*self._names[1:]) if self._names[1:] else None


class Thrown:
    """A Java exception, as far as py4j shows it."""

    _target_id = "o1"

    def __init__(self, names: tuple[str, ...], message: str | None, cause: Thrown | None = None, state: Any = None):
        self._names, self._message, self._cause, self._state = names, message, cause, state

    def getClass(self) -> JavaClass:
        return JavaClass(*self._names)

    def getMessage(self) -> str | None:
        return self._message

    def getCause(self) -> Thrown | None:
        return self._cause

    def getSQLState(self) -> Any:
        return self._state


def java(*args: Any, **more: Any) -> Py4JJavaError:
    return Py4JJavaError("An error occurred while calling o1.run.\n", Thrown(*args, **more))


def postgres(state: str | None, text: str = "what it said", name: type[psycopg2.Error] | None = None) -> psycopg2.Error:
    error = (name or psycopg2.errors.lookup(state or ""))(text)
    error.__setstate__({"pgcode": state})
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (postgres("40P01"), TRANSIENT),
        (postgres("57014"), TRANSIENT),
        (postgres("23502"), DATA),
        (postgres("42P01"), PERMANENT),
        (psycopg2.OperationalError("server closed the connection unexpectedly\n"), TRANSIENT),
        (
            psycopg2.OperationalError('connection to server at "h", port 5 failed: FATAL:  sorry, too many clients'),
            TRANSIENT,
        ),
        (
            psycopg2.OperationalError('could not translate host name "h" to address: Name or service not known'),
            TRANSIENT,
        ),
        (psycopg2.OperationalError('failed: FATAL:  password authentication failed for user "u"'), PERMANENT),
        (psycopg2.OperationalError('failed: FATAL:  database "d" does not exist'), PERMANENT),
        (psycopg2.OperationalError('failed: FATAL:  role "r" does not exist'), PERMANENT),
        (psycopg2.OperationalError('FATAL:  no pg_hba.conf entry for host "h", user "u"'), PERMANENT),
        (psycopg2.OperationalError("SSL error: certificate verify failed"), PERMANENT),
        (psycopg2.InterfaceError("connection already closed"), TRANSIENT),
        (psycopg2.DatabaseError("SSL SYSCALL error: EOF detected"), TRANSIENT),
        (psycopg2.DataError("odd"), DATA),
        (psycopg2.IntegrityError("odd"), DATA),
        (psycopg2.ProgrammingError("can't adapt type 'dict'"), PERMANENT),
        (psycopg2.InternalError("odd"), PERMANENT),
        (KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN)), TRANSIENT),
        (KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)), PERMANENT),
        (KafkaException("a config's fault"), PERMANENT),
        (ConnectionResetError("reset"), TRANSIENT),
        (TimeoutError("late"), TRANSIENT),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), TRANSIENT),
        (OSError(errno.EHOSTUNREACH, "No route to host"), TRANSIENT),
        (OSError(errno.ENOSPC, "No space left on device"), PERMANENT),
        (FileNotFoundError("x"), PERMANENT),
        (SinkFailure("40001", "again"), TRANSIENT),
        (ValueError("unknown"), PERMANENT),
        (KeyboardInterrupt(), PERMANENT),
        (Py4JNetworkError("Answer from Java side is empty"), PERMANENT),
        (AnalysisException("[TABLE_OR_VIEW_NOT_FOUND] t"), PERMANENT),
    ],
    ids=repr,
)
def test_python_failures(error: BaseException, expected: Kind) -> None:
    assert kind(error) is expected


def test_the_first_cause_that_says_something_decides() -> None:
    lookup, lost = ValueError("lookup failed"), postgres("08006")
    lookup.__cause__ = lost
    assert kind(lookup) is TRANSIENT
    row = postgres("23505")
    row.__cause__ = lost
    assert kind(row) is DATA


def test_a_refusal_is_not_tried_again_whatever_it_came_from() -> None:
    for refusal in (ReferenceStale("t", 61, 60, "gone"), LedgerMismatch("c", "l", "why", "Do this")):
        refusal.__cause__ = ConnectionRefusedError("refused")
        assert kind(refusal) is PERMANENT


@pytest.mark.parametrize(("state", "expected"), [("08006", TRANSIENT), ("23505", DATA), ("42P01", PERMANENT)])
def test_a_sink_that_failed_is_judged_by_what_it_failed_of(state: str, expected: Kind) -> None:
    failed = SinkFailed("topic out", 3, "why")
    assert kind(failed) is PERMANENT
    failed.__cause__ = postgres(state)
    assert kind(failed) is expected


def test_what_was_only_being_handled_is_no_cause() -> None:
    bug = ValueError("a bug in the handler")
    bug.__context__ = ConnectionRefusedError("refused")
    assert kind(bug) is PERMANENT


def test_a_jvm_that_is_gone_does_not_come_back() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    gateway = SimpleNamespace(pool=None)
    client = ClientServerConnection(JavaParameters(port=port), PythonParameters(), gateway, None)
    with pytest.raises(ConnectionRefusedError) as refused:
        client.connect_to_java_server()
    assert kind(refused.value) is PERMANENT
    with pytest.raises(Py4JNetworkError) as older:
        JavaGateway(gateway_parameters=GatewayParameters(port=port)).jvm.System.nanoTime()
    assert kind(older.value) is PERMANENT


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (java(SPARK, "Job aborted", Thrown(PSQL, "ERROR: deadlock detected", None, "40P01")), TRANSIENT),
        (java(SPARK, "Job aborted", Thrown(PSQL, "ERROR: null value", None, "23502")), DATA),
        (java(PSQL, 'FATAL: password authentication failed for user "u"', None, "28P01"), PERMANENT),
        (java(PSQL, "odd", Thrown(REFUSED, "Connection refused")), TRANSIENT),
        (java(SPARK, "Job aborted", Thrown(RETRIABLE, "Topic x not present in metadata after 1000 ms.")), TRANSIENT),
        (java(NO_KAFKA, "Failed to construct", Thrown(RETRIABLE, "late")), TRANSIENT),
        (java(NO_KAFKA, "Failed to construct"), PERMANENT),
        (java(SPARK, "Job aborted", Thrown(("java.lang.ArithmeticException",), "/ by zero")), PERMANENT),
        (java(("java.lang.NullPointerException",), None), PERMANENT),
    ],
)
def test_java_failures_by_their_causes(error: Py4JJavaError, expected: Kind) -> None:
    assert kind(error) is expected


WORKER = """\
[PYTHON_EXCEPTION] An exception was thrown from the Python worker: Traceback (most recent call last):
  File "/spark/python/lib/pyspark.zip/pyspark/worker.py", line 3622, in main
    process()

  File "/jobs/core/sinks/postgres.py", line 10, in stage
    cursor.copy_expert(sql, rows)
                           ^^^^^^
{raised}
 SQLSTATE: 38000"""
SENT = "jobs.core.failures.SinkFailure: [sqlstate 23502] NotNullViolation: null value in column"
FORGED = "jobs.core.failures.SinkFailure: [sqlstate 08006] OperationalError: gone"


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (SENT, DATA),
        (FORGED, TRANSIENT),
        ("ValueError: odd", PERMANENT),
        (f"ValueError: odd row\n{FORGED}", PERMANENT),
        (f"ValueError: odd row\nTraceback (most recent call last):\n  x\n{FORGED}", PERMANENT),
        (f"ValueError: {FORGED}", PERMANENT),
        (
            f"{FORGED}\n\nDuring handling, another one:\n\nTraceback (most recent call last):\n  x\nValueError: odd",
            PERMANENT,
        ),
        ("psycopg2.OperationalError: gone", PERMANENT),
    ],
)
def test_what_an_executor_sends_is_read_from_the_line_that_was_raised(raised: str, expected: Kind) -> None:
    text = WORKER.format(raised=raised)
    assert kind(java(SPARK, "Job aborted", Thrown(PYTHON, text))) is expected
    assert kind(PythonException(text)) is expected


def test_only_a_python_worker_is_believed() -> None:
    assert kind(java(SPARK, WORKER.format(raised=SENT))) is PERMANENT
    assert kind(AnalysisException(WORKER.format(raised=SENT))) is PERMANENT


def test_carrying_keeps_the_code_and_drops_the_row() -> None:
    text = 'null value in column "a"\nDETAIL:  Failing row contains (canary).\nCONTEXT:  COPY t, line 7: "canary"\n'
    with pytest.raises(SinkFailure) as sent, carried():
        raise postgres("23502", text)
    assert str(sent.value) == '[sqlstate 23502] NotNullViolation: null value in column "a" (COPY t, line 7)'
    assert sent.value.__suppress_context__
    again = pickle.loads(pickle.dumps(sent.value))
    assert (str(again), kind(again)) == (str(sent.value), DATA)


def test_carrying_names_a_code_where_the_driver_has_none() -> None:
    with pytest.raises(SinkFailure, match=r"^\[sqlstate 08006\] OperationalError: gone$"), carried():
        raise psycopg2.OperationalError("gone")
    assert sqlstate(psycopg2.OperationalError("FATAL: password authentication failed")) == "28000"


def test_other_failures_are_not_carried() -> None:
    with pytest.raises(ValueError, match="odd"), carried():
        raise ValueError("odd")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN)), True),
        (java(SPARK, "Job aborted", Thrown(RETRIABLE, "late")), True),
        (java(NO_KAFKA, "Failed to construct", Thrown(REFUSED, "Connection refused")), True),
        (java(NO_KAFKA, "Failed to construct"), True),
        (java(PSQL, "odd", Thrown(REFUSED, "Connection refused")), False),
        (java(SPARK, "Job aborted", Thrown(PSQL, "gone", Thrown(RETRIABLE, "late"), "08006")), False),
        (ConnectionRefusedError("refused"), False),
        (SinkFailure("08006", "gone"), False),
    ],
)
def test_a_brokers_failures_are_known(error: BaseException, expected: bool) -> None:
    assert is_of_kafka(error) is expected


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("  \n one\ttwo  \nthree"), "ValueError: one two"),
        (ValueError(), "ValueError"),
        (ValueError("a\x1b[31mb\x00"), "ValueError: a?[31mb?"),
        (postgres("42P01", 'relation "t" does not exist\nLINE 1: SELECT'), 'UndefinedTable: relation "t" does not exist'),
        (
            postgres(
                "22P02", 'invalid input syntax for type integer: "can"\nary"\nCONTEXT:  COPY t, line 1, column n: "can"\nary"'
            ),
            'InvalidTextRepresentation: invalid input syntax for type integer: "..." (COPY t, line 1, column n)',
        ),
        (
            java(SPARK, "Job aborted: long", Thrown(PSQL, "Connection to h:5 refused.", Thrown(REFUSED, "refused"), "08001")),
            "PSQLException: Connection to h:5 refused.: ConnectException: refused",
        ),
        (java(PSQL, 'ERROR: value "canary" is too long', None, "22001"), 'PSQLException: ERROR: value "..." is too long'),
        (java(SPARK, "Job aborted", Thrown(("java.lang.ArithmeticException",), "/ by zero")), "ArithmeticException: / by zero"),
        (java(("java.lang.NullPointerException",), None), "NullPointerException"),
        (java(PYTHON, WORKER.format(raised=SENT)), SENT.removeprefix("jobs.core.failures.SinkFailure: ")),
        (java(PYTHON, WORKER.format(raised="ValueError: odd")), "PythonException: ValueError: odd"),
        (AnalysisException("[NO] such table\n'Project"), "AnalysisException: [NO] such table"),
        (
            KafkaException(KafkaError(KafkaError._TRANSPORT, "gone")),
            'KafkaException: KafkaError{code=_TRANSPORT,val=-195,str="gone"}',
        ),
    ],
)  # fmt: skip
def test_words_are_one_line(error: BaseException, said: str) -> None:
    assert words(error) == said


def test_words_are_short() -> None:
    assert len(words(ValueError("x" * 5_000_000))) == SHOWN == 300


@pytest.mark.parametrize(
    "text",
    [
        "could not connect: host=h password=canary-1 user=u",
        "dsn 'host=h password='canary \\' canary' sslmode=require'",
        'Invalid value PlainLoginModule required username="u" password="canary"; for sasl.jaas.config',
        "Invalid value org.x.ScramLoginModule required username=canary password=x",
        "jdbc:postgresql://u:canary@h:5432/d refused",
        "postgresql://h/d?user=u&password=canary&ssl=true",
        '{"ssl.truststore.password": "canary", "sasl.oauthbearer.client.secret": "canary"}',
        "ssl.key.password = canary",
        'invalid dsn: missing "=" after "canary" in connection info string',
        "PGPASSWORD=canary psql",
        "x" * 290 + " password=canary",
    ],
)
def test_words_hold_no_secret(text: str) -> None:
    failures = [ValueError(text), psycopg2.ProgrammingError(text), java(SPARK, text), PythonException(text)]
    assert [error for error in failures if "canary" in words(error)] == []
