"""The score of a model on the pool, from the audited rows alone: no test set is needed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from hfal.evaluation.intervals import Estimate, ratio_interval, share_interval
from hfal.learners.base import Learner, unit_of
from hfal.pool import Pool
from hfal.signals import Needs

ENOUGH = 10
"""Audited rows from which on an estimate is given."""
LOOKED_AT = 5_000
"""Rows of the reserve, asked or not, of which the model's own probabilities sharpen the estimate."""


def audited(learner: Learner, pool: Pool) -> dict[str, Any]:
    """What the audited rows say of a model that was not trained on them.

    Returns:
        `rows`, how many there are; from 10 on also `metric` (accuracy, or F1 for words and several labels), `value`,
        `low` and `high`: the 95% interval of that score on rows like the pool's.
    """
    rows = pool.audited
    found: dict[str, Any] = {"rows": len(rows)}
    if len(rows) < ENOUGH:
        return found
    task = pool.task
    by_row = task.tallied == "accuracy" and not task.per_word
    at = np.flatnonzero(np.isin(pool.reserve, rows))
    looked = pool.reserve[: max(LOOKED_AT, at[-1] + 1)] if by_row else rows
    seen = learner.signals(pool.inputs(looked), Needs(pool=frozenset({"logits"}), units=unit_of(task)))
    if by_row:
        tally = task.tally(seen.take(torch.from_numpy(at)).logits, pool.labels(rows))
        sure = task.predict(seen.logits)[1].astype(float)
        estimate: Estimate | None = share_interval(tally[:, 0], sure[at], sure)
    else:
        estimate = ratio_interval(task.tally(seen.logits, pool.labels(rows)))
    if estimate is not None:
        found |= {"metric": task.tallied, **asdict(estimate)}
    return found
