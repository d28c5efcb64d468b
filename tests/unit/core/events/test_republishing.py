"""A republishing into a topic that remembers what it was sent, by a clock that moves when it is waited for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from _clocks import Clock, Waits
from _outgoing import event, us
from pyspark.sql import DataFrame, SparkSession

from jobs.core.errors import ConfigError, DependencyMissing, LeaseLost, SinkFailed
from jobs.core.events.bounds import Bounds
from jobs.core.events.envelope import EVENT
from jobs.core.events.outgoing import IN_ORDER
from jobs.core.events.outlook import Outlook
from jobs.core.events.republishing import Republisher, Request
from jobs.core.events.skips import Skip

LOG = (
    event("a", 1, 0),
    event("a", 2, 0.5),
    event("b", 1, 0.75),
    event("a", 3, 30),
    event("b", 2, -5),
    event("b", 3, 30.25, event_type="f"),
)
STEPS = [["a-1", "a-2", "b-1", "b-2"], ["a-3", "b-3"]]  # of a second each


class Sent:
    """A topic: the ids of each step, and when it came; it may fail after a step."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.fails_at, self.own_id = clock, -1, "first"
        self.steps: list[list[str]] = []
        self.at_s: list[float] = []
        self.numbers: list[int] = []

    def id(self) -> str:
        return self.own_id

    def send(self, outgoing: DataFrame, events: int, step: int) -> None:
        ids = [row["event_id"] for row in outgoing.orderBy(*IN_ORDER).collect()]
        assert len(ids) == events
        self.steps.append(ids)
        self.at_s.append(self.clock.now)
        self.numbers.append(step)
        if len(self.steps) - 1 == self.fails_at:
            raise SinkFailed("topic", step, "as told")

    @property
    def ids(self) -> list[str]:
        return [one for step in self.steps for one in step]


class Place:
    """A log, and starts of one request."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder, self.clock = spark, folder, Clock()
        self.topic, self.began = Sent(self.clock), self.clock.now
        self.request = Request("j", f"{folder}/log", "b:9092", "out", f"{folder}/work", speed=1, every_s=1)

    def log(self, *events: tuple[Any, ...]) -> None:
        self.spark.createDataFrame(list(events), EVENT).write.format("delta").mode("append").save(self.request.log)

    def made(self, stopping: Waits | None = None, lease: Any = None, **changed: Any) -> Republisher:
        stops = stopping or Waits(self.clock)
        return Republisher(self.spark, replace(self.request, **changed), self.topic, lease, self.clock, stops)

    def left(self) -> list[str]:
        work = self.folder / "work"
        return sorted(file.name for file in work.iterdir()) if work.exists() else []


def raising(error: type[BaseException]) -> Callable[..., None]:
    def act(*_: object) -> None:
        raise error

    return act


@pytest.fixture
def place(spark: SparkSession, tmp_path: Path) -> Place:
    made = Place(spark, tmp_path)
    made.log(*LOG)
    return made


def test_events_go_out_when_they_are_due_and_nothing_is_left(place: Place) -> None:
    place.made().run()
    assert place.topic.steps == STEPS
    assert [at - place.began for at in place.topic.at_s] == pytest.approx([0.75, 30.25])
    assert place.left() == []


def test_twice_as_fast_takes_half_the_time(place: Place) -> None:
    place.made(speed=2).run()
    assert place.topic.steps == STEPS
    assert [at - place.began for at in place.topic.at_s] == pytest.approx([0.375, 15.125])


def test_at_full_speed_a_step_is_a_chunk(place: Place) -> None:
    place.made(speed=None).run()
    assert place.topic.steps == [[*STEPS[0], *STEPS[1]]]
    assert place.topic.at_s == [place.began]
    place.made(speed=None, events=2).run()
    assert len(place.topic.steps) > 2
    assert place.topic.ids[6:] == place.topic.ids[:6]


def test_a_start_goes_on_behind_the_last_step_that_was_remembered(place: Place) -> None:
    """What was in flight is sent again; the log's later events are for another republishing; the speed may be another."""
    place.topic.fails_at = 1
    with pytest.raises(SinkFailed):
        place.made().run()
    place.log(event("c", 1, 60))
    place.made(speed=None).run()
    assert place.topic.steps == [STEPS[0], STEPS[1], STEPS[1]]
    assert place.topic.numbers == [0, 1, 1]
    place.made(speed=None).run()
    assert place.topic.ids[-7:] == [*STEPS[0], *STEPS[1], "c-1"]


def test_the_pace_is_set_by_the_first_event_that_a_start_sends(place: Place) -> None:
    place.topic.fails_at = 1
    with pytest.raises(SinkFailed):
        place.made().run()
    again = place.clock.now
    place.made().run()
    assert place.topic.at_s[-1] - again == pytest.approx(0.25)


def test_it_ends_between_steps_where_it_is_asked_to_and_goes_on(place: Place) -> None:
    place.made(Waits(place.clock, interrupted=2)).run()
    assert place.topic.steps == STEPS[:1]
    assert place.left() != []
    place.made().run()
    assert place.topic.steps == STEPS
    assert place.left() == []


