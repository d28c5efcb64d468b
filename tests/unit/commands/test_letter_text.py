from __future__ import annotations

import json
from typing import Any

from pyspark.sql import Row

from jobs.commands import letter_text
from jobs.core.redrive import Done

PLACE = {
    "topic": "orders",
    "partition": 0,
    "offset": 5,
    "timestamp": None,
    "reason": "FUTURE",
    "detail": "$.a: \x1b[2J",
}
LISTED = Row(**PLACE, attempt=2, rejected_at="2026-01-02T03:04:05.000Z", bytes=None)


def letter(key: Any, value: Any, headers: Any) -> Row:
    return Row(
        **PLACE, attempt=2, rejected_at="2026-01-02T03:04:05.000Z", job="join", key=key, value=value, headers=headers
    )


def test_a_line_says_where_and_why_and_cannot_move_the_cursor() -> None:
    assert (
        letter_text.line(LISTED, as_json=False)
        == "2026-01-02T03:04:05.000Z  orders 0 5  FUTURE  attempt 2  no value  $.a: \\x1b[2J"
    )
    assert json.loads(letter_text.line(LISTED, as_json=True)) == LISTED.asDict()


def test_a_whole_letter_is_text_where_it_is_and_else_hex() -> None:
    headers = [
        Row(key="trace", value=bytearray(b"\xff")),
        Row(key="a\n", value=None),
        Row(key="t", value=bytearray(b"1")),
    ]
    found = letter_text.whole(letter(None, bytearray(b'{\n"a": "\xc3\xa4"}'), headers), as_json=False)
    assert found.splitlines() == [
        "topic       orders",
        "partition   0",
        "offset      5",
        "timestamp   -",
        "reason      FUTURE",
        "detail      $.a: \\x1b[2J",
        "attempt     2",
        "rejected_at 2026-01-02T03:04:05.000Z",
        "job         join",
        "key         null",
        "header      trace: hex ff",
        "header      a\\n: null",
        "header      t: 1",
        "value       {",
        '"a": "ä"}',
    ]


def test_a_value_that_would_steer_a_terminal_is_hex() -> None:
    assert letter_text.whole(letter(None, bytearray(b"\x1b[2J"), None), as_json=False).endswith(
        "value       hex 1b5b324a"
    )


def test_a_whole_letter_for_programs() -> None:
    found = json.loads(letter_text.whole(letter(bytearray(b"k"), bytearray(b"\xff"), None), as_json=True))
    assert (found["key"], found["value"], found["headers"], found["attempt"]) == ({"text": "k"}, {"hex": "ff"}, [], 2)


def test_counts_are_told_by_each_group_and_in_all() -> None:
    found = [
        Row(reason="FUTURE", attempt=1, day="2026-01-02", n=3),
        Row(reason="FUTURE", attempt=2, day="2026-01-03", n=1),
        Row(reason="MALFORMED", attempt=1, day="2026-01-03", n=2),
    ]
    assert [line.split() for line in letter_text.counts(found, as_json=False).splitlines()] == [
        ["reason", "FUTURE", "4"],
        ["reason", "MALFORMED", "2"],
        ["attempt", "1", "5"],
        ["attempt", "2", "1"],
        ["day", "2026-01-02", "3"],
        ["day", "2026-01-03", "3"],
        ["all", "6"],
    ]
    assert json.loads(letter_text.counts(found, as_json=True)) == {
        "dead_letters": 6,
        "reason": {"FUTURE": 4, "MALFORMED": 2},
        "attempt": {"1": 5, "2": 1},
        "day": {"2026-01-02": 3, "2026-01-03": 3},
    }


def test_what_a_redrive_did() -> None:
    assert letter_text.sent(Done(2, 1, 4), dry_run=True, as_json=False) == (
        "dry run: redriven 2, parked 1, sent before 4"
    )
    assert letter_text.sent(Done(2, 1, 4), dry_run=False, as_json=False) == "redriven 2, parked 1, sent before 4"
    told = {"redriven": 2, "parked": 1, "already": 4, "dry_run": False}
    assert json.loads(letter_text.sent(Done(2, 1, 4), dry_run=False, as_json=True)) == told
