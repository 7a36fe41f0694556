"""The score of a model on the pool, from the audited rows alone: no test set is needed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from hfal.evaluation.intervals import Estimate, ratio_interval, share_interval
from hfal.pool import Pool, Positions
from hfal.signals import Signals

ENOUGH = 10
"""Audited rows from which on an estimate is given."""
LOOKED_AT = 2_000
"""Rows of the reserve, asked or not, of which the model's own probabilities sharpen the estimate."""


def looked_at(pool: Pool) -> Positions:
    """Rows of the reserve that are looked at each round: all that were asked, and as many more as tell something."""
    asked = np.flatnonzero(np.isin(pool.reserve, pool.audited))
    return pool.reserve[: max(LOOKED_AT, asked[-1] + 1 if len(asked) else 0)]


def audited(pool: Pool, rows: Positions, seen: Signals) -> dict[str, Any]:
    """What the audited rows say of a model that was not trained on them.

    Args:
        pool: with its reserve.
        rows: of the reserve, the audited ones among them.
        seen: the model's logits of these rows.

    Returns:
        `rows`, how many are audited; from 10 on also `metric` (accuracy, or F1 for words and several labels), `value`,
        `low` and `high`: the 95% interval of that score on rows like the pool's.
    """
    at = np.flatnonzero(np.isin(rows, pool.audited))
    found: dict[str, Any] = {"rows": len(at)}
    if len(at) < ENOUGH:
        return found
    task = pool.task
    tally = task.tally(seen.take(torch.from_numpy(at)).outputs, pool.labels(rows[at]))
    if task.tallied == "accuracy" and not task.per_word:
        sure = task.predict(seen.outputs)[1].astype(float)
        estimate: Estimate | None = share_interval(tally[:, 0], sure[at], sure)
    else:
        estimate = ratio_interval(tally)
    if estimate is not None:
        found |= {"metric": task.tallied, **asdict(estimate)}
    return found
