"""How many random labels would be as good: a learning curve with its uncertainty. Derived in docs/saving.md."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.float64]

LEVELS = np.linspace(0.02, 0.98, 25)
"""Quantiles by which a normal variable stands in the sums below."""
LOW_FLOORS = 4.0
"""Asymptotes near 0 are likelier: density (1 - a / e)^4, mean a sixth of the error at the middle size."""
BENDING = 1.0
"""Standard deviation of the logarithm by which the curve's further course may be longer or shorter than its power law
has it. Set on data where the truth is known (`benchmarks/saving.py`), as are the ranges of the grid."""


@dataclass(frozen=True)
class Needed:
    """How many labels chance would need: the median, and the interval with 95% of the posterior. Infinite where the
    curve may never get there."""

    value: float
    low: float
    high: float


SELDOM_WORSE = 0.5
"""That choosing needs more than chance gets unlikely by a half-normal law of the ratio's logarithm with this standard
deviation: twice as much is already 1.4 of them. There is no such law for how much better choosing can be."""


def labels_needed(sizes: Values, errors: Values, covariance: Values, spent: float) -> Needed:
    """When a learning curve reaches the error of another model.

    The curve is a power law, `e(n) = a + (e(1) - a) n^-c` (Cortes et al. 1993), of which a grid over asymptote, level
    and exponent holds the posterior; the exponent is uniform on a log scale from 0.15 to 1.2, the level is uniform.
    Beyond the sizes that were seen curves bend as no power law does, so the logarithm of the way to go is multiplied
    by a log-normal factor.

    Args:
        sizes: [k] labels that the curve's models had.
        errors: [k + 1] their errors (1 - score), and last that of the model to be matched.
        covariance: [k + 1, k + 1] of these errors, which were measured on the same rows.
        spent: labels that the model to be matched has cost.

    Returns:
        The n at which the curve is as low as the model's error.
    """
    known, model = slice(0, len(sizes)), len(sizes)
    middle = float(np.exp(np.log(sizes).mean()))
    spread = float(np.sqrt(covariance[0, 0]))
    level = np.clip(errors[:-1].mean() + spread * np.linspace(-4, 4, 33), 1e-3, 1.0)
    part, power = np.linspace(0, 0.95, 26), np.exp(np.linspace(np.log(0.15), np.log(1.2), 20))
    e, u, c = (axis.ravel() for axis in np.meshgrid(np.unique(level), part, power, indexing="ij"))
    floor = e * u  # asymptote; e is the error at the middle size
    curve = floor[:, None] + (e - floor)[:, None] * (sizes[None, :] / middle) ** -c[:, None]
    residual = errors[known] - curve
    solved = np.linalg.solve(covariance[known, known], residual.T).T
    likelihood = -0.5 * (residual * solved).sum(1) + LOW_FLOORS * np.log(1 - u)
    cross = covariance[model, known]
    mean = errors[model] - solved @ cross
    variance = covariance[model, model] - cross @ np.linalg.solve(covariance[known, known], cross)
    target = mean[:, None] + np.sqrt(max(variance, 1e-12)) * stats.norm.ppf(LEVELS)[None, :]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = (target - floor[:, None]) / (e - floor)[:, None]
        needed = np.where(ratio > 0, middle * ratio ** (-1 / c[:, None]), np.inf)
    weight = np.exp(likelihood - likelihood.max())
    weights = np.repeat(weight / weight.sum(), len(LEVELS))
    likely = weights > 1e-9 * weights.max()
    bent = _bent(np.maximum(needed.ravel()[likely], 1.0), float(sizes[-1]))
    prior = np.exp(-0.5 * (np.minimum(0.0, np.log(bent / spent)) / SELDOM_WORSE) ** 2)
    low, value, high = _quantiles(bent.ravel(), (weights[likely][:, None] * prior).ravel(), (0.025, 0.5, 0.975))
    return Needed(value, low, high)


def _bent(needed: Values, seen: float) -> Values:
    """[M, Q] how many labels it may be where curves bend beyond the last size that was seen."""
    factors = np.exp(BENDING * stats.norm.ppf(LEVELS[::2]))
    with np.errstate(over="ignore"):
        further = seen * (np.maximum(needed, seen) / seen)[:, None] ** factors[None, :]
    return np.where(needed[:, None] > seen, further, needed[:, None])


def _quantiles(values: Values, weights: Values, levels: tuple[float, ...]) -> list[float]:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    at = np.minimum(np.searchsorted(reached, np.array(levels) * reached[-1]), len(values) - 1)
    return [float(value) for value in values[order][at]]
