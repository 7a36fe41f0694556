"""What a round tells without a test set: from rows that were drawn by chance. Derived in docs/saving.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hfal.asking import chosen_by
from hfal.evaluation.audit import audited, looked_at
from hfal.evaluation.meter import saved
from hfal.evaluation.stopping import stability
from hfal.learners.base import Learner, outputs_of
from hfal.pool import Pool, Positions
from hfal.rounds import Ledger


@dataclass(frozen=True)
class Spending:
    """What a run has cost, to compare chance with.

    Attributes:
        spent: so far, in the budget's unit.
        each: what a row of the pool costs on average.
        given: rows that had labels from the start, which chance would have had too.
    """

    spent: float
    each: float
    given: Positions


def figures(
    learner: Learner,
    pool: Pool,
    ledger: Ledger,
    number: int,
    spending: Spending | None,
    generator: torch.Generator,
) -> dict[str, dict[str, Any]]:
    """How good the model is, how much it still changes, and what the choosing has saved.

    Args:
        learner: with the model of this round.
        pool: with audited rows.
        ledger: where the predictions of the round before are, and those of this one go.
        number: of the round.
        spending: None where chance itself chooses: then nothing can be saved.
        generator: of what the meter draws.

    Returns:
        `audit`, `stopping` and `saving` of `Round`.
    """
    rows, task = looked_at(pool), pool.task
    seen = outputs_of(learner, task, pool.inputs(rows))
    predicted = dict(zip(pool.ids(rows), task.predict(seen.outputs)[0], strict=True))
    before = ledger.predictions(number - 1)
    both = [name for name in predicted if name in before]
    ledger.write_predictions(number, list(predicted), list(predicted.values()))
    saving: dict[str, Any] = {}
    if spending is not None:
        at_random = _random_seed_set(pool, ledger)
        saving = saved(learner, pool, at_random, spending.given, spending.spent, spending.each, generator)
    return {
        "audit": audited(pool, rows, seen),
        "stopping": stability([before[x] for x in both], [predicted[x] for x in both], task) if both else {},
        "saving": saving,
    }


def _random_seed_set(pool: Pool, ledger: Ledger) -> Positions:
    """The labelled rows of the seed set, where that was drawn by chance."""
    first = ledger.selection(0)
    if first is None or chosen_by(first) != "random":
        return np.empty(0, dtype=np.int64)
    asked = pool.positions(first["id"].to_pylist())
    return pool.canonical(np.intersect1d(asked, pool.labeled))
