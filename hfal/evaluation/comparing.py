"""Whether one way is better than another: paired tests over seeds and data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hfal.evaluation.curves import Curve

LEVEL = 0.95
RESAMPLES = 10_000
RESAMPLED_FROM = 10
"""Pairs from which on the bootstrap is used."""
MOST_SEEDS = 1000
POWER = 0.8


@dataclass(frozen=True)
class Comparison:
    """One way against the baseline, over pairs that share all else.

    Attributes:
        difference: mean of the paired differences.
        low: lower end of its 95% interval by the bootstrap.
        high: upper end.
        p: of Wilcoxon's signed-rank test, two-sided; 1 where all pairs are alike.
        pairs: how many.
        seeds_needed: pairs that a paired t-test would need to see a difference of this size with a power of 0.8; None
            where over a thousand, or where nothing varies.
        adjusted: p after Holm's correction over all ways that were compared together.
    """

    difference: float
    low: float
    high: float
    p: float
    pairs: int
    seeds_needed: int | None
    adjusted: float = 1.0

    @property
    def significant(self) -> bool:
        """Whether it is significant at the level of 5% after the correction."""
        return self.adjusted < 1 - LEVEL


def compare(ours: Sequence[float], theirs: Sequence[float], seed: int = 0) -> Comparison:
    """Scores of two ways on the same pairs (seed and data set).

    Args:
        ours: one score for each pair.
        theirs: of the baseline, in the same order.
        seed: of the bootstrap.
    """
    gaps = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    low, high = bootstrap(gaps, seed)
    return Comparison(float(gaps.mean()), low, high, signed_rank(gaps), len(gaps), seeds_needed(gaps))


def bootstrap(gaps: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """The 95% interval of the mean of paired differences.

    The percentile interval, widened by sqrt(n / (n - 1)) and Student's t over the normal (Hesterberg 2015, "What
    teachers should know about the bootstrap"). Fewer than ten pairs are too few to resample: Student's interval
    there. Nothing can be said of one pair.
    """
    n = len(gaps)
    if n < 2:
        return -np.inf, np.inf
    quantile = stats.t.ppf((1 + LEVEL) / 2, n - 1)
    if n < RESAMPLED_FROM:
        half = float(quantile * gaps.std(ddof=1) / np.sqrt(n))
        return float(gaps.mean()) - half, float(gaps.mean()) + half
    rng = np.random.default_rng(seed)
    means = gaps[rng.integers(0, n, (RESAMPLES, n))].mean(1)
    wider = np.sqrt(n / (n - 1)) * quantile
    tail = float(stats.norm.cdf(-wider))
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def signed_rank(gaps: NDArray[np.float64]) -> float:
    """p of Wilcoxon's signed-rank test (1945), two-sided; pairs without a difference are left out."""
    if not np.any(gaps):
        return 1.0
    return float(stats.wilcoxon(gaps).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """p after Holm's step-down correction (1979), in the same order."""
    order = np.argsort(p, kind="stable")
    steps = np.asarray(p, dtype=np.float64)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return [float(value) for value in adjusted]


def seeds_needed(gaps: NDArray[np.float64]) -> int | None:
    """Pairs with which a two-sided paired t-test at 5% sees this mean difference with a power of 0.8."""
    spread = float(gaps.std(ddof=1)) if len(gaps) > 1 else 0.0
    mean = abs(float(gaps.mean()))
    if spread == 0 or mean == 0:
        return None
    for n in range(2, MOST_SEEDS + 1):
        critical = stats.t.ppf((1 + LEVEL) / 2, n - 1)
        away = mean / spread * np.sqrt(n)
        power = stats.nct.sf(critical, n - 1, away) + stats.nct.cdf(-critical, n - 1, away)
        if power >= POWER:
            return n
    return None


def deficiency(ours: Curve, baseline: Curve) -> float:
    """How much of what can be learned is missed on the way (Baram et al. 2004): below 1 is better than the baseline.

    The sum over the rounds of what the curve lacks of the baseline's last score, divided by the same of the baseline.
    NaN where the baseline lacks nothing.
    """
    best = baseline.scores[-1]
    lacks, theirs = (sum(best - score for score in curve.at(baseline.cost)) for curve in (ours, baseline))
    return float(lacks / theirs) if theirs > 0 else float("nan")


@dataclass(frozen=True)
class Ranks:
    """Ways in order over several data sets (Demšar 2006).

    Attributes:
        mean: way -> mean rank, 1 the best.
        critical: mean ranks that lie closer are not told apart by Nemenyi's test at 5%.
        p: of Friedman's test that all are alike; NaN for fewer than three ways.
    """

    mean: dict[str, float]
    critical: float
    p: float


def ranked(scores: Mapping[str, Sequence[float]]) -> Ranks:
    """Mean ranks of ways.

    Args:
        scores: way -> its score on each data set, larger is better; ties share their ranks.
    """
    table = np.array(list(scores.values()), dtype=np.float64)
    ways, sets = table.shape
    ranks = stats.rankdata(-table, axis=0)
    q = stats.studentized_range.ppf(LEVEL, ways, np.inf) / np.sqrt(2)
    p = float(stats.friedmanchisquare(*table).pvalue) if ways > 2 and sets > 1 else float("nan")
    mean = dict(zip(scores, ranks.mean(1).tolist(), strict=True))
    return Ranks(mean, float(q * np.sqrt(ways * (ways + 1) / (6 * sets))), p)
