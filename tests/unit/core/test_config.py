"""The models: frozen, strict, with defaults that stand by themselves, and a JSON Schema for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from _configs import VALID, Config, config, told
from pydantic import ValidationError

from jobs.core.config import (
    DeltaSink,
    JobConfig,
    Join,
    JoinConfig,
    Kafka,
    Postgres,
    Refresh,
    Repartition,
    Scaling,
    Sink,
    Source,
    Trigger,
    shared_checkpoints,
)
from jobs.core.errors import ConfigError
from jobs.core.overlaps import shared_checkpoints as same


def test_a_config_as_a_whole(tmp_path: Path) -> None:
    found = config(tmp_path)
    assert isinstance(found, JoinConfig)
    assert found.source.kafka
    assert found.source.kafka.topic == "orders"
    assert found.join == Join(on={"customer_id": "customer_id"}, how="left", on_miss="keep")
    assert found.sink == Sink(delta=DeltaSink(path="data/enriched"))
    assert (found.scaling, found.trigger, found.reference.refresh) == (Scaling(), Trigger(every="5s"), Refresh())
    assert found.postgres
    assert found.postgres.password
    assert found.postgres.password.get_secret_value() == "hunter2-canary"


def test_it_is_frozen_all_the_way(tmp_path: Path) -> None:
    found = config(tmp_path)
    for group, key in ((found, "job"), (found.source, "format"), (found.source.kafka, "topic"), (found.join, "how")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(group, key, "x")


def test_its_text_shows_no_secret(tmp_path: Path) -> None:
    found = config(tmp_path)
    assert "hunter2" not in f"{found!r} {found} {found.model_dump()} {found.model_dump_json()}"


@pytest.mark.parametrize(
    ("override", "path", "value", "hint"),
    [
        (
            "sink.console={}",
            "sink",
            "",
            "exactly one of delta, parquet, postgres, kafka, console, memory (given: delta and console",
        ),
        (
            "sink.delta=null",
            "sink",
            "",
            "exactly one of delta, parquet, postgres, kafka, console, memory (none is given)",
        ),
        (
            "sink={delta: null, postgres: {table: t, mode: upsert, version: v}}",
            "sink.postgres.key",
            "",
            "required with mode: upsert",
        ),
        (
            "sink={delta: null, postgres: {table: t, mode: upsert, key: [a]}}",
            "sink.postgres.version",
            "",
            "required with",
        ),
        (
            "sink={delta: null, postgres: {table: t, version: v}}",
            "sink.postgres.version",
            "v",
            "only with mode: upsert",
        ),
        ("sink.postgres.table=t; drop table t", "sink.postgres.table", "t; drop table t", "letters, digits and _ only"),
        ("source.rate={}", "source", "", "exactly one of kafka, delta, file, rate (given: kafka and rate"),
        ("dead_letters.delta.path=data/d", "dead_letters", "", "exactly one of kafka, delta (given: kafka and delta"),
        ("dead_letters.kafka=null", "dead_letters", "", "exactly one of kafka, delta (none is given)"),
        ("reference.delta={path: d, key: k}", "reference", "", "exactly one of jdbc, delta (given: jdbc and delta"),
        ("trigger.available_now=maybe", "trigger.available_now", "maybe", "true or false"),
        (
            "trigger={every: 1s, available_now: true}",
            "trigger",
            "",
            "exactly one of every, available_now (given: every and",
        ),
        ("trigger={available_now: false}", "trigger", "", "exactly one of every, available_now (none is given)"),
        ("trigger.once=true", "trigger.once", "true", "use available_now: true"),
        ("trigger.every=0s", "trigger.every", "0s", "a number with a unit"),
        ("scaling.repartition={}", "scaling.repartition", "", "by, count, or both"),
        ("scaling.min_partitions=0", "scaling.min_partitions", "0", "at least 1"),
        ("scaling.max_offsets_per_trigger=-5", "scaling.max_offsets_per_trigger", "-5", "at least 1"),
        ("join.how=outer", "join.how", "outer", "'inner' or 'left'"),
        ("source.format=xml", "source.format", "xml", "'json', 'csv', 'raw', 'avro' or 'event'"),
    ],
)
def test_what_a_group_refuses(tmp_path: Path, override: str, path: str, value: str, hint: str) -> None:
    found = told(tmp_path, override)
    assert found[:2] == (path, value)
    assert hint in found[2]


def test_a_trigger_may_be_changed_by_a_later_layer(tmp_path: Path) -> None:
    assert config(tmp_path, "trigger.available_now=true").trigger == Trigger(available_now=True)
    text_and_null = config(tmp_path, "trigger={every: null, available_now: true}").trigger
    assert text_and_null == Trigger(available_now=True)


def test_records_are_decoded_from_kafka_and_files_only() -> None:
    kinds: dict[str, Any] = {"kafka": {"topic": "t"}, "file": {"path": "d"}, "delta": {"path": "d"}, "rate": {}}
    schemas = {"kafka": "a INT", "file": "a INT"}
    made = {kind: Source(**{kind: settings}, schema=schemas.get(kind)) for kind, settings in kinds.items()}
    assert {kind: source.decoded for kind, source in made.items()} == {
        "kafka": True,
        "file": True,
        "delta": False,
        "rate": False,
    }


def test_a_job_that_joins_nothing_needs_no_reference() -> None:
    from jobs.core.config import JobConfig

    made = JobConfig(job="j", source={"rate": {}}, sink={"console": {}}, checkpoint="data/c")  # type: ignore[arg-type]
    assert (made.dead_letters, made.kafka, made.trigger.every) == (None, None, "5s")


def test_editors_get_a_schema() -> None:
    schema = Config.model_json_schema()
    groups = schema["$defs"]
    assert groups["Source"]["properties"].keys() >= {"kafka", "schema", "required", "max_record_bytes"}
    assert groups["Source"]["additionalProperties"] is False
    assert groups["Refresh"]["properties"]["every"]["pattern"] == "^[0-9]+(ms|s|m|h|d)$"
    assert groups["Postgres"]["properties"]["password"]["anyOf"][0]["anyOf"][0]["pattern"].startswith(r"^\$\{")
    assert set(schema["required"]) == {"job", "source", "sink", "checkpoint", "reference", "join"}


def test_names_are_found_in_one_place() -> None:
    assert shared_checkpoints is same
    assert {Kafka.__name__, Postgres.__name__, Repartition.__name__} == {"Kafka", "Postgres", "Repartition"}


FILES = {"source.kafka": "null", "source.file.path": "data/in"}
RATE = {"source.kafka": "null", "source.schema": "null", "source.rate.rows_per_second": "1", "dead_letters": "null"}
BY_VALUE = VALID.replace("customer_id: customer_id", "value: customer_id")
WAIT = {"join.on_miss": "wait", "join.wait_for": "1h", "join.parked": "data/parked"}


@pytest.mark.parametrize(
    ("sets", "how", "wrong"),
    [
        ({}, "from-ledger", None),
        ({}, "reprocess", None),
        (FILES, "reprocess", None),
        (FILES, "from-ledger", "reprocess: only a kafka source"),
        (RATE, "from-ledger", "nothing, as a rate source"),
        (RATE, "reprocess", "nothing, as a rate source"),
        (WAIT, "from-ledger", None),
        (WAIT, "reprocess", "from-ledger: records that waited"),
    ],
)
def test_how_a_job_may_recover(tmp_path: Path, sets: dict[str, str], how: Any, wrong: str | None) -> None:
    text = BY_VALUE if sets is RATE else VALID
    made = config(tmp_path, *(f"{key}={value}" for key, value in sets.items()), text=text)
    if wrong is None:
        assert (made.recovering(how).recover, made.recover, made.recovering(None).recover) == (how, None, None)
        return
    with pytest.raises(ConfigError, match=f"command line: --recover = {how}: {wrong}"):
        made.recovering(how)


def test_no_file_can_ask_for_a_recovery(tmp_path: Path) -> None:
    assert told(tmp_path, "recover=reprocess")[0] == "recover"


def test_only_a_job_that_seals_takes_personal_fields() -> None:
    whole = {
        "job": "j",
        "source": {"kafka": {"topic": "t"}, "format": "event", "personal": {}},
        "kafka": {"bootstrap_servers": "localhost:9092"},
        "sink": {"delta": {"path": "data/out"}},
        "dead_letters": {"kafka": {"topic": "t.dead"}},
        "checkpoint": "data/cp",
    }
    with pytest.raises(ValidationError, match="only for a job that seals it, as event_append does"):
        JobConfig.model_validate(whole)
