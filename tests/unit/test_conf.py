"""The configs that are shipped: each is right, in each environment, and says why."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from jobs.core.config import JoinConfig
from jobs.core.layers import CONF, load

SECRETS = {"POSTGRES_PASSWORD": "x"}
ROOT = CONF.parent


@pytest.mark.parametrize("env", [None, "local", "cluster"])
@pytest.mark.parametrize("name", ["stream_table_join", "seed_join"])
def test_the_shipped_configs_are_right(name: str, env: str | None) -> None:
    found = load(JoinConfig, CONF / f"{name}.yaml", env, (), SECRETS, CONF).config
    assert found.job == name
    assert found.dead_letters
    assert found.dead_letters.kafka
    assert found.source.kafka
    assert found.dead_letters.kafka.topic == f"{found.source.kafka.topic}.dead-letters"
    assert bool(found.spark) is bool(env)


def test_the_seeds_join_as_it_was() -> None:
    found = load(JoinConfig, CONF / "seed_join.yaml", None, (), SECRETS, CONF).config
    assert found.source.kafka
    assert found.reference.jdbc
    assert (found.source.kafka.topic, found.reference.jdbc.table) == ("stream-topic", "reference_table")
    assert (found.join.on, found.join.how, found.sink.console is not None) == ({"reference_id": "id"}, "inner", True)


@pytest.mark.parametrize("name", ["defaults.yaml", "env/local.yaml", "env/cluster.yaml"])
def test_every_shared_key_has_its_reason(name: str) -> None:
    lines = [line.strip() for line in (CONF / name).read_text().splitlines()]
    values = [line for line in lines if line and not line.startswith("#") and not line.endswith(":")]
    assert [line for line in values if " # " not in line] == []


def test_a_config_is_checked_in_under_a_second_and_without_spark() -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from jobs.core.config import JoinConfig\n"
        "from jobs.core.layers import load\n"
        "load(JoinConfig, Path('conf/stream_table_join.yaml'), 'local', (), {'POSTGRES_PASSWORD': 'x'}, Path('conf'))\n"
        "assert not {'pyspark', 'py4j'} & set(sys.modules)\n"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    took = time.monotonic() - began
    assert (done.returncode, done.stderr) == (0, "")
    assert took < 10, f"{took:.1f} s"  # 0.5 s on an idle machine; the bound leaves room for a busy one