def test_a_kill_before_all_is_dropped_sends_nothing_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = place.made(speed=None)
    monkeypatch.setattr(killed._progress, "forget", lambda: None)
    killed.run()
    assert place.left() != []
    place.made(speed=None).run()
    place.made(speed=1).run()
    assert len(place.topic.steps) == 1 + 2


def test_a_build_that_was_killed_is_made_again_of_the_same_version(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = place.made(speed=None)
    monkeypatch.setattr(killed._progress, "built", raising(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    place.log(event("c", 1, 60))
    place.made(speed=None).run()
    assert place.topic.steps == [[*STEPS[0], *STEPS[1]]]


def test_another_request_begins_anew_and_drops_what_was_left(place: Place) -> None:
    place.topic.fails_at = 0
    with pytest.raises(SinkFailed):
        place.made().run()
    place.made(speed=None, bounds=Bounds(types=("f",))).run()
    assert place.topic.steps[1:] == [["b-3"]]
    assert place.left() == []


def test_another_log_at_the_same_place_begins_anew(place: Place) -> None:
    place.topic.fails_at = 0
    with pytest.raises(SinkFailed):
        place.made().run()
    (place.folder / "log").rename(place.folder / "old")
    place.log(event("z", 1))
    place.made().run()
    assert place.topic.steps[1:] == [["z-1"]]


def test_another_topic_of_the_same_name_gets_all_of_it(place: Place) -> None:
    place.topic.fails_at = 1
    with pytest.raises(SinkFailed):
        place.made().run()
    place.topic.own_id = "second"
    place.made(speed=None).run()
    assert place.topic.ids[6:] == place.topic.ids[:6]


def test_only_what_is_within_the_bounds_goes_out(place: Place) -> None:
    skips = (Skip(event_id="a-2", reason="r"),)
    place.made(speed=None, bounds=Bounds(until_version=2, streams=("a", "b"), skips=skips)).run()
    assert place.topic.ids == ["a-1", "b-1", "b-2"]
    place.made(speed=None, bounds=Bounds(streams=("nobody",))).run()
    assert (len(place.topic.steps), place.left()) == (1, [])


def test_what_would_be_sent_is_known_before(place: Place) -> None:
    assert place.made().outlook() == Outlook(0, 6, 2, us(0), us(30.25), 0)
    assert place.made(bounds=Bounds(streams=("c",))).outlook() == Outlook(0, 0, 0, None, None, 0)
    assert (place.topic.steps, place.left()) == ([], [])
    place.topic.fails_at = 1
    with pytest.raises(SinkFailed):
        place.made().run()
    place.log(event("c", 1, 60))
    assert place.made().outlook() == Outlook(0, 6, 2, us(0), us(30.25), 4)


def test_the_short_shape_is_refused_where_the_log_came_from(place: Place) -> None:
    said = "into.shape = short: envelope: the log has events that came from topic events"
    for ask in (Republisher.run, Republisher.outlook):
        with pytest.raises(ConfigError, match=said):
            ask(place.made(shape="short", topic="events"))
    assert (place.topic.steps, place.left()) == ([], [])
    place.made(topic="events", speed=None).run()
    place.made(shape="short", speed=None).run()
    assert len(place.topic.steps) == 2


def test_what_is_not_there_is_named(place: Place) -> None:
    with pytest.raises(DependencyMissing, match="event log .*/nowhere unreachable"):
        place.made(log=f"{place.folder}/nowhere").run()
    with pytest.raises(ConfigError, match="entries for which the log has an event: x has none"):
        place.made(bounds=Bounds(skips=(Skip(event_id="x", reason="r"),))).run()
    assert place.left() == []


def test_what_is_refused_drops_nothing(place: Place) -> None:
    place.topic.fails_at = 1
    with pytest.raises(SinkFailed):
        place.made().run()
    with pytest.raises(ConfigError):
        place.made(bounds=Bounds(skips=(Skip(event_id="x", reason="r"),))).run()
    place.made(speed=None).run()
    assert place.topic.steps == [STEPS[0], STEPS[1], STEPS[1]]


def test_an_instance_that_was_taken_over_sends_nothing_more(place: Place) -> None:
    class Lost:
        def confirm(self) -> None:
            raise LeaseLost("j", "there", "another")

    with pytest.raises(LeaseLost):
        place.made(lease=Lost()).run()
    assert place.topic.steps == []


def test_requests_differ_by_all_but_their_speed() -> None:
    one = Request("j", "log", "b:9092", "out", "work")
    same = [replace(one, speed=3), replace(one, dry_run=True), replace(one, events=7), replace(one, every_s=2)]
    assert {each.name() for each in same} == {one.name()}
    changed: list[dict[str, Any]] = [
        *({name: "x"} for name in ("job", "log", "broker", "topic")),
        {"shape": "short"},
        {"bounds": Bounds(until_version=1)},
    ]
    assert len({one.name(), *(replace(one, **each).name() for each in changed)}) == 1 + len(changed)
