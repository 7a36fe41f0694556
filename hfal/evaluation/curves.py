"""Learning curves: a score over the number of labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hfal.rounds import Round


@dataclass(frozen=True)
class Curve:
    """A score over the labels it took: `labels[i]` labels gave `scores[i]`."""

    labels: tuple[int, ...]
    scores: tuple[float, ...]

    @classmethod
    def of(cls, rounds: Iterable[Round], metric: str) -> Curve:
        """The curve of a run's rounds; rounds without this metric are left out."""
        points = [(r.labeled, float(r.metrics[metric])) for r in rounds if metric in r.metrics]
        return cls(tuple(x for x, _ in points), tuple(y for _, y in points))


def area_under_curve(labels: Sequence[float], scores: Sequence[float]) -> float:
    """Mean height of the curve: the trapezoid area divided by the range of labels.

    Args:
        labels: [R] rising numbers of labels.
        scores: [R] the score at each.

    Returns:
        A value in the unit of the score; with one point, that point.
    """
    if len(labels) != len(scores) or not len(labels):
        raise ValueError(f"a curve needs as many scores as labels, got {len(labels)} and {len(scores)}")
    if len(labels) == 1 or labels[-1] == labels[0]:
        return float(scores[-1])
    return float(np.trapezoid(scores, labels) / (labels[-1] - labels[0]))


def labels_to_reach(curve: Curve, score: float) -> int | None:
    """The fewest labels at which the curve is at or above a score and is never below it later; else None.

    A single lucky round does not count as having reached it.
    """
    reached: int | None = None
    for labels, value in zip(reversed(curve.labels), reversed(curve.scores), strict=True):
        if value < score:
            break
        reached = labels
    return reached
