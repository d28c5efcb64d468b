from __future__ import annotations

import pytest

from jobs.core.connections import Postgres
from jobs.core.postgres import arguments, jdbc_options, quoted

POSTGRES = Postgres.model_validate(
    {
        "url": "jdbc:postgresql://127.0.0.1:5433/shop?sslmode=disable",
        "user": "ann",
        "password": "s3cret",
        "options": {
            "ApplicationName": "stream",
            "connectTimeout": 7,
            "socketTimeout": 60,
            "targetServerType": "primary",
        },
        "timeouts": {"statement": "1m", "lock": "2s"},
    }
)


def test_a_connection_has_what_jdbc_has_and_time_outs() -> None:
    assert arguments(POSTGRES) == {
        "host": "127.0.0.1",
        "port": 5433,
        "dbname": "shop",
        "user": "ann",
        "password": "s3cret",
        "sslmode": "disable",
        "application_name": "stream",
        "connect_timeout": "7",
        "keepalives_idle": "30",
        "keepalives_interval": "10",
        "keepalives_count": "3",
        "tcp_user_timeout": "60000",
        "target_session_attrs": "primary",
        "options": "-c statement_timeout=60000 -c lock_timeout=2000 -c idle_in_transaction_session_timeout=600000",
    }


def test_jdbc_names_its_driver() -> None:
    assert jdbc_options(POSTGRES) == {
        "url": "jdbc:postgresql://127.0.0.1:5433/shop?sslmode=disable",
        "user": "ann",
        "password": "s3cret",
        "driver": "org.postgresql.Driver",
        "fetchsize": "10000",
        "ApplicationName": "stream",
        "connectTimeout": "7",
        "socketTimeout": "60",
        "targetServerType": "primary",
    }


@pytest.mark.parametrize(("name", "text"), [("t", '"t"'), ("s.t", '"s"."t"'), ('a"b', '"a""b"')])
def test_names_are_quoted(name: str, text: str) -> None:
    assert quoted(name) == text
