"""How good a model is, from a uniform sample of the pool: estimates with intervals. Derived in docs/saving.md."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value, and the interval that holds the truth in 95 of 100 samples."""

    value: float
    low: float
    high: float


def share_interval(right: Values, proxy: Values, reserve: Values) -> Estimate:
    """The share of right rows, by prediction-powered inference and an exact interval.

    The estimate is `mean(right) + l (mean(reserve) - mean(proxy))`, the difference estimator of survey sampling, with
    the weight l that makes its variance least (Angelopoulos, Duchi and Zrnic 2023, PPI++, eq. 6). The interval is that
    of Clopper and Pearson (1934), for as many rows as would have that variance without the proxy.

    Args:
        right: [n] 1 where the model is right, else 0; of a uniform sample.
        proxy: [n] the model's own probability that it is.
        reserve: [m] that probability for the m rows of which the n are a uniform sample.
    """
    n, m = len(right), len(reserve)
    rare = float(min(right.sum(), n - right.sum()))  # what is learned from few is trusted less
    weight = 0.0
    if n > 2 and np.ptp(right) > 0 and np.ptp(proxy) > 0:
        slope = np.cov(right, proxy)[0, 1] / proxy.var(ddof=1)
        weight = float(np.clip(slope * (1 - n / m), 0, None)) * rare / (rare + SHRINK)
    value = float(np.clip(right.mean() + weight * (reserve.mean() - proxy.mean()), 0, 1))
    gain = 1.0
    if weight:
        plain = right.var(ddof=1) / n
        better = (right - weight * proxy).var(ddof=1) / n + weight**2 * reserve.var() / m
        gain = 1 + max(0.0, min(plain / better, 4.0) - 1) * rare / (rare + SHRINK)
    return _exact(value, n * gain)


SHRINK = 10.0
"""Errors (or, where they are the rule, right rows) at which half of what the proxy promises is believed."""


def _exact(share: float, size: float) -> Estimate:
    """Clopper and Pearson's interval around a share of `size` rows, not necessarily a whole number of them."""
    hits, misses = share * size, (1 - share) * size
    low = 0.0 if hits <= 0 else float(stats.beta.ppf(0.025, hits, misses + 1))
    high = 1.0 if misses <= 0 else float(stats.beta.ppf(0.975, hits + 1, misses))
    return Estimate(share, min(low, share), max(high, share))


def ratio_interval(tally: Values) -> Estimate | None:
    """A ratio of sums over rows, such as F1 over entities: by linearisation on the logit scale.

    The variance is that of `a - r b` over rows (Cochran 1977, sec. 6.3), with one row added that is half right, so
    that a sample without any error has an interval too.

    Args:
        tally: [n, 2] what each row adds to numerator and denominator; of a uniform sample.

    Returns:
        None where the denominator is 0: there was nothing to find.
    """
    above, below = tally[:, 0], tally[:, 1]
    total, n = float(below.sum()), len(tally)
    if total <= 0 or n < 2:
        return None
    value = float(above.sum() / total)
    a, b = np.append(above, 0.5), np.append(below, 1.0)
    middle = float(a.sum() / b.sum())
    error = np.sqrt((n + 1) * (a - middle * b).var(ddof=1)) / b.sum()
    logit, half = np.log(middle / (1 - middle)), stats.t.ppf(0.975, n - 1) * error / (middle * (1 - middle))
    low, high = (1 / (1 + np.exp(-(logit + side * half))) for side in (-1, 1))
    return Estimate(value, float(min(value, low)), float(max(value, high)))
