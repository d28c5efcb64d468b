"""Is a failure transient or permanent, and whose is it? By exception class, SQLSTATE and Kafka error code.

`kind` follows a failure's causes, in Python and in the JVM, from the outermost in; the first one that says something
decides. What nobody knows is PERMANENT: a retry of it would only hide it. `words` says it in one line without secrets and
without values of rows. A failure in an executor reaches the driver as text alone: `carried` puts the SQLSTATE there.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from traceback import walk_tb
from typing import Any

import psycopg2
from confluent_kafka import KafkaError, KafkaException
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException, PythonException

from jobs.core.errors import JobError, SinkFailed
from jobs.core.kinds import LOST, OF_KAFKA, REFUSED, Kind, of_java, of_kafka, of_sqlstate
from jobs.core.problems import IN_URL, MASK

__all__ = ["Away", "BeginAnew", "Kind", "SinkFailure", "carried", "is_of_kafka", "kind", "sqlstate", "words"]

SHOWN = 300
SEARCHED = 10_000  # characters of a text, which may hold a whole plan
TRACEBACK = "Traceback (most recent call last):"
RAISED = re.compile(rf"^.*{re.escape(TRACEBACK)}\n(?:[ \t].*\n|\n)*(\S.*)", re.MULTILINE)
CARRIED = re.compile(r"jobs\.core\.failures\.SinkFailure: (\[sqlstate ([0-9A-Z]{5})\] .*)")
COPY_PLACE = re.compile(r"^CONTEXT:\s+(COPY [^:\n]{1,150}?, line \d+(?:, column [^:\n]{1,80})?)", re.MULTILINE)
VALUE = re.compile(r'".*"', re.DOTALL)
LOGIN = re.compile(r"LoginModule\b.*", re.DOTALL)
DSN = re.compile(r"(?<=invalid dsn).*", re.DOTALL)
SETTING = re.compile(
    r"""(?i)((?:password|passwd|passfile|secret|token|credential)[\w.]*["']?\s*[=:]\s*)"""
    r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s,;&)}]+)"""
)
NOT_LET_IN = re.compile(  # a connection that fails to open has no code; what the server said to it is in the text
    r"authentication failed|FATAL:\s+(role|database) .* does not exist|pg_hba\.conf|no password supplied"
    r"|certificate verify failed|certificate file .* does not exist|does not support SSL|not permitted to log in"
)
UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}


class BeginAnew(Exception):
    """What a step had looked at has changed since; it succeeds if it is begun anew."""


class Away(ConnectionError):
    """A dependency does not answer; whoever notices it names it."""

    def __init__(self, dependency: str, why: str) -> None:
        super().__init__(f"{dependency}: {why}")
        self.dependency, self.why = dependency, why


class SinkFailure(Exception):
    """A database's failure inside an executor, whose text names the SQLSTATE: `[sqlstate 23502] NotNullViolation: ...`."""

    def __init__(self, sqlstate: str, said: str) -> None:
        super().__init__(sqlstate, said)
        self.sqlstate, self.said = sqlstate, said

    def __str__(self) -> str:
        return f"[sqlstate {self.sqlstate}] {self.said}"


@contextmanager
def carried() -> Iterator[None]:
    """Turns psycopg2's errors into SinkFailure, without the traceback that would hold the failing row."""
    try:
        yield
    except psycopg2.Error as failure:
        raise SinkFailure(sqlstate(failure), words(failure)) from None


def kind(error: BaseException) -> Kind:
    """What the first cause that says something says; PERMANENT where none does."""
    return next((link.kind for link in _links(error) if link.kind), Kind.PERMANENT)


def is_of_kafka(error: BaseException) -> bool:
    """Whether a broker's client failed: down to the first cause that says something."""
    links = list(_links(error))
    return any(link.of_kafka for link in links[: _decisive(links) + 1])


def words(error: BaseException) -> str:
    """What went wrong, in one line of at most 300 characters, without passwords, connection settings and values of rows."""
    links = list(_links(error))
    return ": ".join(dict.fromkeys(link.said for link in links[_decisive(links) :]))[:SHOWN]


def sqlstate(error: psycopg2.Error) -> str:
    """The server's code; where there is none, the one that fits class and text best."""
    if error.pgcode:
        return error.pgcode
    if isinstance(error, (psycopg2.DataError, psycopg2.IntegrityError)):
        return "22000" if isinstance(error, psycopg2.DataError) else "23000"
    if NOT_LET_IN.search(str(error)):
        return REFUSED
    is_lost = isinstance(error, (psycopg2.OperationalError, psycopg2.InterfaceError))
    return LOST if is_lost or type(error) is psycopg2.DatabaseError else "XX000"


@dataclass(frozen=True)
class _Link:
    """One cause: what it says about its kind, if anything, and in words."""

    kind: Kind | None
    said: str
    of_kafka: bool = False


