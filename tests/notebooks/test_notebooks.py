"""Every notebook is run to its end in a kernel of its own: on files, and on a real broker and a real database."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from _orders import customer, orders
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
CUSTOMERS = 100
LIMIT_S = 300  # for one cell, on a busy machine
MOST_CELLS = 10
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
STACK_VARIABLES = ("KAFKA_", "POSTGRES_", "RATES_", "PATTERNS__")


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def executed(path: Path) -> Any:
    """The notebook with its outputs, from a kernel of this Python that starts in the notebook's folder."""
    notebook = read(path)
    client = NotebookClient(
        notebook, timeout=LIMIT_S, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    )
    return client.execute()


def printed(notebook: Any) -> str:
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


def rendered(notebook: Any) -> str:
    """What rich shows, without its colours."""
    outputs = [output for cell in code(notebook) for output in cell.outputs if "data" in output]
    return "\n".join(COLOUR.sub("", output.data.get("text/plain", "")) for output in outputs)


def tables(text: str) -> list[str]:
    """The lines of all tables that Spark shows, with one bar and no spaces between cells."""
    return [re.sub(r" *\| *", "|", line).strip("|") for line in text.splitlines() if line.startswith("|")]


def images(notebook: Any) -> dict[str, int]:
    """The function of `charts` that a cell ends with -> how many pictures the cell shows."""
    drawn = {cell.source.splitlines()[-1]: cell.outputs for cell in code(notebook) if "charts." in cell.source}
    return {
        line.removeprefix("charts.").partition("(")[0]: sum("image/png" in output.get("data", {}) for output in outputs)
        for line, outputs in drawn.items()
        if line.startswith("charts.")
    }


def check(notebook: Any, *, read: int) -> None:
    """No cell failed (else nbclient raises), the plan broadcasts, everything read was accounted for, both charts are there."""
    text = printed(notebook)
    assert "BroadcastHashJoin" in text
    assert "SortMergeJoin" not in text
    assert f"the audit holds: True\nCounts(read={read}, " in text
    assert images(notebook) == {"dead_letters_by_reason": 1, "throughput_by_batch": 1}


@pytest.fixture
def no_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where the notebook makes its folder, which it leaves to be looked at
    for name in list(os.environ):
        if name.startswith(STACK_VARIABLES):
            monkeypatch.delenv(name)


@pytest.fixture
def on_stack(
    no_stack: None, stack: Any, broker: Any, table: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[bytes | None]], None]:
    """Sends orders to a topic, and points the notebook to it and to a table of customers."""

    def provide(values: list[bytes | None]) -> None:
        columns = (
            "customer_id text PRIMARY KEY, name text, segment text, country text, updated_at timestamptz DEFAULT now()"
        )
        customers = table(columns, [(*customer(number), "2026-11-23T00:00:00Z") for number in range(CUSTOMERS)])
        topic = broker.topic("orders", partitions=2)
        broker.send(topic, values[::2], partition=0)
        broker.send(topic, values[1::2], partition=1)
        places = {"PATTERNS__SOURCE__KAFKA__TOPIC": topic, "PATTERNS__REFERENCE__JDBC__TABLE": customers}
        for name, value in {**stack.environment(), **places}.items():
            monkeypatch.setenv(name, value)

    return provide


