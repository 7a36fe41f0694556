"""Pictures of a run, by matplotlib's object interface: no display, no global state."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from hfal.evaluation import Curve, mean_curve

COLORS = (
    "#1f6feb",
    "#d9480f",
    "#2b8a3e",
    "#9c36b5",
    "#e67700",
    "#0b7285",
    "#c2255c",
    "#5f3dc4",
    "#846358",
    "#5c940d",
    "#495057",
    "#e64980",
)
RANDOM_COLOR = "#868e96"
MOST_TICKS = 6
LEGEND = 13
"""Letters of a legend for each inch."""
TITLES = {
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "f1": "F1",
    "vqa_accuracy": "VQA accuracy",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "chrf": "chrF",
}


def title_of(metric: str) -> str:
    """What people call a score."""
    return TITLES.get(metric, metric.replace("_", " "))


@dataclass(frozen=True)
class Line:
    """One strategy's curves: one for each seed; of an estimated score with the ends of its interval at each point."""

    name: str
    curves: Sequence[Curve]
    interval: tuple[Sequence[float], Sequence[float]] | None = None

    @property
    def is_random(self) -> bool:
        """Random is drawn as what others are held against."""
        return self.name == "random"

    def mean(self) -> Curve:
        """The mean over seeds."""
        return mean_curve(self.curves)[0]


def draw_curves(panels: dict[str, list[Line]], unit: str = "rows") -> Figure:
    """Score over cost: a panel for each metric; with several seeds, the mean and the range between seeds."""
    figure = Figure(figsize=(5.4 * len(panels) + 0.4, 4.2), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (metric, lines) in zip(axes, panels.items(), strict=True):
        colors = iter(COLORS * 4)
        for line in lines:
            _draw(ax, line, RANDOM_COLOR if line.is_random else next(colors))
        _dress(ax, title_of(metric), "labels" if unit == "rows" else unit)
        _tick_rounds(ax, max((line.curves[0].cost for line in lines), key=len))
    handles, names = axes[0].get_legend_handles_labels()
    room = max(1, int(LEGEND * figure.get_figwidth() / (max(map(len, names)) + 6)))  # of the longest name, side by side
    figure.legend(handles, names, loc="outside lower center", ncols=min(3, room, len(names)), frameon=False)
    return figure


def _draw(ax: Axes, line: Line, color: str) -> None:
    style: dict[str, Any] = {
        "color": color,
        "label": line.name,
        "linewidth": 2,
        "marker": "o",
        "markersize": 3.5,
    }
    if line.is_random:
        style.update(linestyle="--", linewidth=1.6)
    mean, values = mean_curve(line.curves)
    ax.plot(mean.cost, mean.scores, **style)
    if line.interval is not None:
        low, high = line.interval
        ax.fill_between(line.curves[0].cost, low, high, color=color, alpha=0.13, linewidth=0, label="95% interval")
    if len(line.curves) > 1:
        ax.fill_between(mean.cost, values.min(0), values.max(0), color=color, alpha=0.13, linewidth=0)


def _dress(ax: Axes, title: str, unit: str) -> None:
    ax.set_title(title, fontsize=12, loc="left", fontweight="bold")
    ax.set_xlabel(unit)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.grid(axis="y", color="#e9ecef")
    ax.spines[["top", "right"]].set_visible(False)


def _tick_rounds(ax: Axes, costs: Sequence[float]) -> None:
    """Mark what was spent after each round, where these are few and apart."""
    if 1 < len(costs) <= MOST_TICKS and min(np.diff(costs)) > (costs[-1] - costs[0]) / (2 * MOST_TICKS):
        ax.set_xticks(costs)


def draw_balance(names: Sequence[str], shares: Sequence[Sequence[float]], rounds: Sequence[int]) -> Figure:
    """Share of each class among the labels asked for, round by round."""
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    ax = figure.subplots()
    bottom = np.zeros(len(rounds))
    for index, (name, share) in enumerate(zip(names, np.asarray(shares).T, strict=True)):
        ax.bar(rounds, share, 0.8, bottom=bottom, color=COLORS[index % len(COLORS)], label=name, alpha=0.85)
        bottom += share
    ax.set_xlabel("round")
    ax.set_ylabel("share of the round")
    ax.set_ylim(0, 1)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=min(5, len(names)), frameon=False)
    return figure


def as_svg(figure: Figure) -> str:
    """The figure as SVG for a page, without the XML head, the same bytes for the same figure."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "hfal", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def saver(figure: Figure, kind: str) -> Callable[[Any], None]:
    """Writes the figure to a path, for `write_file`."""
    return lambda path: figure.savefig(path, format=kind, dpi=150)