def _decisive(links: Sequence[_Link]) -> int:
    """Where the first one stands that says something, else the last one."""
    return next((number for number, link in enumerate(links) if link.kind), len(links) - 1)


def _links(error: BaseException | None) -> Iterator[_Link]:
    while error is not None:
        yield from _spark(error) if isinstance(error, (Py4JJavaError, PySparkException)) else [_python(error)]
        error = error.__cause__


def _spark(error: Py4JJavaError | PySparkException) -> Iterator[_Link]:
    thrown = error.java_exception if isinstance(error, Py4JJavaError) else getattr(error, "_origin", None)
    if thrown is not None:
        yield from _java(thrown)
        return
    text = (
        str(getattr(error, "_desc", None) or "") if hasattr(error, "_desc") else str(error)
    )  # str() would ask the JVM
    found = _carried(text) if isinstance(error, PythonException) else None
    conflict = type(error).__module__.startswith("delta.exceptions")  # another commit came between
    plain = _Link(Kind.TRANSIENT if conflict else None, _told(type(error).__name__, _raised(text)))
    yield found or plain
    yield from _links(getattr(error, "_cause", None))


def _python(error: BaseException) -> _Link:
    if isinstance(error, SinkFailure):
        return _Link(of_sqlstate(error.sqlstate), _line(str(error)))
    if isinstance(error, psycopg2.Error):
        return _postgres(type(error).__name__, sqlstate(error), str(error))
    return _Link(_python_kind(error), _told(type(error).__name__, str(error)), isinstance(error, KafkaException))


def _python_kind(error: BaseException) -> Kind | None:
    if isinstance(error, SinkFailed):  # it says where; what it came from says what
        return None
    if isinstance(error, JobError) or _is_of_py4j(error):  # decided already, whatever it came from; the JVM is gone
        return Kind.PERMANENT
    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
        return of_kafka(error.args[0])
    if isinstance(error, (ConnectionError, TimeoutError, socket.gaierror)):
        return Kind.TRANSIENT
    if isinstance(error, BeginAnew):
        return Kind.TRANSIENT
    return Kind.TRANSIENT if isinstance(error, OSError) and error.errno in UNREACHABLE else None


def _is_of_py4j(error: BaseException) -> bool:
    """Where py4j itself raises, as in a plain ConnectionRefusedError, the JVM is gone: no waiting brings it back."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_globals["__name__"].startswith("py4j.")


def _java(thrown: Any) -> Iterator[_Link]:
    """A Java exception and its causes, through py4j."""
    while thrown is not None:
        names, text = list(_class_names(thrown)), str(thrown.getMessage() or "")
        name = names[0].rpartition(".")[2]
        state = thrown.getSQLState() if "java.sql.SQLException" in names else None
        found = _carried(text) if "org.apache.spark.api.python.PythonException" in names else None
        plain = _plain(names, text)
        yield _postgres(name, str(state), text) if state else found or plain
        thrown = thrown.getCause()


def _plain(names: list[str], text: str) -> _Link:
    """Delta repeats a value that is too long for its column."""
    kind = of_java(names, text)
    said = VALUE.sub('"..."', text) if kind is Kind.DATA else _raised(text)
    return _Link(kind, _told(names[0].rpartition(".")[2], said), any(name.startswith(OF_KAFKA) for name in names))


def _class_names(thrown: Any) -> Iterator[str]:
    above = thrown.getClass()
    while above is not None:
        yield str(above.getName())
        above = above.getSuperclass()


def _postgres(name: str, state: str, text: str) -> _Link:
    """Class 22 repeats the value that it refuses: only its place in a COPY is told."""
    place = COPY_PLACE.search(text)
    shown = VALUE.sub('"..."', text) if state.startswith("22") else text
    return _Link(of_sqlstate(state), _told(name, shown) + (f" ({_line(place[1])})" if place else ""))


def _carried(text: str) -> _Link | None:
    """What `carried` sent, if nothing else was raised after it; a row's own text in another failure is not to be believed."""
    raised = RAISED.search(text) if text.count(TRACEBACK) == 1 else None
    found = CARRIED.fullmatch(raised[1]) if raised else None
    return _Link(of_sqlstate(found[2]), _line(found[1])) if found else None


def _raised(text: str) -> str:
    """Of a Python traceback, the line that says what was raised."""
    found = RAISED.findall(text)
    return str(found[-1]) if found else text


def _told(name: str, text: str) -> str:
    line = _line(text)
    return f"{name}: {line}" if line else name


def _line(text: str) -> str:
    """The first line that says something, printable, without secrets."""
    text = SETTING.sub(rf"\1{MASK}", text[:SEARCHED])
    for secret in (LOGIN, DSN, IN_URL):
        text = secret.sub(MASK, text)
    first = next((line for line in text.splitlines() if line.strip()), "")
    return "".join(sign if sign.isprintable() else "?" for sign in " ".join(first.split()))
