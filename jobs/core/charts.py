"""Charts of what a job did, for notebooks: plain values in, a matplotlib Figure out.

No global state: nothing is shown, saved or kept. matplotlib is there in development only, so jobs do not import this.
The colours are Okabe and Ito's, which people with any kind of colour vision can tell apart; no meaning hangs on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from jobs.core.breaker import State
from jobs.core.scrapes import Asked

if TYPE_CHECKING:
    from pyspark.sql import Row

BLUE, VERMILION, GREY, FAINT = "#0072B2", "#D55E00", "#777777", "#DDDDDD"
BREAKER: tuple[State, ...] = ("closed", "half_open", "open")
LINES = (BLUE, VERMILION, GREY)
WIDTH_IN = 8.0
LABELLED = 12  # more bars than these side by side are too narrow for numbers
APART = 0.07  # of the height: names of lines that stand closer than this run into each other
LOWEST = 8  # of a hundred: a part that is lower has no room for its number
FEWEST = 5  # room for as many bars, so that a single one is no wall
THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")


class Batch(NamedTuple):
    """One micro-batch: its number, how many records it had, and how long it took."""

    number: int
    records: int
    seconds: float

    @property
    def rate(self) -> float:
        """Records a second; none where no time is told."""
        return self.records / self.seconds if self.seconds else 0.0


def batches(entries: Iterable[Row], progress: Iterable[Mapping[str, Any]]) -> list[Batch]:
    """LEDGER rows and the query's `recentProgress` -> the batches that both know, in order.

    The ledger says how many records were read: Spark's own `numInputRows` counts files where the source is files, and a
    record twice where a batch with rejected ones was read twice.
    """
    took_s = {one["batchId"]: one["batchDuration"] / 1000 for one in progress}
    read = {entry["batch_id"]: entry["counts"]["read"] for entry in entries if entry["kind"] == "batch"}
    return [Batch(number, read[number], took_s[number]) for number in sorted(read.keys() & took_s.keys())]


def dead_letters_by_reason(counts: Mapping[str, int]) -> Figure:
    """Reason -> dead letters, as horizontal bars: the most frequent one on top, its count at the bar's end."""
    ranked = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    rows = max(len(ranked), FEWEST)
    figure = Figure(figsize=(WIDTH_IN, 1 + 0.3 * rows), layout="constrained")
    axes = figure.subplots()
    axes.set(title=f"Dead letters by reason, {sum(counts.values()):,} in all", xlabel="dead letters")
    if not ranked:
        return _empty(figure, "no dead letters")
    bars = axes.barh(list(ranked), list(ranked.values()), color=VERMILION)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.margins(x=0.1)
    _tidy(axes, "x")
    _numbered(axes, bars)
    return figure