def test_there_are_notebooks() -> None:
    assert [path.name for path in NOTEBOOKS] == [
        "01_stream_table_join.ipynb",
        "02_fault_tolerance.ipynb",
        "03_event_sourcing.ipynb",
        "04_enrichment.ipynb",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_short_holds_no_logic_and_no_outputs(path: Path) -> None:
    cells = code(read(path))
    assert len(cells) <= MOST_CELLS
    assert [cell.outputs for cell in cells] == [[]] * len(cells)
    assert {cell.execution_count for cell in cells} == {None}
    words = [line.split()[0] for cell in cells for line in cell.source.splitlines() if line.strip()]
    assert not {"def", "class", "lambda", "while", "try:"} & set(words)


def test_the_stream_table_join_on_files(no_stack: None) -> None:
    notebook = executed(NOTEBOOKS[0])
    check(notebook, read=20_000)


def test_the_stream_table_join_on_the_stack(on_stack: Callable[[list[bytes | None]], None]) -> None:
    on_stack(list(orders(5_000, CUSTOMERS)))
    notebook = executed(NOTEBOOKS[0])
    check(notebook, read=5_000)


def test_fault_tolerance(no_stack: None) -> None:
    """Of 300 orders 30 are bad, and 90 of the others have an unknown customer."""
    notebook = executed(NOTEBOOKS[1])
    text = printed(notebook)
    assert "exit code -9\n" in text and "\n0 batches in the ledger\n" in text
    assert text.count("the audit holds: True\n") == 2
    assert "Done(redriven=90, parked=0, already=0)\nDone(redriven=0, parked=0, already=90)\n" in text
    assert images(notebook) == {"dead_letters_by_reason": 1}


EVENT_TABLES = """
stream_id|stream_version|event_type|data|_offset
u1|1|user_created|{"user_id":"u1","name":"Ann","email":"ann@example.org"}|0
u2|1|user_created|{"user_id":"u2","name":"Bo","email":"bo@example.org"}|1
u3|1|user_created|{"user_id":"u3","name":"Cy","email":"cy@example.org"}|2
u1|2|user_updated|{"user_id":"u1","name":"Anna"}|3
u2|2|user_updated|{"user_id":"u2","email":"bo@example.com"}|5
u1|3|user_updated|{"user_id":"u1","email":"anna@example.org"}|7
u3|2|user_deleted|{"user_id":"u3"}|8
_offset|reason|detail
6|VERSION_CONFLICT|$.expected_version: 1, and the stream is at 2
stream_id|stream_version|user_id|name|email
u1|3|u1|Anna|anna@example.org
u2|2|u2|Bo|bo@example.com
stream_id|name then|name now|email then|email now
u1|Ann|Anna|ann@example.org|anna@example.org
u2|Bo|Bo|bo@example.org|bo@example.com
u3|Cy|NULL|cy@example.org|NULL
stream_id|stream_version|user_id|name|email
u1|3|u1|Anna|anna@example.org
u2|2|u2|Bo|bo@example.com
"""


def test_event_sourcing(no_stack: None) -> None:
    """Of nine records one has an id for the second time, and one expects another version."""
    notebook = executed(NOTEBOOKS[2])
    text, shown = printed(notebook), rendered(notebook)
    assert tables(text) == EVENT_TABLES.strip().splitlines()
    assert "the audit holds: True\nCounts(read=9, written=7, filtered=0, dead_letters=1, " in text
    assert " duplicate=1, " in text
    assert re.search(r"version of the log before and after: (\d+) \1\n", text)
    assert re.search(r"u1  version 3 at .*\n(.*\n)*.*email: ann@example\.org → anna@example\.org", shown)
    assert re.search(r"streams changed: 2\n(.*\n)*│ u1 +│ changed │ name +│ \"Anna\" +│ null +│", shown)
    assert "the right fold and the live table are equal" in shown
    assert "a replay of the whole log and the table from a snapshot are equal" in shown
    assert images(notebook) == {"seconds_by_events": 1}


PRICES = """
order_id|product|ordered_at|price_today|price_then|is_right
o1|tea|2026-01-09 23:59:59|3.50|3.00|false
o2|tea|2026-01-10 00:00:00|3.50|3.50|true
o3|mug|2026-01-05 12:00:00|NULL|8.00|false
o4|mug|2026-01-20 12:00:00|NULL|NULL|true
o5|pen|2026-01-05 12:00:00|1.20|NULL|false
o6|pen|2026-01-09 12:00:00|1.20|1.20|true
"""


def test_enrichment(no_stack: None) -> None:
    """How many keys are still kept is a matter of seconds; what serves while the service is down, and what waits, is not."""
    notebook = executed(NOTEBOOKS[3])
    text = printed(notebook)
    assert "well {'fresh': 20} 20 calls, breaker closed\n" in text
    assert re.findall(r"down {'stale': 40, 'failed': \d+} \d+ calls, breaker (\w+)\n", text)[1:] == ["open", "open"]
    assert re.findall(r"breaker (\w+)\n", text)[-1] == "closed"
    assert re.findall(r"waiting: (\d+)\n", text) == ["0"] * 5 + ["5", "10", "15"] + ["0"] * 2
    assert "the audit holds: True\nCounts(read=370, written=370, " in text
    assert set(re.findall(r"^\|K0 .*\|(\w+) *\|$", text, re.MULTILINE)) >= {"fresh", "stale"}
    assert tables(text)[-7:] == PRICES.strip().splitlines()
    assert images(notebook) == {"lookups_by_batch": 1}
