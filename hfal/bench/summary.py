"""What the runs of a benchmark say: each way against the baseline, on each data set and over all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hfal.bench.cells import Cell
from hfal.bench.config import BenchConfig
from hfal.bench.tuning import Tuned
from hfal.evaluation import Curve, area_under_curve, cost_to_reach, mean_curve
from hfal.evaluation.comparing import Comparison, Ranks, compare, deficiency, holm, ranked

MOST_POINTS = 5
"""Columns of scores in a table; all rounds are in `results.csv`."""


@dataclass(frozen=True)
class Line:
    """One way on one data set.

    Attributes:
        way: its name.
        curves: one for each seed.
        areas: mean heights of these curves.
        at: the mean score at each of the table's points.
        reaches: what the mean curve needs for the score that the baseline ends with; None where it does not get there.
        deficiency: see `hfal.evaluation.comparing.deficiency`.
        against: the baseline; None for itself.
        purity: share of the rows asked that have a class, where some of the pool have none.
    """

    way: str
    curves: tuple[Curve, ...]
    areas: tuple[float, ...]
    at: tuple[float, ...]
    reaches: float | None
    deficiency: float
    against: Comparison | None
    purity: float | None = None

    @property
    def area(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.areas))


@dataclass(frozen=True)
class Table:
    """One data set: a line for each way, the baseline first; `points` are what had been spent after some rounds."""

    data: str
    metric: str
    points: tuple[int, ...]
    lines: tuple[Line, ...]
    warning: str | None


@dataclass(frozen=True)
class Summary:
    """All data sets.

    Attributes:
        tables: one for each data set.
        overall: way -> its comparison with the baseline over all pairs of data set and seed.
        ranks: of the ways over the data sets; None for a single one.
        wins: way, other way -> data sets on which it is better, not told apart, worse.
        tuned: which settings were tried before.
    """

    baseline: str
    tables: tuple[Table, ...]
    overall: dict[str, Comparison]
    ranks: Ranks | None
    wins: dict[tuple[str, str], tuple[int, int, int]]
    tuned: tuple[Tuned, ...] = ()


def way_of(cell: Cell, config: BenchConfig) -> str:
    """What a cell is called in tables: its strategy, and its learner where there are several."""
    return cell.strategy if len(config.learners) == 1 else f"{cell.learner}: {cell.strategy}"


def summarize(
    config: BenchConfig, data: dict[str, dict[str, Any]], cells: Sequence[Cell], tuned: tuple[Tuned, ...] = ()
) -> Summary:
    """The statistics of all runs, which must be done.

    Wins count data sets on which the 95% interval of the paired difference is clear of 0.
    """
    first = next(cell for cell in cells if cell.is_baseline)
    baseline = way_of(first, config)
    tables = tuple(_table(config, name, data[name]["metric"], cells, baseline) for name in config.sets)
    ways = [line.way for line in tables[0].lines]
    areas = {way: [_line(table, way).areas for table in tables] for way in ways}
    chained = {way: [area for part in parts for area in part] for way, parts in areas.items()}
    overall = _corrected({way: compare(chained[way], chained[baseline]) for way in ways if way != baseline})
    ranks = ranked({way: [float(np.mean(a)) for a in areas[way]] for way in ways}) if len(tables) > 1 else None
    wins = {(a, b): _wins(areas[a], areas[b]) for a in ways for b in ways if a != b}
    return Summary(baseline, tables, overall, ranks, wins, tuned)


def _line(table: Table, way: str) -> Line:
    return next(line for line in table.lines if line.way == way)


def _wins(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> tuple[int, int, int]:
    found = [compare(a, b) for a, b in zip(ours, theirs, strict=True)]
    wins, losses = sum(one.low > 0 for one in found), sum(one.high < 0 for one in found)
    return wins, len(found) - wins - losses, losses


def _corrected(found: dict[str, Comparison]) -> dict[str, Comparison]:
    adjusted = holm([one.p for one in found.values()])
    return {way: replace(one, adjusted=p) for (way, one), p in zip(found.items(), adjusted, strict=True)}


def _table(config: BenchConfig, name: str, metric: str, cells: Sequence[Cell], baseline: str) -> Table:
    """One data set."""
    unit = next(iter(config.sets[name].budget or config.budget))
    curves: dict[str, list[Curve]] = {}
    plain: list[float] = []
    purity: dict[str, list[float]] = {}
    for cell in cells:
        result = cell.result if cell.data == name else None
        if result is None:
            continue
        by_labels = unit == "rows" and "purity" not in result  # rows of no class cost as much as others
        curve = cell.curve(metric, "labels" if by_labels else "spent")
        curves.setdefault(way_of(cell, config), []).append(curve)
        if "purity" in result:
            purity.setdefault(way_of(cell, config), []).append(result["purity"])
        if metric in result["plain"] and way_of(cell, config) == baseline:
            plain.append(result["plain"][metric])
    theirs, _ = mean_curve(curves[baseline])
    areas = {way: tuple(area_under_curve(curve) for curve in found) for way, found in curves.items()}
    against = _corrected({way: compare(areas[way], areas[baseline]) for way in curves if way != baseline})
    points = _points(theirs.cost)
    lines = []
    for way in sorted(curves, key=lambda way: (way != baseline, -float(np.mean(areas[way])), way)):
        mean, _ = mean_curve(curves[way])
        lines.append(
            Line(
                way=way,
                curves=tuple(curves[way]),
                areas=areas[way],
                at=tuple(map(float, mean.at(points))),
                reaches=cost_to_reach(mean, theirs.scores[-1]),
                deficiency=deficiency(mean, theirs),
                against=against.get(way),
                purity=float(np.mean(purity[way])) if way in purity else None,
            )
        )
    return Table(name, metric, tuple(points), tuple(lines), _warning(theirs, plain, baseline))


def _points(costs: Sequence[float]) -> list[int]:
    """What the baseline had spent after each of its rounds, or after `MOST_POINTS` of them from first to last."""
    rounds = np.linspace(0, len(costs) - 1, min(len(costs), MOST_POINTS)).round().astype(int)
    return [round(costs[at]) for at in rounds]


def _warning(random: Curve, plain: Sequence[float], baseline: str) -> str | None:
    """Whether the baseline is weaker than plain training should be: everything looks good beside such a one."""
    if plain and random.scores[-1] < np.mean(plain):
        return (
            f"{baseline} ends at {random.scores[-1]:.3f}, and logistic regression on TF-IDF reaches "
            f"{np.mean(plain):.3f} with the same labels: train the learner better before strategies are compared"
        )
    if random.scores[-1] < random.scores[0]:
        return f"{baseline} ends below where it began: train the learner better before strategies are compared"
    return None
