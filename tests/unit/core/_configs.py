"""A config that is right, and what is wrong with it once something is changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from jobs.core.config import JoinConfig
from jobs.core.errors import ConfigError, Problem
from jobs.core.layers import Loaded, load


class Config(JoinConfig):
    """As a job has it."""


VALID = """\
job: enrich
kafka: {bootstrap_servers: "localhost:9092"}
postgres: {url: "jdbc:postgresql://localhost/db", user: reader, password: "${POSTGRES_PASSWORD}"}
source:
  kafka: {topic: orders}
  schema: order_id STRING, customer_id STRING, amount DECIMAL(10,2), ordered_at TIMESTAMP
reference:
  jdbc: {table: customers, key: customer_id, columns: [name, amount]}
join:
  on: {customer_id: customer_id}
sink:
  delta: {path: data/enriched}
dead_letters:
  kafka: {topic: orders.dead}
checkpoint: data/checkpoint
"""
SECRETS = {"POSTGRES_PASSWORD": "hunter2-canary"}


def loaded(folder: Path, *sets: str, text: str = VALID, environ: Mapping[str, str] | None = None) -> Loaded[Config]:
    """The config in `text` with `--set` arguments over it, in a folder that has nothing else."""
    (folder / "job.yaml").write_text(text, "utf-8")
    return load(Config, folder / "job.yaml", None, sets, {**SECRETS, **(environ or {})}, folder)


def config(folder: Path, *sets: str, text: str = VALID) -> Config:
    return loaded(folder, *sets, text=text).config


def problems(
    folder: Path, *sets: str, text: str = VALID, environ: Mapping[str, str] | None = None
) -> tuple[Problem, ...]:
    """All that is wrong; what was told shows no secret and ends a process with 2."""
    with pytest.raises(ConfigError) as failure:
        loaded(folder, *sets, text=text, environ=environ)
    assert failure.value.exit_code == 2
    assert SECRETS["POSTGRES_PASSWORD"] not in str(failure.value)
    return failure.value.problems


def told(folder: Path, *sets: str, text: str = VALID, environ: Mapping[str, str] | None = None) -> tuple[str, str, str]:
    """Path, value and hint of the one thing that is wrong."""
    found = problems(folder, *sets, text=text, environ=environ)
    assert len(found) == 1, found
    return found[0].path, found[0].value, found[0].allowed
