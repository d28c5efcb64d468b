"""Places that must not be one and the same: topics, folders, checkpoints; within a job and among jobs."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from itertools import combinations, permutations
from os.path import realpath
from typing import TYPE_CHECKING

from jobs.core.errors import Problem
from jobs.core.problems import Finding

if TYPE_CHECKING:
    from jobs.core.config import JobConfig, KafkaSource

Path = tuple[str, ...]
CHECKPOINT: Path = ("checkpoint",)
LEDGER: Path = ("ledger",)


def topics(config: JobConfig) -> Iterator[Finding]:
    """A job does not read what it writes, and no topic gets two kinds of records."""
    written = topics_written(config)
    for path, topic in written.items():
        pattern = config.source.kafka.topic_pattern if config.source.kafka else None
        if reads(config.source.kafka, topic):
            yield Finding(path, f"a topic that the source does not read ({pattern or topic})")
    for (path, topic), (other, beside) in combinations(written.items(), 2):
        if topic == beside:
            yield Finding(path, f"a topic apart from {'.'.join(other)} ({beside})")


def folders(config: JobConfig) -> Iterator[Finding]:
    """No folder of a job is, or lies in, another one; only the ledger may lie in the sink's."""
    places = {**_read(config), **_written(config)}
    for (path, place), (other, beside) in combinations(places.items(), 2):
        beside_sink = path == LEDGER and other[0] == "sink" and _inside(place, beside)
        if not beside_sink and overlap(place, beside):
            yield Finding(path, f"a folder apart from {'.'.join(other)} ({beside})")


def shared_checkpoints(configs: Mapping[str, JobConfig]) -> list[Problem]:
    """Checkpoints that are, or lie in, a folder that another job writes; keys are what to call each config."""
    return [
        _shared(name, config, other, path)
        for (name, config), (other, beside) in permutations(configs.items(), 2)
        for path, place in _written(beside).items()
        if overlap(config.checkpoint, place) and (path != CHECKPOINT or name < other)  # what is mutual is told once
    ]


def topics_written(config: JobConfig) -> dict[Path, str]:
    """Every topic that a job writes, by where the config says so."""
    sink, letters, late = config.sink.kafka, config.dead_letters, config.source.late
    redrive, retry = (letters.redrive, letters.retry) if letters else (None, None)
    places: dict[Path, str | None] = {
        ("dead_letters", "redrive", "parking_topic"): redrive.parking_topic if redrive else None,
        ("dead_letters", "redrive", "topic"): redrive.topic if redrive else None,
        **{
            ("dead_letters", "retry", "topics", str(n), "topic"): one.topic
            for n, one in enumerate(retry.topics if retry else [])
        },
        ("dead_letters", "kafka", "topic"): letters.kafka.topic if letters and letters.kafka else None,
        ("source", "late", "to", "kafka", "topic"): late.to.kafka.topic if late and late.to.kafka else None,
        ("sink", "kafka", "topic"): sink.topic if sink else None,
        **{("sink", "kafka", "topics", str(n)): topic for n, topic in enumerate(sink.topics if sink else [])},
    }
    return {path: topic for path, topic in places.items() if topic is not None}


def reads(source: KafkaSource | None, topic: str) -> bool:
    """Whether a topic is one of a source's."""
    if source is None:
        return False
    given = [source.topic] if isinstance(source.topic, str) else source.topic or []
    return topic in given or (source.topic_pattern is not None and bool(re.fullmatch(source.topic_pattern, topic)))


def shared_redrives(configs: Mapping[str, JobConfig]) -> list[Problem]:
    """Redrive, parking and retry topics that another job reads or writes; keys are what to call each config."""
    return [
        Problem(".".join(path), topic, f"a topic of its own; {other} uses it as {beside}", name)
        for (name, config), (other, another) in permutations(configs.items(), 2)
        for path, topic in topics_written(config).items()
        if {"redrive", "retry"} & {*path}
        for beside in _uses(another, topic)
    ]


def _uses(config: JobConfig, topic: str) -> Iterator[str]:
    if reads(config.source.kafka, topic):
        yield "source.kafka"
    yield from (".".join(path) for path, place in topics_written(config).items() if place == topic)


def overlap(place: str, other: str) -> bool:
    """Whether one of two folders is the other, or lies in it."""
    return _key(place) == _key(other) or _inside(place, other) or _inside(other, place)


def _inside(place: str, other: str) -> bool:
    return _key(place).startswith(_key(other).rstrip("/") + "/")


def _shared(name: str, config: JobConfig, other: str, path: Path) -> Problem:
    return Problem("checkpoint", config.checkpoint, f"a folder of its own; {other} has it as {'.'.join(path)}", name)


def _read(config: JobConfig) -> dict[Path, str]:
    source = config.source
    places = {
        ("source", "delta", "path"): source.delta.path if source.delta else None,
        ("source", "file", "path"): source.file.path if source.file else None,
        **config.read_beside(),
    }
    return {path: place for path, place in places.items() if place is not None}


def _written(config: JobConfig) -> dict[Path, str]:
    sink, letters, late = config.sink, config.dead_letters, config.source.late
    places = {
        CHECKPOINT: config.checkpoint,
        LEDGER: config.ledger,
        **config.parks(),
        ("dead_letters", "delta", "path"): letters.delta.path if letters and letters.delta else None,
        ("dead_letters", "key_order", "path"): letters.key_order.path if letters and letters.key_order else None,
        ("source", "late", "to", "delta", "path"): late.to.delta.path if late and late.to.delta else None,
        ("sink", "delta", "path"): sink.delta.path if sink.delta else None,
        ("sink", "parquet", "path"): sink.parquet.path if sink.parquet else None,
    }
    return {path: place for path, place in places.items() if place is not None}


def _key(place: str) -> str:
    """One spelling a folder: local ones absolute, URIs without doubled slashes."""
    scheme, colon, rest = place.partition(":")
    if not colon or "/" in scheme:
        return realpath(place)
    if scheme == "file":
        return realpath("/" + rest.lstrip("/"))
    return f"{scheme}:/{posixpath.normpath('/' + rest.lstrip('/'))}"
