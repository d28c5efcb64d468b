"""Servers that may be killed, and cases on them, of each kind (`_faults.kinds`). README.md says where which fault is proven."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from _faults.case import Case
from _faults.servers import Servers
from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """A broker, a PostgreSQL server and a service of rates that no other test uses."""
    made = Servers(tmp_path_factory.mktemp("faults"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def cases(servers: Servers, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Case]:
    return lambda kind, **settings: Case(servers, spark, tmp_path_factory.mktemp(kind), kind, **settings)


@pytest.fixture
def case(cases: Callable[..., Case], request: Any) -> Case:
    """For a test that is parametrized by the kind."""
    return cases(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path
