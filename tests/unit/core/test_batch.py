"""One micro-batch on literal records: what is written, what is counted, and what a repeat leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.core.batch import MicroBatch
from jobs.core.dead_letters import DeltaDeadLetters
from jobs.core.doubt import FOR_GOOD, UNTIL
from jobs.core.failures import BeginAnew
from jobs.core.files import Folder
from jobs.core.lateness import Lateness
from jobs.core.ledger import Counts, Entry
from jobs.core.outlets import Outlets
from jobs.core.redriven import Redrive
from jobs.core.sinks import Mark
from jobs.core.sinks.tables import DeltaTableSink
from jobs.core.told import Told

Rows = Callable[..., DataFrame]
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
DECODED = (
    "id INT, _topic STRING, _partition INT, _offset BIGINT, _timestamp TIMESTAMP, _reason STRING, _detail STRING, "
    "_key BINARY, _value BINARY, _headers ARRAY<STRUCT<key: STRING, value: BINARY>>"
)
PLACE = "_topic STRING, _partition INT, _offset BIGINT"
WRITTEN = f"id INT, {PLACE}"


@dataclass
class FakeCheckpoint:
    """Batch 3 goes from offset 0 to 9."""

    def query_id(self) -> str:
        return "q1"

    def start(self, batch_id: int) -> list[Any]:
        return [{"t": {"0": 0}}]

    def end(self, batch_id: int) -> list[Any]:
        return [{"t": {"0": 9}}]


@dataclass
class FakeLedger:
    entries: list[Entry] = field(default_factory=list)
    held: bool = False
    atomic: bool = False
    last_batch: Entry | None = None

    def holds(self, query_id: str, batch_id: int) -> bool:
        return self.held

    def append(self, entry: Entry) -> None:
        self.entries.append(entry)


def record(offset: int, reason: str | None = None) -> tuple[Any, ...]:
    return (None if reason else offset, "t", 0, offset, None, reason, None, None, b"raw", None)


def odd_ones_are_refused(events: DataFrame) -> DataFrame:
    reason = F.when(F.col("id") % 2 == 1, F.lit("NO_REFERENCE"))
    return events.withColumn("_reason", reason)


def even_ones(events: DataFrame) -> DataFrame:
    return events.filter("id % 2 = 0")


@pytest.fixture
def batch(spark: SparkSession, tmp_path: Path) -> Callable[..., MicroBatch]:
    def made(transform: Callable[[DataFrame], DataFrame], **more: Any) -> MicroBatch:
        good, dead = DeltaTableSink(spark, str(tmp_path / "good")), DeltaDeadLetters(spark, str(tmp_path / "dead"))
        outlets = Outlets(good, dead, None)
        fakes: dict[str, Any] = {"checkpoint": FakeCheckpoint(), "ledger": FakeLedger(**more.pop("ledger", {}))}
        return MicroBatch(
            "join", outlets=outlets, decode=lambda df, *_: df, transform=transform, clock=lambda: NOON, **fakes, **more
        )

    return made


def mark() -> Mark:
    return Mark("join", "q1", 0, "[null]", "[null]")


def counts(batch: MicroBatch) -> list[Counts]:
    ledger: Any = batch.ledger
    return [entry.counts for entry in ledger.entries]


def written(batch: MicroBatch) -> DataFrame:
    sink: Any = batch.outlets.good
    return sink.rows()


def test_good_bad_and_refused_rows_each_go_their_way(batch: Any, rows: Rows) -> None:
    one = batch(odd_ones_are_refused)
    one.run(rows(DECODED, record(0), record(1), record(2), record(3, "MALFORMED")), 3)
    assert counts(one) == [Counts(read=4, written=2, filtered=0, dead_letters=2)]
    assert one.ledger.entries[0].reasons == {"NO_REFERENCE": 1, "MALFORMED": 1}
    expected = rows(WRITTEN, (0, "t", 0, 0), (2, "t", 0, 2))
    assert_df_equality(written(one), expected, ignore_row_order=True, ignore_nullable=True)
    letters = one.outlets.dead.rows().select("_offset", "reason", "value").orderBy("_offset").collect()
    assert [tuple(row) for row in letters] == [(1, "NO_REFERENCE", b"raw"), (3, "MALFORMED", b"raw")]


def timed(offset: int, at: str | None, reason: str | None = None) -> tuple[Any, ...]:
    return (at and datetime.fromisoformat(f"2026-01-01T{at}"), *record(offset, reason))


def test_late_records_are_put_aside_by_the_newest_of_the_batches_before(
    spark: SparkSession, batch: Any, rows: Rows, tmp_path: Path
) -> None:
    """What the batch itself brings does not count yet; a transform never sees a late record."""
    one, late = batch(odd_ones_are_refused), DeltaTableSink(spark, str(tmp_path / "late"))
    one.outlets.late = Lateness("at", timedelta(minutes=10), late)
    noted = {"newest_event_time": "2026-01-01T12:00:00.000000+00:00"}
    one.ledger.last_batch = Entry("batch", "join", "q1", 2, "[null]", "[1]", Counts(), "t0", {}, noted)
    given = [
        timed(0, "11:55"),
        timed(1, "11:55"),
        timed(2, "11:50"),
        timed(3, "11:49"),
        timed(4, "13:00"),
        timed(5, None, "FUTURE"),
    ]
    one.run(rows(f"at TIMESTAMP, {DECODED}", *given), 3)
    assert counts(one) == [Counts(read=6, written=2, dead_letters=2, late=2)]
    assert one.ledger.entries[0].reasons == {"NO_REFERENCE": 1, "FUTURE": 1}
    assert one.ledger.entries[0].note == {"newest_event_time": "2026-01-01T13:00:00.000000+00:00"}
    assert sorted(row._offset for row in written(one).collect()) == [0, 4]
    letters = late.rows().select("_offset", "reason", "value").orderBy("_offset").collect()
    assert [tuple(row) for row in letters] == [(2, "LATE", b"raw"), (3, "LATE", b"raw")]
    assert sorted(row._offset for row in one.outlets.dead.rows().collect()) == [1, 5]


def test_what_a_transform_leaves_out_is_filtered_and_counted(batch: Any, rows: Rows) -> None:
    one = batch(even_ones)
    one.run(rows(DECODED, record(0), record(1), record(3)), 3)
    assert counts(one) == [Counts(read=3, written=1, filtered=2)]


def test_or_it_is_a_duplicate_where_the_job_says_so(batch: Any, rows: Rows) -> None:
    one = batch(even_ones, dropped="duplicate")
    one.run(rows(DECODED, record(0), record(1), record(2), record(3, "MALFORMED")), 3)
    assert counts(one) == [Counts(read=4, written=2, dead_letters=1, duplicate=1)]


def test_each_try_at_a_batch_is_prepared(batch: Any, rows: Rows) -> None:
    told: list[datetime] = []
    one = batch(even_ones, prepare=told.append)
    one.run(rows(DECODED, record(0)), 3)
    one.run(rows(DECODED, record(0)), 3)
    assert told == [NOON, NOON]
    one.ledger.held = True
    one.run(rows(DECODED, record(0)), 3)
    assert told == [NOON, NOON], "the ledger holds the batch: there is no try"


def test_a_batch_that_the_ledger_holds_is_skipped(batch: Any, rows: Rows) -> None:
    one = batch(even_ones, ledger={"held": True})
    one.run(rows(DECODED, record(0)), 3)
    assert counts(one) == [] and not one.outlets.good.exists()


@pytest.mark.parametrize("bad", [0, 3], ids=["all held", "all held or bad"])
def test_a_batch_in_doubt_writes_only_what_is_not_there(batch: Any, rows: Rows, bad: int) -> None:
    records = [record(0), record(2), *(record(offset, "MALFORMED") for offset in range(3, 3 + bad))]
    first, again = batch(even_ones), batch(even_ones, in_doubt=True)
    first.run(rows(DECODED, *records), 3)
    again.run(rows(DECODED, *records, record(8)), 3)
    assert counts(again) == [Counts(read=3 + bad, written=3, dead_letters=bad)]
    assert sorted(row.id for row in written(again).collect()) == [0, 2, 8]
    assert again.in_doubt is False


def test_records_that_are_counted_twice_are_not_recorded(batch: Any, rows: Rows) -> None:
    """The batch has nine; what was written is found when it begins anew."""
    one, records = batch(even_ones), [record(offset) for offset in range(9)]
    with pytest.raises(BeginAnew, match="10 records were counted, where there are 9"):
        one.run(rows(DECODED, *records, record(1)), 3)
    assert counts(one) == []
    one.run(rows(DECODED, *records), 3)
    assert counts(one) == [Counts(read=9, written=5, filtered=4)]
    assert written(one).count() == 5


def test_with_an_atomic_ledger_a_sink_is_only_asked_after_a_recovery(batch: Any, rows: Rows) -> None:
    asked: list[int] = []
    for more in ({"in_doubt": True}, {"in_doubt": True, "doubt": {UNTIL: FOR_GOOD}}):
        one = batch(even_ones, ledger={"atomic": True}, **more)
        one.outlets.good.held = lambda: asked.append(1)
        one.run(rows(DECODED, record(0)), 3)
        assert len(asked) == len(one.doubt)


def test_a_batch_in_doubt_that_was_written_whole_writes_nothing(batch: Any, rows: Rows) -> None:
    records = [record(0), record(2), record(3, "MALFORMED")]
    first, again = batch(even_ones), batch(even_ones, in_doubt=True)
    first.run(rows(DECODED, *records), 3)
    again.run(rows(DECODED, *records), 3)
    assert counts(again) == counts(first) == [Counts(read=3, written=2, dead_letters=1)]
    assert written(again).count() == 2 and again.outlets.dead.rows().count() == 1


@pytest.mark.parametrize(("until", "lasts"), [(10, True), (9, False)])
def test_doubt_after_a_recovery_lasts_until_a_batch_has_passed_its_end(
    batch: Any, rows: Rows, until: int, lasts: bool
) -> None:
    """Its end is in the record, so that the next start knows it too."""
    noted = {"in_doubt_until": f'[{{"t": {{"0": {until}}}}}]'}
    first, again = batch(even_ones), batch(even_ones, in_doubt=True, doubt=noted)
    first.run(rows(DECODED, record(0)), 3)
    again.run(rows(DECODED, record(0), record(2)), 3)
    assert counts(again) == [Counts(read=2, written=2)] and written(again).count() == 2
    left = noted if lasts else {}
    assert (again.in_doubt, again.doubt, again.ledger.entries[0].note) == (lasts, left, left)


def test_after_a_batch_with_rejects_the_next_is_kept_for_its_second_pass(batch: Any, rows: Rows) -> None:
    one = batch(even_ones)
    for _ in range(2):
        one.run(rows(DECODED, record(0), record(3, "MALFORMED")), 3)
    assert counts(one) == [Counts(read=2, written=1, dead_letters=1)] * 2


def test_a_transform_that_looks_ahead_has_its_records_decoded_once(spark: SparkSession, batch: Any, rows: Rows) -> None:
    decoded = spark.sparkContext.accumulator(0)

    def counted(batches: Iterator[Any]) -> Iterator[Any]:
        for part in batches:
            decoded.add(part.num_rows)
            yield part

    def looks(events: DataFrame) -> DataFrame:
        return events.withColumn("id", F.col("id") + events.count())

    one = batch(looks, looks_ahead=True)
    one.decode = lambda records, *_: records.mapInArrow(counted, records.schema)
    one.run(rows(DECODED, record(0), record(1), record(2)), 3)
    expected = rows(WRITTEN, (3, "t", 0, 0), (4, "t", 0, 1), (5, "t", 0, 2))
    assert_df_equality(written(one), expected, ignore_row_order=True, ignore_nullable=True)
    assert decoded.value == 3


def test_its_raw_records_are_kept_only_once_one_was_rejected(batch: Any, rows: Rows) -> None:
    one, kept = batch(odd_ones_are_refused, looks_ahead=True), []

    def decode(records: DataFrame, now: datetime, keep: bool) -> DataFrame:
        kept.append(keep)
        return records if keep else records.withColumn("_value", F.lit(None).cast("binary"))

    one.decode = decode
    for offset in (0, 1, 3, 2, 4):
        one.run(rows(DECODED, record(offset)), 3)
    assert kept == [False, *[False, True], True, True, False]  # the second one decodes anew what it has not kept
    assert counts(one) == [Counts(1, 1), *[Counts(1, 0, dead_letters=1)] * 2, *[Counts(1, 1)] * 2]
    letters = one.outlets.dead.rows().select("_offset", "value").orderBy("_offset").collect()
    assert [tuple(row) for row in letters] == [(1, b"raw"), (3, b"raw")]


def sent_again(offset: int, own: int) -> tuple[Any, ...]:
    """The record of an offset before this batch, as a redrive sends it."""
    origin = [("topic", b"t"), ("partition", bytes(4)), ("offset", offset.to_bytes(8, "big")), ("timestamp", bytes(8))]
    headers = [(f"kafka_dlt-original-{name}", value) for name, value in origin]
    tried = [("patterns-job", b"join"), ("patterns-attempt", b"2")]
    return (offset, "again", 0, own, None, None, None, None, b"raw", [("h", b"1"), *headers, *tried])


@pytest.fixture
def redriving(spark: SparkSession, batch: Any, tmp_path: Path) -> Callable[..., Any]:
    """Batch 3 goes from offset 0 to 9 of t and from 0 to `end` of the redrive topic."""

    def nothing() -> DataFrame:
        raise AssertionError("the sink can say")

    def made(end: int, **more: Any) -> Any:
        one = batch(
            odd_ones_are_refused, redrive=Redrive("join", "again", Folder(spark, str(tmp_path / "n")), nothing), **more
        )
        one.checkpoint.end = lambda batch_id: [{"t": {"0": 9}, "again": {"0": end}}]
        return one

    return made


def test_redriven_records_are_written_once_or_rejected_again(redriving: Any, rows: Rows) -> None:
    """One of them was written all the same before it was redriven; the sink holds it."""
    records = [record(0), record(1), sent_again(90, 0), sent_again(90, 1), sent_again(92, 2), sent_again(93, 3)]
    one, expected = redriving(4), Counts(6, 2, dead_letters=0, duplicate=2, redriven=1, rejected_again=1)
    one.outlets.good.append(rows(WRITTEN, (92, "t", 0, 92)), mark())
    one.run(rows(DECODED, *records), 3)
    assert counts(one) == [expected] and one.ledger.entries[0].reasons == {"NO_REFERENCE": 2}
    kept = rows(WRITTEN, (0, "t", 0, 0), (90, "t", 0, 90), (92, "t", 0, 92))
    assert_df_equality(written(one), kept, ignore_row_order=True, ignore_nullable=True)
    letters = one.outlets.dead.rows().select("_offset", "attempt", "headers").orderBy("_offset").collect()
    assert [tuple(row) for row in letters] == [(1, 1, None), (93, 2, [("h", b"1")])]
    again = redriving(4, in_doubt=True)
    again.run(rows(DECODED, *records), 3)
    assert counts(again) == [expected], "a repeat counts the same"
    assert written(again).count() == 3
    assert again.outlets.dead.rows().select("_offset", "attempt").distinct().count() == 2


def test_a_batch_without_redriven_records_does_not_ask_the_sink(redriving: Any, rows: Rows) -> None:
    one = redriving(0)
    one.outlets.good.held = None  # to ask would fail
    one.run(rows(DECODED, record(0), record(1)), 3)
    assert counts(one) == [Counts(read=2, written=1, dead_letters=1)] and one.redrive.notes.list() == []


@pytest.mark.parametrize("in_doubt", [False, True])
def test_counts_hold_when_a_shuffle_join_gets_nothing(batch: Any, rows: Rows, in_doubt: bool) -> None:
    """Adaptive execution would drop the join, and the counts below it."""
    reference = rows("id INT, name STRING", (0, "zero")).hint("shuffle_hash")
    one = batch(lambda events: events.join(reference, "id"), in_doubt=in_doubt)
    one.outlets.good.append(rows(f"id INT, name STRING, {PLACE}", (7, "other", "t", 0, 99)), mark())
    one.run(rows(DECODED, record(3, "MALFORMED"), record(4, "MALFORMED")), 3)
    assert counts(one) == [Counts(read=2, dead_letters=2)]


def test_rows_that_the_sink_refuses_are_dead_letters_and_found_again_after_a_crash(
    spark: SparkSession, batch: Any, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The crash comes between the good rows and the dead letters."""
    records = [record(0), record(1), record(2), record(3, "MALFORMED"), record(4)]
    first, again = batch(lambda events: events), batch(lambda events: events, in_doubt=True)
    path = first.outlets.good.path
    spark.sql(f"CREATE TABLE delta.`{path}` ({WRITTEN}) USING delta")
    spark.sql(f"ALTER TABLE delta.`{path}` ADD CONSTRAINT sane CHECK (id <> 1 AND id <> 4)")
    with monkeypatch.context() as patched:
        patched.setattr(first.outlets.dead, "append", crash)
        with pytest.raises(KeyboardInterrupt):
            first.run(rows(DECODED, *records), 3)
    assert counts(first) == [] and written(first).count() == 2
    again.run(rows(DECODED, *records), 3)
    assert counts(again) == [Counts(read=5, written=2, dead_letters=3)]
    assert again.ledger.entries[0].reasons == {"SINK_REJECTED": 2, "MALFORMED": 1}
    expected = rows(WRITTEN, (0, "t", 0, 0), (2, "t", 0, 2))
    assert_df_equality(written(again), expected, ignore_row_order=True, ignore_nullable=True)
    letters = again.outlets.dead.rows().select("_offset", "reason", "detail").orderBy("_offset").collect()
    said = "CHECK constraint sane (id <> 1 AND id <> 4) violated"
    assert [tuple(row) for row in letters] == [
        (1, "SINK_REJECTED", said),
        (3, "MALFORMED", None),
        (4, "SINK_REJECTED", said),
    ]


