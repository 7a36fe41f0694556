"""Mean ranks and what they do not tell apart (Demšar 2006, figure 1)."""

from __future__ import annotations

from matplotlib.figure import Figure

from hfal.evaluation.comparing import Ranks
from hfal.report.figures import COLORS


def draw_ranks(ranks: Ranks) -> Figure:
    """The critical-difference picture: ways on a line by mean rank, bars over those that are not told apart."""
    ways = sorted(ranks.mean.items(), key=lambda item: item[1])
    groups = _groups([rank for _, rank in ways], ranks.critical)
    figure = Figure(figsize=(8, 1.3 + 0.28 * (len(ways) + len(groups))), layout="constrained")
    ax = figure.subplots()
    top = len(groups) + 1
    for at, (first, last) in enumerate(groups):
        ax.plot([ways[first][1], ways[last][1]], [at + 1, at + 1], color="#495057", linewidth=4, solid_capstyle="round")
    for at, (way, rank) in enumerate(ways):
        low = -at - 0.6
        ax.plot([rank, rank], [top, low], color=COLORS[at % len(COLORS)], linewidth=1.2)
        ax.text(rank, low, f" {way} ({rank:.2f})", va="center", fontsize=9)
    ax.hlines(top, 1, len(ways), color="#212529", linewidth=1)
    ax.plot([1, 1 + ranks.critical], [top + 0.7, top + 0.7], color="#c92a2a", linewidth=2)
    ax.text(1, top + 0.9, f"critical difference {ranks.critical:.2f}", fontsize=9, color="#c92a2a", va="bottom")
    ax.set_xlim(0.9, max(len(ways), 1 + ranks.critical) + 1.5)
    ax.set_ylim(-len(ways) - 0.2, top + 1.8)
    ax.set_xticks(range(1, len(ways) + 1))
    ax.set_xlabel("mean rank over the data sets (1 is best)")
    ax.set_yticks([])
    ax.spines[["top", "right", "left"]].set_visible(False)
    return figure


def _groups(ranks: list[float], critical: float) -> list[tuple[int, int]]:
    """The longest stretches of ways whose ranks lie within the critical difference."""
    found: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = max(at for at in range(first, len(ranks)) if ranks[at] - ranks[first] < critical or at == first)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found
