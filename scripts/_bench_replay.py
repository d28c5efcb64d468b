"""Programs that fold one topic, or the log that it was appended to, into states by user; each in a process of its own.

seed       the loop that everybody writes first: kafka-python, json.loads, a dict; made to end
confluent  the same on confluent-kafka
declared   jobs/event_replay.py: build, check and swap, by rules
evolve     the same by a Python function
duckdb     the same fold on the log's Parquet files: what is possible without Spark, checks and a table that is swapped

Each measures its own work, without the start of its process and of Spark, and writes its states, which are compared.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from _bench_run import _cpu as cpu
from _setup import COMPARED
from rich.table import Table

FIELDS = ("user_id", "name", "email", "plan")
STATE = ", ".join(f"{name} STRING" for name in FIELDS)
FOLD = {"state": STATE, "events": {"user_created": "set", "user_updated": "merge"}}
LAST = "arg_max(json_extract_string(data, '$.{0}'), stream_version) FILTER (json_exists(data, '$.{0}')) AS {0}"
States = dict[str, dict[str, Any]]


def replay(servers: str, topic: str, log: str, folder: Path, events: int, rounds: int) -> Table:
    """So many rounds of all programs, in turns; medians, and ratios within a round."""
    took: dict[str, list[dict[str, float]]] = {name: [] for name in PROGRAMS}
    for number in range(rounds):
        for name in list(PROGRAMS) if number % 2 == 0 else list(PROGRAMS)[::-1]:
            place = folder / f"replay-{number}-{name}"
            place.mkdir()
            asked = {
                "program": name,
                "servers": servers,
                "topic": topic,
                "log": log,
                "folder": str(place),
                "events": events,
            }
            took[name].append(_run(asked))
        _compare([folder / f"replay-{number}-{name}" for name in PROGRAMS])
    shown = Table(
        "program", "events/s", "of the seed's", "of DuckDB's", "CPU s/million", "of the seed's", "of DuckDB's"
    )
    for name, each in took.items():
        cells = [f"{events / statistics.median(one['wall_s'] for one in each):,.0f}"]
        for key in ("wall_s", "cpu_s"):
            if key == "cpu_s":
                cells.append(f"{statistics.median(one[key] for one in each) / events * 1e6:.1f}")
            for other in ("seed", "duckdb"):
                ratios = [theirs[key] / ours[key] for theirs, ours in zip(took[other], each)]
                cells.append(f"{statistics.median(ratios):.2f}")
        shown.add_row(name, *cells)
    return shown


def _run(asked: dict[str, Any]) -> dict[str, float]:
    path = os.pathsep.join([os.environ[COMPARED], *sys.path[:1], os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, __file__, json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    if done.returncode:
        raise SystemExit(f"{asked['program']} failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def _compare(folders: Iterable[Path]) -> None:
    """Raises SystemExit where two have other states."""
    first, *others = folders
    wanted = _states(first)
    for other in others:
        if not _states(other).equals(wanted):
            raise SystemExit(f"{other.name} has other states than {first.name}")


def _states(folder: Path) -> pa.Table:
    return pq.read_table(folder / "states").select(FIELDS).sort_by("user_id").combine_chunks()


def _evolved(states: States, event: dict[str, Any]) -> None:
    data = event["data"]
    if event["event_type"] == "user_created":
        states[data["user_id"]] = data
    elif event["event_type"] == "user_updated":
        states.setdefault(data["user_id"], {}).update(data)


def seed(asked: dict[str, Any]) -> Callable[[], States]:
    from kafka import KafkaConsumer  # type: ignore[import-not-found, import-untyped, unused-ignore]

    def work() -> States:
        states: States = {}
        consumer = KafkaConsumer(asked["topic"], bootstrap_servers=asked["servers"], auto_offset_reset="earliest")
        for number, message in enumerate(consumer, 1):
            _evolved(states, json.loads(message.value))
            if number == asked["events"]:
                break
        consumer.close()
        return states

    return work


def confluent(asked: dict[str, Any]) -> Callable[[], States]:
    from confluent_kafka import Consumer

    def work() -> States:
        states: States = {}
        settings = {"bootstrap.servers": asked["servers"], "group.id": asked["folder"], "auto.offset.reset": "earliest"}
        consumer, left = Consumer(settings), asked["events"]
        consumer.subscribe([asked["topic"]])
        while left:
            for message in consumer.consume(10_000, 1.0):
                if message.error() is None:
                    _evolved(states, json.loads(message.value() or b"{}"))
                    left -= 1
        consumer.close()
        return states

    return work


def declared(asked: dict[str, Any]) -> Callable[[], None]:
    from jobs.core.events import projection
    from jobs.core.events.folds import Fold

    return _rebuild(asked, projection.declared(Fold.model_validate(FOLD), None, "pass"))


def evolve(asked: dict[str, Any]) -> Callable[[], None]:
    from jobs.core.events import projection

    return _rebuild(asked, projection.evolved(projection.Evolve(module="jobs.domain.users", state=STATE)))


def _rebuild(asked: dict[str, Any], fold: Any) -> Callable[[], None]:
    from jobs.core import layers
    from jobs.core.events.rebuilding import Rebuild, Request
    from jobs.core.session import session
    from jobs.event_replay import Config

    config = layers.load(Config, None, "local", (), os.environ, default_name="event_replay").config
    spark = session("bench", {**config.spark, "spark.ui.enabled": "false"})
    spark.sparkContext.setLogLevel("ERROR")
    folder = asked["folder"]
    spark.read.format("delta").load(asked["log"]).limit(1).collect()

    def work() -> None:
        Rebuild(spark, Request("bench", asked["log"], f"{folder}/live", f"{folder}/work", fold)).run()

    work.kept = lambda: spark.read.format("delta").load(f"{folder}/live").write.parquet(f"{folder}/states")  # type: ignore[attr-defined]
    return work


def duckdb(asked: dict[str, Any]) -> Callable[[], None]:
    import duckdb as engine  # type: ignore[import-not-found, unused-ignore]

    fields = ", ".join(LAST.format(name) for name in FIELDS)
    files = json.dumps([str(path) for path in Path(asked["log"]).glob("*.parquet")]).replace('"', "'")

    def work() -> None:
        query = f"SELECT {fields} FROM read_parquet({files}) GROUP BY stream_id"
        engine.sql(f"COPY ({query}) TO '{asked['folder']}/states' (FORMAT parquet)")

    return work


PROGRAMS: dict[str, Callable[[dict[str, Any]], Callable[[], Any]]] = {
    "seed": seed, "confluent": confluent, "declared": declared, "evolve": evolve, "duckdb": duckdb
}  # fmt: skip


def main() -> None:
    asked = json.loads(sys.argv[1])
    work = PROGRAMS[asked["program"]](asked)
    before, began = cpu()["cpu_s"], time.monotonic()
    found = work()
    took = {"wall_s": time.monotonic() - began, "cpu_s": cpu()["cpu_s"] - before}
    if found is not None:
        rows = [{name: state.get(name) for name in FIELDS} for state in found.values()]
        pq.write_table(
            pa.Table.from_pylist(rows, pa.schema([(name, pa.string()) for name in FIELDS])), f"{asked['folder']}/states"
        )
    getattr(work, "kept", lambda: None)()
    print(json.dumps(took))


if __name__ == "__main__":
    main()
