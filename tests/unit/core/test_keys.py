"""How key paths are spelled, and what a typo was meant to be."""

from __future__ import annotations

import pytest
from _configs import Config
from pydantic import BaseModel, Field, SecretStr

from jobs.core.keys import fields, group, nearest, schema_paths, secret_paths, siblings, spell


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ("SOURCE__KAFKA__TOPIC", ("source", "kafka", "topic")),
        ("source__Schema", ("source", "schema")),
        ("SCALING__MAX_OFFSETS_PER_TRIGGER", ("scaling", "max_offsets_per_trigger")),
        ("KAFKA__OPTIONS__max.poll.records", ("kafka", "options", "max.poll.records")),
        ("JOIN__ON__Customer_ID", ("join", "on", "Customer_ID")),
        ("SPARK__a__b", ("spark", "a__b")),
        ("POSTGRES__PASSWORD__FILE", ("postgres", "password", "file")),
        ("SORCE__TOPIC", ("sorce", "topic")),
        ("SPARK", ("spark",)),
    ],
)
def test_variables(words: str, path: tuple[str, ...]) -> None:
    assert spell(Config, words.split("__"), any_case=True, joiner="__") == path


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ("source.kafka.topic", ("source", "kafka", "topic")),
        ("Source.kafka.topic", ("Source", "kafka", "topic")),
        ("spark.spark.sql.shuffle.partitions", ("spark", "spark.sql.shuffle.partitions")),
        ("kafka.options.max.poll.records", ("kafka", "options", "max.poll.records")),
        ("source.kafka.starting_offsets.my.topic.0", ("source", "kafka", "starting_offsets", "my.topic", "0")),
        ("source.kafka.starting_offsets.orders", ("source", "kafka", "starting_offsets", "orders")),
        ("source.timestamps.ordered_at", ("source", "timestamps", "ordered_at")),
        ("a..b", ("a", "", "b")),
    ],
)
def test_arguments(words: str, path: tuple[str, ...]) -> None:
    assert spell(Config, words.split("."), any_case=False, joiner=".") == path


def test_secrets_and_schemas_are_known_by_their_types() -> None:
    security = ("kafka", "security")
    assert secret_paths(Config).paths == {
        (*security, "password"),
        (*security, "truststore_password"),
        (*security, "keystore_password"),
        ("postgres", "password"),
    }
    assert schema_paths(Config).paths == {("source", "schema")}


def test_groups_and_their_keys() -> None:
    trigger = group(fields(Config)["trigger"])
    assert trigger
    assert list(fields(trigger)) == ["every", "available_now", "once"]
    assert siblings(Config, ("trigger",)) == ["every", "available_now", "once"]
    assert siblings(Config, ("job",)) == siblings(Config, ("nope", "x")) == []


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        (("sorce",), "unknown key; nearest: source"),
        (("source", "kafka", "topics"), "unknown key; nearest: source.kafka.topic"),
        (("source", "Format"), "unknown key; nearest: source.format"),
        (("source", "topic"), "unknown key here; known as source.kafka.topic and source.late.to.kafka.topic"),
        (("trigger", "zzz"), "unknown key; known here: every, available_now, once"),
    ],
)
def test_the_nearest_key(path: tuple[str, ...], hint: str) -> None:
    assert nearest(Config, path) == hint


class Service(BaseModel):
    schema_: str = Field("", alias="schema")
    headers: dict[str, SecretStr] = {}


class Step(BaseModel):
    service: Service | None = None


class Chain(BaseModel):
    steps: dict[str, Step] = {}


def test_groups_under_names_of_their_own() -> None:
    found = spell(Chain, ["STEPS", "RATE", "SERVICE", "HEADERS", "X-Token"], any_case=True, joiner="__")
    assert found == ("steps", "rate", "service", "headers", "X-Token")
    assert spell(Chain, ["steps", "Rate", "service", "schema"], any_case=False, joiner=".") == (
        "steps",
        "Rate",
        "service",
        "schema",
    )
    assert spell(Chain, ["STEPS"], any_case=True, joiner="__") == ("steps",)
    assert siblings(Chain, ("steps", "rate", "service")) == ["schema", "headers"]
    assert nearest(Chain, ("steps", "rate", "servise")) == "unknown key; nearest: steps.rate.service"


def test_places_under_any_name() -> None:
    secrets, schemas = secret_paths(Chain), schema_paths(Chain)
    assert ("steps", "rate", "service", "headers", "X") in secrets
    assert ("steps", "rate", "service", "headers") not in secrets
    assert ("steps", "rate", "service", "schema", "X") not in secrets
    data = {"steps": {"a": {"service": {"schema": "x.ddl"}}, "b": {"service": None}, "c": 7}}
    assert list(schemas.within(data)) == [("steps", "a", "service", "schema")]
