"""What is drawn, read back from the figure: bars, numbers, titles, units."""

from __future__ import annotations

import subprocess
import sys

import pytest
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from pyspark.sql import Row

from jobs.core.charts import (
    LABELLED,
    Batch,
    batches,
    dead_letters_by_reason,
    lookups_by_batch,
    seconds_by_events,
    throughput_by_batch,
)
from jobs.core.scrapes import Asked

COUNTS = {"TOMBSTONE": 3, "MALFORMED": 1200, "CONSTRAINT": 3}
DONE = [Batch(4, 20_000, 2.0), Batch(5, 20_000, 1.6), Batch(6, 500, 0.5)]
MEASURED = {"whole": [(1000, 4.0), (2000, 8.0)], "from a snapshot": [(2100, 3.5), (1100, 3.0)]}

LOOKUPS = [
    ("well", Asked({"fresh": 8, "cached": 0}, 8, 0.2, "closed")),
    ("well", Asked({"cached": 10}, 0, 0.0, "closed")),
    ("down", Asked({"cached": 5, "stale": 3, "failed": 2}, 2, 0.6, "open")),
    ("well", Asked({"cached": 1, "fresh": 19}, 19, 1.9, "half_open")),
]


def bars(axes: Axes) -> BarContainer:
    (drawn,) = axes.containers
    assert isinstance(drawn, BarContainer)
    return drawn


