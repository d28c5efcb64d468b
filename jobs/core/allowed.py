"""Which Kafka client and PostgreSQL driver properties a config may set, and what each takes; no others pass.

Left out on purpose: whatever names a class or a login module, whatever is secret (that has settings of its own), and
what the jobs' promises rest on (`acks`, `enable.idempotence`, `group.id`, offset resets).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches

Kind = str | tuple[str, ...]  # POSITIVE, TEXT, or the words it may be
POSITIVE = "a whole number of at least 1"
TEXT = "one line of text"
SECRET = re.compile(
    r"passw|passphrase|secret|token|jaas|credential|(private|access|account|api).?key|\bsas\b", re.IGNORECASE
)

KAFKA: Mapping[str, Kind] = {
    **dict.fromkeys(("client.id", "client.rack", "ssl.cipher.suites"), TEXT),
    "client.dns.lookup": ("use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"),
    "compression.type": ("none", "gzip", "snappy", "lz4", "zstd"),
    "isolation.level": ("read_committed", "read_uncommitted"),
    "check.crcs": ("true", "false"),
    "ssl.enabled.protocols": ("TLSv1.3", "TLSv1.2", "TLSv1.2,TLSv1.3"),
    "ssl.protocol": ("TLSv1.3", "TLSv1.2"),
    "ssl.endpoint.identification.algorithm": ("https",),
    "ssl.truststore.type": ("JKS", "PKCS12", "PEM"),
    "ssl.keystore.type": ("JKS", "PKCS12", "PEM"),
    **dict.fromkeys(
        (
            *("request.timeout.ms", "default.api.timeout.ms", "session.timeout.ms", "heartbeat.interval.ms"),
            *("max.poll.records", "max.poll.interval.ms", "max.partition.fetch.bytes", "fetch.min.bytes"),
            *("fetch.max.bytes", "fetch.max.wait.ms", "receive.buffer.bytes", "send.buffer.bytes"),
            *("connections.max.idle.ms", "reconnect.backoff.ms", "reconnect.backoff.max.ms", "retry.backoff.ms"),
            *("retry.backoff.max.ms", "metadata.max.age.ms", "socket.connection.setup.timeout.ms"),
            *("socket.connection.setup.timeout.max.ms", "batch.size", "linger.ms", "max.request.size"),
            *("buffer.memory", "max.block.ms", "delivery.timeout.ms"),
        ),
        POSITIVE,
    ),
}

POSTGRES: Mapping[str, Kind] = {
    "ApplicationName": TEXT,
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslrootcert": TEXT,
    "sslNegotiation": ("postgres", "direct"),
    "channelBinding": ("disable", "prefer", "require"),
    "gssEncMode": ("disable", "allow", "prefer", "require"),
    "targetServerType": ("any", "primary", "secondary", "preferSecondary", "preferPrimary"),
    "readOnly": ("true", "false"),
    "tcpKeepAlive": ("true", "false"),
    **dict.fromkeys(
        (
            *("connectTimeout", "loginTimeout", "socketTimeout", "cancelSignalTimeout"),
            *("defaultRowFetchSize", "receiveBufferSize", "sendBufferSize", "prepareThreshold"),
        ),
        POSITIVE,
    ),
}


def looks_secret(name: str) -> bool:
    """Whether a key by this name would hold a password, a token or a key."""
    return bool(SECRET.search(name))


def wrong_option(name: str, value: str, allowed: Mapping[str, Kind]) -> str | None:
    """What is wrong with one property, in words; None where it may pass."""
    if name not in allowed:
        return f"not one of the properties that may be set{_nearest(name, allowed)}"
    kind = allowed[name]
    if isinstance(kind, tuple):
        return None if value in kind else f"one of: {', '.join(kind)}"
    fits = re.fullmatch(r"0*[1-9][0-9]{0,17}" if kind == POSITIVE else r"[^\x00-\x1f\x7f]+", value)
    return None if fits else kind


def _nearest(name: str, allowed: Mapping[str, Kind]) -> str:
    near = get_close_matches(name.removeprefix("kafka."), allowed, 1)
    return f" (nearest: {near[0]})" if near else f": {', '.join(sorted(allowed))}"
