"""Servers that may be killed, and cases on them. README.md has the table of faults and where each is proven."""

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
    """A broker and a PostgreSQL server that no other test uses."""
    made = Servers(tmp_path_factory.mktemp("faults"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def cases(servers: Servers, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Case]:
    return lambda sink, **settings: Case(servers, spark, tmp_path_factory.mktemp(sink), sink, **settings)


@pytest.fixture
def case(cases: Callable[..., Case], request: Any) -> Case:
    """For a test that is parametrized by the sink."""
    return cases(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path
