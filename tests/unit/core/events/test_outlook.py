from __future__ import annotations

import pytest
from _outgoing import us

from jobs.core.events.outlook import Outlook, as_text

SOME = Outlook(3, 12_000, 7, us(0), us(5_400.5), 0)
DUE = "due from 2026-01-05T10:00:00.000000Z to 2026-01-05T11:30:00.500000Z, in the log's time"


@pytest.mark.parametrize(
    ("found", "speed", "said"),
    [
        (SOME, None, f"12,000 events of 7 streams to topic t\n{DUE}\nas fast as it goes"),
        (SOME, 1, f"12,000 events of 7 streams to topic t\n{DUE}\n1:30:00 at 1 times the log's speed"),
        (SOME, 0.05, f"12,000 events of 7 streams to topic t\n{DUE}\n1 day, 6:00:10 at 0.05 times the log's speed"),
        (
            Outlook(3, 1, 1, us(0), us(0), 0),
            10,
            "1 event of 1 stream to topic t\n"
            "due from 2026-01-05T10:00:00.000000Z to 2026-01-05T10:00:00.000000Z, in the log's time\n"
            "0:00:00 at 10 times the log's speed",
        ),
        (
            SOME,
            1e-300,
            f"12,000 events of 7 streams to topic t\n{DUE}\nmillions of years at 1e-300 times the log's speed",
        ),
        (Outlook(3, 0, 0, None, None, 0), 10, "no event of version 3 of the log is within the bounds"),
    ],
)
def test_it_says_what_when_and_how_long(found: Outlook, speed: float | None, said: str) -> None:
    assert as_text(found, "topic t", speed) == said


def test_it_says_what_is_sent_already() -> None:
    said = as_text(SOME._replace(sent=2_000), "topic t", None)
    assert said.startswith("12,000 events of 7 streams to topic t; 2,000 of them are sent already\n")
