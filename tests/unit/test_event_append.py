from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.core import checks
from jobs.core.errors import ConfigError
from jobs.core.events import reading
from jobs.core.layers import load
from jobs.core.schema import parse_ddl
from jobs.event_append import Config

CONF = Path(__file__).resolve().parents[2] / "conf" / "event_append.yaml"


def config(*overrides: str) -> Config:
    loaded: Any = load(Config, CONF, None, overrides, {}, CONF.parent)
    return loaded.config  # type: ignore[no-any-return]


def test_the_config_that_comes_with_it_is_whole() -> None:
    found = config()
    assert (found.source.format, found.source.stream_field) == ("event", "user_id")
    assert (found.events.gaps, found.events.buckets) == ("reject", 4)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["source.format=json", "source.schema=id INT", "source.stream_field=null"], "source.format = json: event"),
        (["sink={delta: null, console: {}}"], "sink: delta.path: a log is a Delta table"),
        (["sink.delta.partition_by=[event_type]"], "sink.delta.partition_by = ['event_type']: no partitions"),
        (
            ["source.schema=id INT"],
            "source.schema = id INT: no schema: format event has its own: stream_id, stream_ver",
        ),
        (["source.required=[event_id]"], "source.required = ['event_id']: not with format: event"),
        (["source.timestamps=epoch_ms"], "source.timestamps = epoch_ms: not with format: event"),
        (["events.gaps=fill"], "events.gaps = fill: 'reject' or 'keep'"),
        (["events.buckets=0"], "events.buckets = 0: at least 1"),
        (["source.personal={}", "postgres=null"], "postgres: required with source.personal, for the keys"),
        (["source.format=raw", "source.personal={}"], "source.personal: only with format: event"),
        (["source.event_time=at"], "source.event_time = at: a column of the schema: stream_id, stream_version"),
    ],
)
def test_what_does_not_fit(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config(*overrides)
    assert said in str(refused.value)


def test_events_may_be_bounded_in_time() -> None:
    assert config("source.event_time=occurred_at", "source.max_future=5m").source.event_time == "occurred_at"


def test_a_config_knows_what_an_event_is() -> None:
    ddl = ", ".join(f"{f.name} {f.dataType.simpleString().upper()}" for f in reading.incoming("user_id"))
    assert parse_ddl(ddl) == checks.EVENT
