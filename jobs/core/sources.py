"""Where records come from, all in one form, each with its coordinates.

RECORDS  key BINARY, value BINARY, headers ARRAY<STRUCT<key: STRING, value: BINARY>>, topic STRING, partition INT,
         offset BIGINT, timestamp TIMESTAMP                                            (kafka, file)
EVENTS   the source's own columns, then `_topic, _partition, _offset, _timestamp`      (delta, rate)

| source | topic | partition | offset |
| --- | --- | --- | --- |
| kafka | topic | partition | offset |
| file | the file's path | 0 | the line's first byte |
| delta | the data file's path | 0 | a hash of the row: identical rows of one file are one record |
| rate | rate | 0 | value |
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core import kafka
from jobs.core.config import JobConfig, KafkaSource, PathSource, RateSource
from jobs.core.errors import DependencyMissing
from jobs.core.files import Folder

RECORDS = """
    key BINARY, value BINARY, headers ARRAY<STRUCT<key: STRING, value: BINARY>>,
    topic STRING, partition INT, offset BIGINT, timestamp TIMESTAMP
"""
FILES = "path STRING, modificationTime TIMESTAMP, length BIGINT, content BINARY"
COORDINATES = ["_topic", "_partition", "_offset"]
EARLIEST, LATEST = -2, -1  # as Spark writes them among offsets


def read(spark: SparkSession, config: JobConfig) -> DataFrame:
    """The stream: RECORDS where the source is decoded, else EVENTS. Raises DependencyMissing."""
    source = config.source
    if source.kafka:
        return _kafka(spark, config, source.kafka)
    if source.file:
        return _files(spark, config, source.file)
    if source.delta:
        return _delta(spark, config, source.delta)
    assert source.rate, "the config has exactly one source"
    return _rate(spark, source.rate)


def topics(source: KafkaSource) -> list[str]:
    return [] if source.topic is None else [source.topic] if isinstance(source.topic, str) else list(source.topic)


def redrive_topics(config: JobConfig) -> list[str]:
    """The topic by which dead letters come again; none where the config has none."""
    letters = config.dead_letters
    return [letters.redrive.topic] if letters and letters.redrive else []


def subscribed(spark: SparkSession, config: JobConfig) -> list[str]:
    """The topics that the job reads now, the redrive topic last; none without a kafka source. Raises DependencyMissing."""
    source, broker = config.source.kafka, config.kafka
    if not source or not broker:
        return []
    named = kafka.matching(spark, broker, source.topic_pattern) if source.topic_pattern else topics(source)
    return [*named, *redrive_topics(config)]


def _kafka(spark: SparkSession, config: JobConfig, source: KafkaSource) -> DataFrame:
    assert config.kafka, "a kafka source comes with a broker"
    again = redrive_topics(config)
    stream = spark.readStream.format("kafka").options(**kafka.spark_options(config.kafka))
    stream = stream.option("includeHeaders", True).option("startingOffsets", _starting(spark, config, source))
    for option, value in _limits(config).items():
        stream = stream.option(option, value)
    return stream.option(*subscription(source, again)).load().drop("timestampType")


def subscription(source: KafkaSource, again: list[str]) -> tuple[str, str]:
    """What Spark is to subscribe to, as an option of its source."""
    if not source.topic_pattern:
        return "subscribe", ",".join([*topics(source), *again])
    return "subscribePattern", "|".join([source.topic_pattern, *map(re.escape, again)])


def _starting(spark: SparkSession, config: JobConfig, source: KafkaSource) -> str:
    """As the config says; the redrive topic from its beginning in any case, as what is in it was asked for."""
    given = source.starting_offsets
    if given == "earliest" or not (redrive_topics(config) and config.kafka):
        return given if isinstance(given, str) else json.dumps(given)
    places = kafka.spans(spark, config.kafka, subscribed(spark, config))
    at: dict[str, dict[str, int]] = {topic: {str(p): LATEST for p in ps} for topic, ps in places.items()}
    begins = {topic: dict.fromkeys(at[topic], EARLIEST) for topic in redrive_topics(config)}
    return json.dumps({**(given if isinstance(given, dict) else at), **begins})


def _limits(config: JobConfig) -> dict[str, int]:
    limits = {
        "maxOffsetsPerTrigger": config.scaling.max_offsets_per_trigger,
        "minPartitions": config.scaling.min_partitions,
    }
    return {option: value for option, value in limits.items() if value is not None}


def _files(spark: SparkSession, config: JobConfig, source: PathSource) -> DataFrame:
    _must_exist(spark, "folder", str(source.path))
    stream = spark.readStream.format("binaryFile").schema(FILES).option("pathGlobFilter", "[!._]*")
    if config.scaling.max_offsets_per_trigger:
        stream = stream.option("maxFilesPerTrigger", config.scaling.max_offsets_per_trigger)
    return stream.load(source.path).select("path", "content", "modificationTime").mapInArrow(split_lines, RECORDS)


def split_lines(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """(path, content, modificationTime) -> RECORDS, a record a line; blank lines are records too, a last newline is not."""
    for batch in batches:
        for path, content, modified in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield _lines(path, content, modified)


def _lines(path: str, content: bytes, modified: Any) -> pa.RecordBatch:
    lines = content.split(b"\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    if not lines[-1]:
        lines.pop()
    count = len(lines)
    headers = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
    columns = {
        "key": pa.nulls(count, pa.binary()),
        "value": pa.array([line.removesuffix(b"\r") for line in lines], pa.binary()),
        "headers": pa.nulls(count, headers),
        "topic": pa.array([path] * count, pa.string()),
        "partition": pa.array([0] * count, pa.int32()),
        "offset": pa.array(starts[:count], pa.int64()),
        "timestamp": pa.array([modified] * count, pa.timestamp("us", tz="UTC")),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _must_exist(spark: SparkSession, what: str, path: str) -> None:
    if not Folder(spark, path).exists():
        raise DependencyMissing(what, path, "there is nothing at this path")


def _delta(spark: SparkSession, config: JobConfig, source: PathSource) -> DataFrame:
    _must_exist(spark, "Delta table", str(source.path))
    stream = spark.readStream.format("delta")
    if config.scaling.max_offsets_per_trigger:
        stream = stream.option("maxFilesPerTrigger", config.scaling.max_offsets_per_trigger)
    rows = stream.load(source.path)
    place = (F.input_file_name(), F.lit(0), F.xxhash64(*rows.columns), F.lit(None).cast("timestamp"))
    return rows.select("*", *_coordinates(*place))


def _rate(spark: SparkSession, source: RateSource) -> DataFrame:
    stream = spark.readStream.format("rate").option("rowsPerSecond", source.rows_per_second).load()
    return stream.select("*", *_coordinates(F.lit("rate"), F.lit(0), F.col("value"), F.col("timestamp")))


def _coordinates(topic: Any, partition: Any, offset: Any, timestamp: Any) -> list[Any]:
    named = {"_topic": topic, "_partition": partition.cast("int"), "_offset": offset, "_timestamp": timestamp}
    return [column.alias(name) for name, column in named.items()]