def throughput_by_batch(done: Sequence[Batch]) -> Figure:
    """Records a second of each batch, and below it how many records the batch had."""
    figure = Figure(figsize=(WIDTH_IN, 4.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    upper.set(title="Throughput by batch", ylabel="records a second")
    lower.set(xlabel="batch", ylabel="records")
    if not done:
        return _empty(figure, "no batches")
    _columns(upper, [(batch.number, batch.rate) for batch in done], BLUE)
    _columns(lower, [(batch.number, batch.records) for batch in done], GREY)
    numbers = sorted(batch.number for batch in done)
    lower.set_xlim(numbers[0] - 0.6, max(numbers[-1], numbers[0] + FEWEST - 1) + 0.6)
    lower.xaxis.set_major_locator(FixedLocator(numbers) if len(numbers) <= LABELLED else MaxNLocator(integer=True))
    return figure


def seconds_by_events(measured: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """Label -> (events in the log, seconds of a replay), as a line for each label, with its name at the line's end."""
    lines = {label: sorted(points) for label, points in measured.items() if points}
    figure = Figure(figsize=(WIDTH_IN, 4), layout="constrained")
    axes = figure.subplots()
    axes.set(title="Seconds of a replay, by events in the log", xlabel="events in the log", ylabel="seconds")
    if not lines:
        return _empty(figure, "no replays")
    colors = dict(zip(lines, cycle(LINES)))
    for label, points in lines.items():
        axes.plot(*zip(*points), color=colors[label], marker="o")
    most, longest = (max(point[side] for points in lines.values() for point in points) for side in (0, 1))
    axes.set(xlim=(0, most * 1.03), ylim=(0, longest * 1.1))
    _tidy(axes, "y")
    axes.xaxis.set_major_formatter(THOUSANDS)
    _named(axes, {label: points[-1] for label, points in lines.items()}, colors)
    return figure


def lookups_by_batch(done: Sequence[tuple[str, Asked]]) -> Figure:
    """What is written below a batch, and what a lookup did in it: answers that were kept, time of a call, its breaker."""
    figure = Figure(figsize=(WIDTH_IN, 6), layout="constrained")
    kept, calls, breaker = figure.subplots(3, 1, sharex=True, height_ratios=[2, 2, 1])
    kept.set(title="A lookup by batch", ylabel="% of keys")
    calls.set(ylabel="ms a call")
    breaker.set(ylabel="breaker", xlabel="batch")
    if not done:
        return _empty(figure, "no batches")
    lookups = [one for _, one in done]
    _stacked(kept, {state: [one.percent(state) for one in lookups] for state in ("cached", "stale")})
    _columns(calls, [(number, one.call_ms) for number, one in enumerate(lookups) if one.calls], BLUE)
    _steps(breaker, [BREAKER.index(one.breaker) for one in lookups])
    breaker.set_xticks(range(len(done)), [f"{number}\n{below}" for number, (below, _) in enumerate(done)])
    breaker.set_xlim(-0.6, max(len(done), FEWEST) - 0.4)
    return figure


def _stacked(axes: Axes, shares: Mapping[str, Sequence[float]]) -> None:
    """Shares of a hundred on top of each other, each with its number in it where there is room."""
    below = [0.0] * max(map(len, shares.values()))
    for (label, values), color in zip(shares.items(), (BLUE, GREY)):
        bars = axes.bar(range(len(values)), values, bottom=below, color=color, label=label)
        inside = [f"{value:.0f}" if value >= LOWEST else "" for value in values]
        axes.bar_label(bars, inside, label_type="center", color="white")
        below = [low + value for low, value in zip(below, values)]
    _tidy(axes, "y")
    axes.set_ylim(0, 100)
    axes.legend(frameon=False, ncols=len(shares), loc="lower left", bbox_to_anchor=(0, 1))


def _steps(axes: Axes, states: Sequence[int]) -> None:
    """A state at each batch, as a line that stays until the next one."""
    axes.plot(range(len(states)), states, drawstyle="steps-mid", marker="o", color=VERMILION)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(ylim=(-0.4, len(BREAKER) - 0.6))
    axes.set_yticks(range(len(BREAKER)), [state.replace("_", "-") for state in BREAKER])


def _named(axes: Axes, ends: Mapping[str, tuple[float, float]], colors: Mapping[str, str]) -> None:
    """Names right of where lines end; one that would stand in another one is moved up."""
    apart = APART * axes.get_ylim()[1]
    below = -apart
    for label, (end, height) in sorted(ends.items(), key=lambda item: item[1][1]):
        below = max(height, below + apart)
        place: dict[str, Any] = {"xytext": (10, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(label, (end, below), color=colors[label], annotation_clip=False, **place)


def _columns(axes: Axes, values: Sequence[tuple[int, float]], color: str) -> None:
    bars = axes.bar([number for number, _ in values], [value for _, value in values], color=color)
    axes.margins(y=0.2)
    _tidy(axes, "y")
    if len(values) <= LABELLED:
        _numbered(axes, bars)


def _tidy(axes: Axes, values: Literal["x", "y"]) -> None:
    """No frame, whole numbers with thousands set apart along the value axis, a faint grid behind the bars."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis=values, color=FAINT)
    scale = axes.xaxis if values == "x" else axes.yaxis
    scale.set_major_formatter(THOUSANDS)
    scale.set_major_locator(MaxNLocator(nbins=4, integer=True))


def _numbered(axes: Axes, bars: BarContainer) -> None:
    axes.bar_label(bars, fmt="{:,.0f}", padding=3)


def _empty(figure: Figure, what: str) -> Figure:
    """The title, and in place of bars or lines the words that there are none."""
    for axes in figure.axes:
        axes.set_axis_off()
    figure.text(0.5, 0.5, what, ha="center", va="center")
    return figure
