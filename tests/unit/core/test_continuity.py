from __future__ import annotations

import pytest

from jobs.core.continuity import ANOTHER, READ_AGAIN, carried, gone, refuse, replaced, topic_ids
from jobs.core.errors import Loss, SourceLost
from jobs.core.kafka import Standing
from jobs.core.ledger import Counts, Entry

HELD = Standing({"t": {0: (10, 20), 1: (0, 5)}}, {"t": "new"})


def entry(**note: str) -> Entry:
    return Entry("batch", "j", "q", 0, "[null]", "[null]", Counts(), "2026-01-05T00:00:00+00:00", {}, note)


@pytest.mark.parametrize(
    ("stands", "cause"),
    [
        ({("t", 0): 10}, None),
        ({("t", 0): 20, ("t", 1): 0}, None),
        ({}, None),
        ({("t", 0): 9}, "the job stands at offset 9, the broker has 10 to 20: 1 records are gone"),
        ({("t", 0): 21}, "the job stands at offset 21, the broker has 10 to 20: it was cut, or made anew"),
        ({("t", 2): 3}, "the job stands at offset 3, the broker has no such partition"),
        ({("u", 0): 3}, "the job stands at offset 3, the broker has no such topic"),
    ],
)
def test_what_is_gone(stands: dict[tuple[str, int], int], cause: str | None) -> None:
    assert [loss.cause for loss in gone(stands, HELD)] == ([cause] if cause else [])


@pytest.mark.parametrize(("ids", "lost"), [({"t": "old"}, [0, 1]), ({"t": "new"}, []), ({}, []), ({"u": "old"}, [])])
def test_a_topic_with_another_id_is_another_topic(ids: dict[str, str], lost: list[int]) -> None:
    found = [*replaced({("t", 0): 12, ("t", 1): 5}, ids, HELD)]
    assert [loss.partition for loss in found] == lost
    said = "the topic was deleted and made anew (id new, it was old); the job stands at offset 12, it has 10 to 20"
    assert [loss.cause for loss in found[:1]] == [said] * bool(lost)


def test_all_losses_are_told_of_but_for_very_many() -> None:
    losses = [Loss("t", number, "gone") for number in range(7)]
    refuse([], READ_AGAIN)
    with pytest.raises(SourceLost) as lost:
        refuse(losses, ANOTHER)
    assert str(lost.value).startswith("topic t, partition 0: gone; topic t, partition 1: gone; ")
    assert str(lost.value).endswith(f"partition 4: gone; and 2 partitions more. {ANOTHER}")
    assert (lost.value.exit_code, lost.value.losses) == (4, tuple(losses))


def test_ids_are_carried_by_every_record() -> None:
    noted = {"topics": '{"t": "new"}'}
    assert topic_ids(entry(**noted, other="x")) == {"t": "new"}
    assert carried(entry(**noted, other="x")) == noted
    assert (topic_ids(None), topic_ids(entry()), carried(None), carried(entry())) == ({}, {}, {}, {})
