from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest
from pyspark.logger import SPARK_LOG_SCHEMA
from pyspark.sql import SparkSession

from jobs.core import logs

AT = 1_767_225_600.25  # 2026-01-01T00:00:00.250Z


@pytest.fixture
def bare_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The root logger as a fresh process has it."""
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.WARNING)


def line(message: str, *arguments: Any, **fields: Any) -> dict[str, Any]:
    record = logging.LogRecord("jobs.core.x", logging.INFO, "x.py", 1, message, arguments, fields.pop("exc_info", None))
    record.__dict__.update(fields, created=AT)
    found: dict[str, Any] = json.loads(logs.JsonLines("join").format(record))
    return found


def test_a_line_is_an_object_in_utc_with_its_job() -> None:
    assert line("%s rows", 3) == {
        "ts": "2026-01-01T00:00:00.250Z",
        "level": "INFO",
        "logger": "jobs.core.x",
        "msg": "3 rows",
        "context": {"job": "join"},
    }


def test_a_batch_and_a_call_add_their_fields() -> None:
    with logs.fields(query_id="q1", batch_id="3"):
        with logs.fields(phase="write"):
            assert line("x", context={"code": 4})["context"] == {
                **{"job": "join", "query_id": "q1", "batch_id": "3"},
                **{"phase": "write", "code": "4"},
            }
        assert line("x")["context"] == {"job": "join", "query_id": "q1", "batch_id": "3"}
    assert line("x")["context"] == {"job": "join"}


def test_spark_reads_its_lines(spark: SparkSession, tmp_path: Any) -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        written = line("it failed", exc_info=sys.exc_info(), context={"batch_id": 3})
    (tmp_path / "log").write_text(json.dumps(written) + "\n")
    row = (
        spark.read.schema(SPARK_LOG_SCHEMA)
        .json(str(tmp_path / "log"))
        .selectExpr("unix_millis(ts)", "level", "msg", "context", "exception.class", "exception.msg")
    )
    context = {"job": "join", "batch_id": "3"}
    assert [tuple(found) for found in row.collect()] == [
        (int(AT * 1000), "INFO", "it failed", context, "ValueError", "odd")
    ]


def test_json_goes_to_standard_error(bare_root: None, capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("join", "json")
    logging.getLogger("jobs.core.x").info("begun")
    logging.getLogger("py4j").info("chatter")
    (told,) = capsys.readouterr().err.splitlines()
    assert (json.loads(told)["msg"], json.loads(told)["context"]) == ("begun", {"job": "join"})


def test_text_is_as_it_was(bare_root: None, capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("join")
    logging.getLogger("jobs.core.x").warning("begun")
    assert capsys.readouterr().err.endswith(" WARNING jobs.core.x: begun\n")
