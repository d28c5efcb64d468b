"""Where PostgreSQL and Kafka are: JDBC URLs and lists of servers, with nothing secret or unknown in them."""

from __future__ import annotations

import re
from urllib.parse import unquote

from jobs.core.allowed import POSTGRES, wrong_option


def jdbc(text: str) -> str:
    """The URL itself. Raises ValueError, saying what is allowed."""
    if re.search(r"//[^/?]*@", text):
        raise ValueError("a URL without user and password: `postgres.user` and `postgres.password` take those")
    found = re.fullmatch(
        r"jdbc:postgresql://([\w.-]+|\[[0-9A-Fa-f:.]+\])(?::(\d+))?/([\w-]+)(?:\?(.*))?", text, re.ASCII
    )
    if not found:
        raise ValueError("a URL like jdbc:postgresql://host:5432/database")
    if found[2] and not _is_port(found[2]):
        raise ValueError("a URL with a port from 1 to 65535")
    _only_allowed(_pairs(text))
    return text


def _only_allowed(given: list[tuple[str, str]]) -> None:
    for name, value in given:
        if name.lower() in ("user", "password", "sslpassword"):
            raise ValueError("a URL without user and password: `postgres.user` and `postgres.password` take those")
        wrong = wrong_option(name, value, POSTGRES)
        if wrong:
            raise ValueError(f"in the URL, {name}: {wrong}")
    if len(dict(given)) < len(given):
        raise ValueError("a URL with each parameter once")


def http(text: str) -> str:
    """A URL of http or https whose host is what it says. Raises ValueError, saying what is allowed."""
    if re.search(r"//[^/?#]*@", text):
        raise ValueError("a URL without user and password: `headers` take a secret")
    found = re.fullmatch(r"https?://([\w.-]+|\[[0-9A-Fa-f:.]+\])(?::(\d+))?(/[!-~]*)?", text, re.ASCII)
    if not found or (found[2] and not _is_port(found[2])):
        raise ValueError("a URL like https://host/rates/{currency}, with columns of the key behind the host alone")
    return text


def parameters(url: str) -> dict[str, str]:
    """What stands behind the `?` of a JDBC URL."""
    return dict(_pairs(url))


def _pairs(url: str) -> list[tuple[str, str]]:
    split = (pair.partition("=") for pair in url.partition("?")[2].split("&") if pair)
    return [(unquote(name), unquote(value)) for name, _, value in split]


def place(url: str) -> tuple[str, int, str]:
    """Host without brackets, port and database of a JDBC URL."""
    found = re.match(r"jdbc:postgresql://(?:\[[^\]]*\]|[^:/?]*)(?::(\d+))?/([\w-]+)", url)
    assert found, "the config has checked the URL"
    return host(url), int(found[1] or 5432), found[2]


def host(url: str) -> str:
    """The host of a JDBC URL, without brackets."""
    found = re.match(r"jdbc:postgresql://(\[[^\]]*\]|[^:/?]*)", url)
    return found[1].strip("[]") if found else ""


def _is_port(port: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,5}", port)) and 1 <= int(port) <= 65535


def servers(text: str) -> str:
    """Kafka's servers themselves. Raises ValueError, saying what is allowed."""
    for server in text.split(","):
        found = re.fullmatch(r"([\w.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]+)", server.strip(), re.ASCII)
        if not found or not _is_port(found[2]):
            raise ValueError("host:port, several with commas between them, each port from 1 to 65535")
    return text
