"""The types of single values in a config: each takes only what it names, and says so when given something else."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    SecretStr,
)
from pydantic import WithJsonSchema as JsonSchema
from pydantic_core import CoreSchema, core_schema

from jobs.core import urls

if TYPE_CHECKING:
    from typing_extensions import Self

UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
UNIT_BYTES = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
MAX_MS = 3650 * UNIT_MS["d"]
DURATION = "a number with a unit, from 1ms to 3650d: 500ms, 30s, 10m, 1h, 1d"
BYTES = "a number of bytes of at least 1, plain or with a unit: 1048576, 64KiB, 1MiB, 1GiB"
IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]{0,127}"
OFFSETS = "earliest, latest, or {topic: {partition: offset}} (-2 is the earliest offset, -1 the latest)"
SCHEMES = ("hdfs", "s3a", "abfss", "gs", "file", "dbfs")


class Duration(str):
    """A length of time, as written: `500ms`, `30s`, `10m`, `1h`, `1d`."""

    def __new__(cls, text: str) -> Self:
        found = re.fullmatch(r"([0-9]{1,12})(ms|s|m|h|d)", text) if isinstance(text, str) else None
        if not found or not 0 < int(found[1]) * UNIT_MS[found[2]] <= MAX_MS:
            raise ValueError(DURATION)
        return super().__new__(cls, text)

    @property
    def ms(self) -> int:
        number = self.rstrip("mshd")
        return int(number) * UNIT_MS[self[len(number) :]]

    @property
    def seconds_total(self) -> float:
        return self.ms / 1_000

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls, serialization=core_schema.to_string_ser_schema())

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "description": DURATION}


class Bytes(int):
    """A size in bytes, from `1MiB` or a plain number."""

    def __new__(cls, value: str | int) -> Self:
        found = re.fullmatch(r"([0-9]{1,15})(|B|KiB|MiB|GiB)", str(value)) if type(value) in (str, int, cls) else None
        size = int(found[1]) * UNIT_BYTES[found[2]] if found else 0
        if not 0 < size < 1 << 62:
            raise ValueError(BYTES)
        return super().__new__(cls, size)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        text = {"type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)?$"}
        return {"anyOf": [{"type": "integer", "minimum": 1}, text], "description": BYTES}


def _matching(pattern: str, allowed: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(allowed)
        return text

    return AfterValidator(check)


def _topic(text: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", text) or text in (".", ".."):
        raise ValueError("a topic's name: 1 to 249 of a-z A-Z 0-9 . _ -, and not . or ..")
    return text


def _data_path(text: str) -> str:
    scheme, colon, rest = text.partition(":")
    if not colon or "/" in scheme:
        scheme, rest = "", text
    if scheme and scheme not in SCHEMES:
        raise ValueError(f"a path, plain or as a URI with one of the schemes {', '.join(SCHEMES)}")
    if not rest.strip("/ ") or re.search(r"[\x00-\x1f\x7f\\*?{}\[\]]", text):
        raise ValueError(
            "a path that names one folder: not empty, not the root, without wildcards and control characters"
        )
    if ".." in PurePosixPath(unquote(rest)).parts:
        raise ValueError("a path without `..`")
    if re.search(r"//[^/]*:[^/]*@", text):
        raise ValueError("a path without user and password; credentials come from the cluster's own providers")
    return text


def _whole(value: object) -> object:
    is_whole = not isinstance(value, (bool, float))
    if not is_whole:
        raise ValueError("a whole number")
    return value


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number")
    return value


def _as_text(value: object) -> object:
    """Numbers and booleans of YAML, as the properties of Java write them."""
    if not isinstance(value, dict):
        return value
    return {
        k: str(v).lower() if isinstance(v, bool) else str(v) if isinstance(v, (int, float)) else v
        for k, v in value.items()
    }


def _offsets(value: object) -> str | dict[str, dict[str, int]]:
    if value in ("earliest", "latest"):
        return str(value)
    if not isinstance(value, dict) or not value:
        raise ValueError(OFFSETS)
    return {_topic(str(topic)): _by_partition(given) for topic, given in value.items()}


def _by_partition(given: object) -> dict[str, int]:
    if not isinstance(given, dict) or not given:
        raise ValueError(OFFSETS)
    found = {str(partition): str(offset) for partition, offset in given.items()}
    if not all(
        re.fullmatch(r"0|[1-9][0-9]{0,8}", p) and re.fullmatch(r"-[12]|[0-9]{1,18}", o) for p, o in found.items()
    ):
        raise ValueError(OFFSETS)
    return {partition: int(offset) for partition, offset in found.items()}


def _sql(text: str) -> str:
    if not text.strip():
        raise ValueError("an SQL expression that is true for good records")
    return text


def _one_line(text: str) -> str:
    if not text.strip() or re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError("one line of text, not empty")
    return text


Offsets = Annotated[
    str | dict[str, dict[str, int]],
    PlainValidator(_offsets, json_schema_input_type=Literal["earliest", "latest"] | dict[str, dict[str, int]]),
]
Sql = Annotated[str, AfterValidator(_sql)]
Line = Annotated[str, AfterValidator(_one_line)]
Column = Annotated[str, _matching(IDENTIFIER, "a column name: letters, digits and _, not beginning with a digit")]
Name = Annotated[
    str,
    _matching(r"[A-Za-z_][A-Za-z0-9_]{0,62}", "a name of up to 63 letters, digits and _, not beginning with a digit"),
]
TableName = Annotated[
    str, _matching(rf"({IDENTIFIER}\.)?{IDENTIFIER}", "a table, or schema.table: letters, digits and _ only")
]
Topic = Annotated[str, AfterValidator(_topic)]
DataPath = Annotated[str, AfterValidator(_data_path)]
JdbcUrl = Annotated[str, AfterValidator(urls.jdbc)]
HttpUrl = Annotated[str, AfterValidator(urls.http)]
Servers = Annotated[str, AfterValidator(urls.servers)]
Whole = Annotated[int, BeforeValidator(_whole)]
Year = Annotated[Whole, Field(ge=1, le=9999)]
Count = Annotated[Whole, Field(ge=1, le=2**31 - 1)]
Share = Annotated[float, BeforeValidator(_number), Field(gt=0, le=1)]
Amount = Annotated[Whole, Field(ge=0, le=2**63 - 1)]
Port = Annotated[Whole, Field(ge=0, le=65535)]
Host = Annotated[
    str, _matching(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}", "a host name or an address, without a port")
]
Properties = Annotated[
    dict[str, str], BeforeValidator(_as_text, json_schema_input_type=dict[str, str | int | float | bool])
]
Secret = Annotated[
    SecretStr,
    JsonSchema(
        {
            "description": "${VARIABLE}, or the file that holds it; never the secret itself",
            "anyOf": [
                {"type": "string", "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*(:-)?\}$"},
                {
                    "type": "object",
                    "properties": {"file": {"type": "string"}},
                    "required": ["file"],
                    "additionalProperties": False,
                },
            ],
        }
    ),
]
