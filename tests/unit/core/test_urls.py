"""Where things are: what passes, and why the rest does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.core.urls import host, jdbc, parameters, servers

PG = "jdbc:postgresql://"


def refused(check: Callable[[str], str], text: str) -> str:
    with pytest.raises(ValueError, match=".") as failure:
        check(text)
    return str(failure.value)


@pytest.mark.parametrize(
    "url",
    [
        f"{PG}h/db",
        f"{PG}localhost:5432/db",
        f"{PG}[::1]:5432/db",
        f"{PG}h:1/d-b_1?sslmode=require&ApplicationName=a%20b",
    ],
)
def test_jdbc_urls(url: str) -> None:
    assert jdbc(url) == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://h/db", "jdbc:postgresql://host:5432/database"),
        ("jdbc:mysql://h/db", "jdbc:postgresql://host:5432/database"),
        (f"{PG}h,i/db", "jdbc:postgresql://host:5432/database"),
        (f"{PG}h", "jdbc:postgresql://host:5432/database"),
        (f"{PG}h/db;x", "jdbc:postgresql://host:5432/database"),
        (f"{PG}h:0/db", "1 to 65535"),
        (f"{PG}h:65536/db", "1 to 65535"),
        (f"{PG}user:pass@h/db", "without user and password"),
        (f"{PG}user@h/db", "without user and password"),
        (f"{PG}h/db?password=x", "without user and password"),
        (f"{PG}h/db?USER=x", "without user and password"),
        (f"{PG}h/db?socketFactory=x", "socketFactory: not one of the properties"),
        (f"{PG}h/db?ssl%66actory=x", "sslfactory: not one of the properties"),
        (f"{PG}h/db?loggerFile=/tmp/x", "loggerFile: not one of the properties"),
        (f"{PG}h/db?sslmode=require&sslmode=verify-full", "each parameter once"),
        (f"{PG}h/db?sslmode=off", "sslmode: one of: disable"),
        (f"{PG}h/db?connectTimeout=-1", "connectTimeout: a whole number of at least 1"),
    ],
)
def test_no_other_jdbc_url_passes(url: str, why: str) -> None:
    assert why in refused(jdbc, url)


def test_parts_of_a_jdbc_url() -> None:
    url = f"{PG}[::1]:5432/db?sslmode=verify-full&ApplicationName=a%20b"
    assert (host(url), parameters(url)) == ("::1", {"sslmode": "verify-full", "ApplicationName": "a b"})


@pytest.mark.parametrize("given", ["localhost:9092", "a.b-c:1,d:65535", "a:1, b:2", "[::1]:9092"])
def test_servers(given: str) -> None:
    assert servers(given) == given


@pytest.mark.parametrize(
    "given", ["", "localhost", "a:0", "a:65536", "a:99999999", "a:1,", "u:p@a:1", "a:b", "a:1;b:2"]
)
def test_no_other_servers_pass(given: str) -> None:
    assert "each port from 1 to 65535" in refused(servers, given)
