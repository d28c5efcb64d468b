"""The tools of the fault tests: what the verdict finds, and that a point is reached once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from _faults import points
from _faults.verdict import Record, Row, problems

from jobs.core.enrichment.asking import Ask

GOOD = b'{"order_id": "o1", "customer_id": "c1"}'
SENT = [Record("t", 0, 0, GOOD), Record("t", 0, 1, b"{"), Record("t", 0, 2, GOOD)]
HEADERS = {
    "kafka_dlt-original-topic": b"t",
    "kafka_dlt-original-partition": bytes(4),
    "kafka_dlt-original-offset": (1).to_bytes(8, "big"),
}
LETTER = Record("dead", 0, 0, b"{", HEADERS)
FIRST, SECOND = (Row(("t", 0, offset), "o1", "c1", "gold", "v1") for offset in (0, 2))


def told(rows: list[Row], letters: list[Record], end: int = 3) -> list[str]:
    return problems(SENT, rows, letters, {"c1": {"gold"}}, {"0": end})


@pytest.mark.parametrize(
    ("rows", "letters", "said"),
    [
        ([FIRST, SECOND], [LETTER], []),
        ([FIRST, SECOND], [LETTER, LETTER], []),
        ([FIRST], [LETTER], ["1 records missing in the sink: 0/2"]),
        ([FIRST, SECOND, SECOND], [LETTER], ["1 records more than once in the sink: 0/2"]),
        (
            [FIRST, SECOND, Row(("t", 0, 1), "o1", "c1", "gold", "v1")],
            [LETTER],
            ["1 records in the sink, and should not be: 0/1"],
        ),
        (
            [FIRST, Row(("t", 0, 2), "o1", "c1", "lead", "v1")],
            [LETTER],
            ["1 records with wrong values in the sink: 0/2"],
        ),
        (
            [FIRST, Row(("t", 0, 2), "o2", "c1", "gold", "v1")],
            [LETTER],
            ["1 records with wrong values in the sink: 0/2"],
        ),
        ([FIRST, SECOND], [], ["1 records missing in the dead letters: 0/1"]),
        (
            [FIRST, SECOND],
            [Record("dead", 0, 0, b"}", HEADERS)],
            ["1 records with other bytes in the dead letters: 0/1"],
        ),
    ],
)
def test_what_the_verdict_finds(rows: list[Row], letters: list[Record], said: list[str]) -> None:
    assert told(rows, letters) == said


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (1.5, []),
        (None, ["1 records with wrong values in the sink: 0/0"]),
        (2.0, ["1 records with wrong values in the sink: 0/0"]),
    ],
)
def test_a_row_has_the_rate_of_its_currency(rate: float | None, said: list[str]) -> None:
    sent = [Record("t", 0, 0, b'{"order_id": "o1", "customer_id": "c1", "currency": "SEK"}')]
    row = Row(("t", 0, 0), "o1", "c1", "gold", "v1", rate)
    assert problems(sent, [row], [], {"c1": {"gold"}}, {"0": 1}, {"SEK": 1.5}.get) == said


def test_what_the_ledger_does_not_cover_yet_is_not_judged() -> None:
    assert told([FIRST], [], end=1) == []


@pytest.fixture
def armed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(points.FOLDER, str(tmp_path))
    points.arm(tmp_path, "written", "fail")
    return tmp_path


def test_a_fault_happens_once(armed: Path) -> None:
    points.reach("before_write")
    assert not points.was_hit(armed, "written") and points.hit_by(armed, "written") is None
    with pytest.raises(ConnectionResetError, match="a fault at written"):
        points.reach("written")
    assert points.was_hit(armed, "written") and points.hit_by(armed, "written") == os.getpid()
    points.reach("written")


def test_a_copy_is_halved(armed: Path) -> None:
    points.arm(armed, points.MID_COPY, "fail")
    halves, read = points.Halves(pa.BufferReader(b"abcdef")), []
    read.append(halves.read(100))
    with pytest.raises(ConnectionResetError):
        halves.read(100)
    read.append(halves.read(100))
    assert read == [b"abc", b"def"]


class Service:
    """Has an answer to every key."""

    @contextmanager
    def open(self) -> Iterator[Ask]:
        yield lambda keys: dict.fromkeys(keys, b"{}")


@dataclass
class Step:
    """As much of a lookup as is told whom to ask."""

    @dataclass
    class Asking:
        caller: Any

    asking: Asking


def test_a_lookup_is_interrupted_once_and_then_asks_as_before(armed: Path) -> None:
    points.arm(armed, points.MID_LOOKUP, "fail")
    service = Service()
    step, asked = Step(Step.Asking(service)), []

    def made(step: Step) -> None:
        with step.asking.caller.open() as ask:
            asked.append(ask(["k"]))

    interrupted = points._interrupted(made)
    with pytest.raises(ConnectionResetError, match="a fault at mid_lookup"):
        interrupted(step)
    interrupted(step)
    assert (asked, step.asking.caller) == ([{"k": b"{}"}], service)


def test_places_before_and_after(armed: Path) -> None:
    done: list[str] = []
    place: Any = points.Place(None, "", after=True)
    with pytest.raises(ConnectionResetError):
        points._wrapped(lambda: done.append("it"), place, "written")()
    assert done == ["it"]


def test_each_point_is_at_something_that_is_there() -> None:
    lost = [
        (point, place.name)
        for point, places in points.POINTS.items()
        for place in places
        if not callable(getattr(place.owner, place.name, None))
    ]
    assert lost == []
