"""How many labels the choosing has saved, told from rows that were drawn by chance. Derived in docs/saving.md."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hfal.evaluation.extrapolation import labels_needed
from hfal.learners.base import Learner
from hfal.pool import Pool, Positions

Values = NDArray[np.float64]

ENOUGH = 100
"""Random rows from which on a saving is spoken of: with fewer the intervals do not hold (docs/saving.md)."""
SIZES = 4
"""Points of the curve of chance."""
FITS = 12
"""Models trained for each of them, about."""
REACH = 8.0
"""How many times the random rows the curve may be extended."""


def saved(
    learner: Learner,
    pool: Pool,
    by_chance: Positions,
    given: Positions,
    spent: float,
    each: float,
    generator: torch.Generator,
) -> dict[str, Any]:
    """What random choice would have had to spend for the model in use, less what was spent.

    Models are trained on growing random parts of the rows that were drawn by chance and measured on the audited ones
    among the others; a learning curve through their scores is extended to the score of the model in use, measured on
    the same rows.

    Args:
        learner: with the model in use; it has that again afterwards.
        pool: with audited rows.
        by_chance: rows of the seed set, where that was drawn by chance.
        given: rows that had labels from the start, which chance would have too.
        spent: so far, in the budget's unit, the audited rows included.
        each: what a row of the pool costs on average.
        generator: of the random parts.

    Returns:
        `rows`: random rows there are. With enough of them `spent`, and `needed`, `needed_low`, `needed_high`: what
        chance would spend; None (of the low end: as far as that is) where the curve does not bear it that far. Empty
        for learners that take too long to train so often.
    """
    trial = getattr(learner, "trial", None)
    rows = np.concatenate((pool.audited, by_chance))
    if trial is None or not len(pool.audited):
        return {}
    found: dict[str, Any] = {"rows": len(rows)}
    if len(rows) < ENOUGH or len(pool.audited) < ENOUGH / 2:
        return found
    sizes, tallies, of_fits = _curve_of_chance(trial, pool, rows, given, generator)
    in_use = pool.task.tally(trial(None, pool.inputs(pool.audited)), pool.labels(pool.audited))
    errors, covariance = _errors([*tallies, in_use], of_fits)
    if errors is None:
        return found
    needed = labels_needed(sizes + len(given), errors, covariance, spent / each + len(given))
    limit = REACH * len(rows)
    low, value, high = (
        (n - len(given)) * each if math.isfinite(n) and n - len(given) <= limit else None
        for n in (needed.low, needed.value, needed.high)
    )
    if low is None:  # beyond what the rows bear: at least so many
        low = limit * each
    return found | {"spent": spent, "needed": value, "needed_low": low, "needed_high": high}


def _curve_of_chance(
    trial: Any, pool: Pool, rows: Positions, given: Positions, generator: torch.Generator
) -> tuple[Values, list[Values], Values]:
    """Mean tallies of the audited rows by models trained on random parts of `rows` that lack them.

    Returns:
        [k] sizes; for each [n, 2] mean tallies; [k] variance of a size's mean that is due to what was drawn.
    """
    n, audited = len(rows), len(pool.audited)
    sizes = np.unique(np.geomspace(0.16 * n, 0.7 * n, SIZES).round().astype(int))
    tallies, variances = [], []
    test, labels = pool.inputs(pool.audited), pool.labels(pool.audited)
    for size in sizes:
        total, times, scores = np.zeros((audited, 2)), np.zeros(audited), []
        blocks = max(1, n // size)
        for _ in range(math.ceil(FITS / blocks)):
            order = torch.randperm(n, generator=generator).numpy()
            for block in range(blocks):
                inside = order[block * size : (block + 1) * size]
                out = np.setdiff1d(np.arange(audited), inside)
                logits = trial(pool.training_set(np.concatenate((given, rows[inside]))), test)
                tally = pool.task.tally(logits, labels)[out]
                total[out] += tally
                times[out] += 1
                scores.append((out, tally))
        mean = total / np.maximum(times, 1)[:, None]
        tallies.append(np.where(times[:, None] > 0, mean, mean[times > 0].mean(0)))
        variances.append(_between(scores, tallies[-1]) * size / n)
    return sizes.astype(float), tallies, np.array(variances)


def _between(scores: list[tuple[Positions, Values]], mean: Values) -> float:
    """Variance between models of a size that is not due to the rows they were measured on."""
    gaps = []
    for out, tally in scores:
        base = tally[:, 1].sum(), mean[out][:, 1].sum()
        if min(base) > 0:
            gaps.append(tally[:, 0].sum() / base[0] - mean[out][:, 0].sum() / base[1])
    return float(np.var(gaps, ddof=1)) if len(gaps) > 1 else 0.01


def _errors(tallies: list[Values], of_fits: Values) -> tuple[Values | None, Values]:
    """[k + 1] errors and their covariance, by linearisation of the ratios (Cochran 1977, sec. 6.3)."""
    rows = len(tallies[0])
    scores, lines = [], []
    for tally in tallies:
        above, below = tally.sum(0)
        if below <= 0:
            return None, np.empty(0)
        score = above / below
        scores.append(score)
        lines.append((tally[:, 0] - score * tally[:, 1]) * rows / below)
    covariance = np.cov(np.stack(lines)) / rows * (rows + 1) / max(1, rows - 3)
    drawn = np.append(of_fits, 0.0)
    covariance += np.diag(drawn) + 1e-6 * np.eye(len(scores))
    both = np.sqrt(np.outer(of_fits, of_fits)) / 2  # parts of the same rows are alike
    covariance[:-1, :-1] += both - np.diag(np.diag(both))
    return 1 - np.array(scores), covariance
