from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.core.decode_scalars import Number
from jobs.core.decode_scan import Malformed, Scanned, scan

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def test_a_value_is_read_with_its_numbers_as_they_were_written() -> None:
    found = scan(' {"a" : [1.50, true, null, "x\\n"], "b": {}} ', 64)
    assert found == Scanned({"a": ["1.50", True, None, "x\n"], "b": {}}, depth=2)
    assert isinstance(found.value, dict) and type(found.value["a"][0]) is Number


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ('{"a":1,"a":2}', {"duplicate": True, "depth": 1}),
        ('{"a":1,"\\u0061":2}', {"duplicate": True, "depth": 1}),
        ('[{"a":1},{"a":1}]', {"depth": 2}),
        ('["\\ud800"]', {"text": True, "depth": 1}),
        ('["\\ud83d\\ude00"]', {"depth": 1}),
        ('{"\\u0000":1}', {"text": True, "depth": 1}),
        ("[NaN, -Infinity]", {"not_finite": True, "depth": 1}),
        ("1 2", {"trailing": True}),
        ("{}{", {"trailing": True, "depth": 1}),
        ("[[[]]]", {"depth": 3}),
    ],
)
def test_what_a_json_library_hides_is_kept(text: str, flags: dict[str, Any]) -> None:
    found = scan(text, 64)
    assert found == Scanned(found.value, **flags)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "tru",
            "truex",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "-",
            "-NaN",
            "'a'",
            '"a',
            '"\\x41"',
            '"\t"',
            "/**/1",
            "\ufeff{}",
        ),
        *(
            "[1,]",
            "[1 2]",
            "[}",
            "{]",
            "]",
            "[",
            '{"a"}',
            '{"a":}',
            '{"a":1,}',
            "{1:2}",
            "{,}",
            '{"a" 1}',
            '{"a":1',
            "\x0c{}",
        ),
    ],
)
def test_what_is_not_json_is_malformed(text: str) -> None:
    with pytest.raises(Malformed, match="no JSON from character") as raised:
        scan(text, 64)
    assert raised.value.text is False


def test_bad_text_before_the_malformed_place_is_remembered() -> None:
    with pytest.raises(Malformed) as raised:
        scan('{"a":"\\u0000",', 64)
    assert raised.value.text is True


def test_below_the_limit_lists_keep_nothing_and_depth_is_still_counted() -> None:
    assert scan("[[[1,2],3],4]", 1).depth == 3
    assert scan("[" * 200_000 + "]" * 200_000, 64).depth == 200_000


@given(JSON)
def test_it_reads_what_python_writes(value: Any) -> None:
    found = scan(json.dumps(value), 1000)
    assert json.loads(json.dumps(found.value), parse_int=str) == json.loads(json.dumps(value), parse_int=str)
    assert not (found.trailing or found.duplicate)


@given(st.text(alphabet='{}[]",:\\u0 1enNaIfty-.\n\ud800', max_size=40))
def test_it_agrees_with_python_on_what_is_json(text: str) -> None:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    try:
        found = scan(text, 1000)
    except Malformed:
        found = Scanned(trailing=True)
    assert (value is None) is (found.trailing or found.value is None)