def crash(*_: Any) -> None:
    raise KeyboardInterrupt


class Plan:
    """That keeps records of the topic t, and brings rejected ones of another."""

    def __init__(self) -> None:
        self.told: list[Told] = []

    def tell(self, batch: Told) -> None:
        self.told.append(batch)

    def beside(self) -> Column:
        return F.col("_topic") != "t"


def test_what_a_plan_keeps_in_its_state_is_counted_until_it_comes_out(batch: Any, rows: Rows) -> None:
    one = batch(lambda events: events)
    one.planned = Plan()
    starts = iter([({}, {"0": 3}), ({"0": 3}, {"0": 4})])
    one.checkpoint.watermark_ms = lambda batch_id: 1_000 + batch_id
    other = (*record(9, "MALFORMED")[:1], "other", *record(9, "MALFORMED")[2:])
    for number, came in enumerate(([record(0), other], [record(1), record(2), record(3)])):
        start, end = next(starts)
        one.checkpoint.start, one.checkpoint.end = (
            lambda _, at=start: [{"t": at}],
            lambda _, at=end: [{"t": at}, {"other": {"0": 10}}],
        )
        one.run(rows(DECODED, *came), number)
    assert counts(one) == [Counts(4, 1, dead_letters=1, joining=2, beside=1), Counts(1, 3, joining=-2)]
    assert one.planned.told == [Told(NOON, 1_000), Told(NOON, 1_001)]
