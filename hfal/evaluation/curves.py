"""Learning curves: a score over what it cost, in labels, words or another unit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfal.rounds import Round


@dataclass(frozen=True)
class Curve:
    """A score over what it took: `cost[i]` labels (or words, seconds, …) gave `scores[i]`."""

    cost: tuple[float, ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.cost) != len(self.scores):
            raise ValueError(f"a curve needs as many scores as costs, got {len(self.scores)} and {len(self.cost)}")

    @classmethod
    def of(cls, rounds: Iterable[Round], metric: str, unit: str = "rows") -> Curve:
        """The curve of a run's rounds; rounds without this metric are left out.

        Args:
            rounds: of one run.
            metric: the score.
            unit: "rows": all labelled rows, those from the start too; "words": of the rows asked; else what was
                spent of a budget in that unit.
        """
        points = [(cost_of(r, unit), r.scores[metric]) for r in rounds if metric in r.scores]
        return cls(tuple(x for x, _ in points), tuple(y for _, y in points))

    def at(self, cost: Sequence[float] | NDArray[Any]) -> NDArray[np.float64]:
        """[k] the score at these costs, in straight lines between the rounds."""
        return np.interp(np.asarray(cost, dtype=np.float64), self.cost, self.scores)


def cost_of(done: Round, unit: str) -> float:
    """What a run had cost when a round ended."""
    return {"rows": done.labeled, "words": done.words}.get(unit, done.spent)


def mean_curve(curves: Sequence[Curve]) -> tuple[Curve, NDArray[np.float64]]:
    """The mean over seeds and, [seeds, R], what it is the mean of.

    Costs of rounds need not agree between seeds to the last word: the others are read off at the first's rounds, as
    far as all reach.
    """
    first, last = max(curve.cost[0] for curve in curves), min(curve.cost[-1] for curve in curves)
    if first > last:
        raise ValueError("curves without a cost in common have no mean")
    grid = np.unique(np.clip(curves[0].cost, first, last))
    scores = np.array([curve.at(grid) for curve in curves])
    return Curve(tuple(grid.tolist()), tuple(scores.mean(0).tolist())), scores


def area_under_curve(curve: Curve) -> float:
    """Mean height of the curve: the trapezoid area divided by the range of costs; with one point, that point."""
    if not curve.cost:
        raise ValueError("a curve without points has no area")
    if curve.cost[-1] == curve.cost[0]:
        return curve.scores[-1]
    return float(np.trapezoid(curve.scores, curve.cost) / (curve.cost[-1] - curve.cost[0]))


def cost_to_reach(curve: Curve, score: float) -> float | None:
    """The lowest cost of a round at which the curve is at or above a score and is never below it later; else None.

    A single lucky round does not count as having reached it.
    """
    reached: float | None = None
    for cost, value in zip(reversed(curve.cost), reversed(curve.scores), strict=True):
        if value < score:
            break
        reached = cost
    return reached