def numbers(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def heights(axes: Axes) -> list[tuple[float, float]]:
    """(middle of the bar, its height)."""
    return [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in bars(axes)]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_reasons_stand_from_the_most_frequent_down_each_with_its_count() -> None:
    (axes,) = dead_letters_by_reason(COUNTS).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["MALFORMED", "CONSTRAINT", "TOMBSTONE"]
    assert [bar.get_width() for bar in bars(axes)] == [1200, 3, 3]
    assert numbers(axes) == ["1,200", "3", "3"]
    assert axes.yaxis_inverted()


def test_dead_letters_say_what_is_counted() -> None:
    (axes,) = dead_letters_by_reason(COUNTS).axes
    assert (axes.get_title(), axes.get_xlabel()) == ("Dead letters by reason, 1,206 in all", "dead letters")
    assert axes.get_xlim()[0] == 0
    assert axes.get_xlim()[1] > 1200


def test_a_chart_of_no_dead_letters_says_so() -> None:
    figure = dead_letters_by_reason({})
    (axes,) = figure.axes
    assert (axes.get_title(), words(figure), axes.axison) == (
        "Dead letters by reason, 0 in all",
        ["no dead letters"],
        False,
    )
    assert axes.containers == []


def test_each_batch_has_its_rate_and_its_size() -> None:
    upper, lower = throughput_by_batch(DONE).axes
    assert heights(upper) == [(4, 10_000), (5, 12_500), (6, 1_000)]
    assert heights(lower) == [(4, 20_000), (5, 20_000), (6, 500)]
    assert (numbers(upper), numbers(lower)) == (["10,000", "12,500", "1,000"], ["20,000", "20,000", "500"])


def test_throughput_says_its_units() -> None:
    upper, lower = throughput_by_batch(DONE).axes
    assert (upper.get_title(), upper.get_ylabel()) == ("Throughput by batch", "records a second")
    assert (lower.get_xlabel(), lower.get_ylabel()) == ("batch", "records")


def test_all_batches_are_in_view_and_a_few_do_not_fill_it() -> None:
    few, many = (throughput_by_batch(done).axes[1] for done in (DONE, [Batch(n, 1, 1.0) for n in range(50)]))
    assert few.get_xlim() == (3.4, 8.6)
    assert list(few.get_xticks()) == [4, 5, 6]
    assert many.get_xlim() == (-0.6, 49.6)
    assert all(tick == int(tick) for tick in many.get_xticks())


def test_many_batches_have_no_numbers_in_each_others_way() -> None:
    upper, lower = throughput_by_batch([Batch(n, 10, 1.0) for n in range(LABELLED + 1)]).axes
    assert (numbers(upper), numbers(lower)) == ([], [])


def test_a_chart_of_no_batches_says_so() -> None:
    figure = throughput_by_batch([])
    assert (words(figure), [axes.axison for axes in figure.axes]) == (["no batches"], [False, False])


def test_a_batch_is_as_large_as_the_ledger_says_and_took_as_long_as_spark_says() -> None:
    entries = [
        Row(kind="batch", batch_id=0, counts=Row(read=100)),  # recentProgress has forgotten it
        Row(kind="batch", batch_id=1, counts=Row(read=300)),
        Row(kind="batch", batch_id=2, counts=Row(read=200)),
        Row(kind="release", batch_id=2, counts=Row(read=0)),
    ]
    progress = [
        {"batchId": 2, "numInputRows": 2, "batchDuration": 250},
        {"batchId": 1, "numInputRows": 600, "batchDuration": 1500},
        {"batchId": 3, "numInputRows": 0, "batchDuration": 3},  # an idle moment, no batch
    ]
    assert batches(entries, progress) == [Batch(1, 300, 1.5), Batch(2, 200, 0.25)]


@pytest.mark.parametrize(("seconds", "rate"), [(0.5, 200.0), (0.0, 0.0)])
def test_a_batch_of_no_time_has_no_rate(seconds: float, rate: float) -> None:
    assert Batch(0, 100, seconds).rate == rate


def test_each_kind_of_replay_is_a_line_from_few_events_to_many() -> None:
    (axes,) = seconds_by_events(MEASURED).axes
    found = [[tuple(point) for point in line.get_xydata()] for line in axes.get_lines()]
    assert found == [[(1000, 4), (2000, 8)], [(1100, 3), (2100, 3.5)]]


def test_a_line_has_its_name_at_its_end_in_its_colour() -> None:
    (axes,) = seconds_by_events(MEASURED).axes
    colours = {line.get_color() for line in axes.get_lines()}
    names = {text.get_text(): (text.xy, text.get_color()) for text in axes.texts if isinstance(text, Annotation)}
    assert {name: place for name, (place, _) in names.items()} == {"whole": (2000, 8), "from a snapshot": (2100, 3.5)}
    assert {colour for _, colour in names.values()} == colours
    assert len(colours) == 2


def test_names_of_lines_that_end_together_stand_apart() -> None:
    figure = seconds_by_events({"a": [(10, 5.0)], "b": [(10, 5.0)], "c": [(10, 4.99)]})
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = sorted((text.get_window_extent() for text in axes.texts), key=lambda box: box.y0)
    assert [text.get_text() for text in sorted(axes.texts, key=lambda text: text.xy[1])] == ["c", "a", "b"]
    assert all(lower.y1 <= upper.y0 for lower, upper in zip(boxes, boxes[1:]))


def test_seconds_are_seen_from_nothing_on_and_say_of_what_they_are() -> None:
    (axes,) = seconds_by_events(MEASURED).axes
    assert (axes.get_xlim()[0], axes.get_ylim()[0]) == (0, 0)
    assert axes.get_xlim()[1] > 2100
    assert axes.get_ylim()[1] > 8
    assert axes.get_title() == "Seconds of a replay, by events in the log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("events in the log", "seconds")


@pytest.mark.parametrize("measured", [{}, {"whole": []}])
def test_a_chart_of_no_replays_says_so(measured: dict[str, list[tuple[int, float]]]) -> None:
    figure = seconds_by_events(measured)
    assert (words(figure), [axes.axison for axes in figure.axes]) == (["no replays"], [False])


def test_shares_of_keys_stand_on_each_other_with_their_numbers_where_there_is_room() -> None:
    kept, *_ = lookups_by_batch(LOOKUPS).axes
    cached, stale = ([(bar.get_y(), bar.get_height()) for bar in container] for container in kept.containers)
    assert cached == [(0, 0), (0, 100), (0, 50), (0, 5)]
    assert stale == [(0, 0), (100, 0), (50, 30), (5, 0)]
    assert numbers(kept) == ["", "100", "50", "", "", "", "30", ""]
    legend = kept.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["cached", "stale"]


def test_a_call_has_its_mean_time_and_a_batch_without_calls_no_bar() -> None:
    _, calls, _ = lookups_by_batch(LOOKUPS).axes
    assert [(number, round(height, 6)) for number, height in heights(calls)] == [(0, 25), (2, 300), (3, 100)]
    assert numbers(calls) == ["25", "300", "100"]


def test_a_breaker_is_a_line_over_its_states_and_below_a_batch_stands_what_was_said_of_it() -> None:
    *_, breaker = lookups_by_batch(LOOKUPS).axes
    (line,) = breaker.get_lines()
    names = [label.get_text() for label in breaker.get_yticklabels()]
    assert [names[int(state)] for _, state in line.get_xydata()] == ["closed", "closed", "open", "half-open"]
    assert [label.get_text() for label in breaker.get_xticklabels()] == ["0\nwell", "1\nwell", "2\ndown", "3\nwell"]


def test_a_lookup_says_its_units() -> None:
    kept, calls, breaker = lookups_by_batch(LOOKUPS).axes
    assert (kept.get_title(), kept.get_ylabel(), kept.get_ylim()) == ("A lookup by batch", "% of keys", (0, 100))
    assert (calls.get_ylabel(), breaker.get_ylabel(), breaker.get_xlabel()) == ("ms a call", "breaker", "batch")


def test_a_chart_of_no_lookups_says_so() -> None:
    figure = lookups_by_batch([])
    assert (words(figure), [axes.axison for axes in figure.axes]) == (["no batches"], [False] * 3)


@pytest.mark.parametrize(
    "figure",
    [
        dead_letters_by_reason(COUNTS),
        throughput_by_batch(DONE),
        seconds_by_events(MEASURED),
        lookups_by_batch(LOOKUPS),
    ],
)
def test_a_figure_can_be_drawn(figure: Figure) -> None:
    figure.draw_without_rendering()


def test_nothing_global_is_touched_and_no_job_needs_matplotlib() -> None:
    code = (
        "import sys\n"
        "import jobs.stream_table_join, jobs.cli\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import jobs.core.charts\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
