"""Rows drawn by chance in every batch, which tell how good the model is. See docs/saving.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hfal.errors import HfalError
from hfal.pool import Pool, Positions
from hfal.strategies import Selection
from hfal.strategies.within import Limit, allowance

LEAST = 5
"""Rows audited in a batch, where it has twice as many."""


class Audit:
    """A share of each batch that is drawn uniformly and never trained on.

    The rows that may ever be audited, the reserve, are drawn from the whole pool before anything is chosen, and kept
    out of choice and training. What is asked of it, in its own random order, is at any time a uniform sample of
    the pool, whatever the strategy has taken from the rest.

    Args:
        share: of the rows of a batch; 0 for none.
        batch_rows: about how many rows a batch has.
    """

    def __init__(self, share: float, batch_rows: float) -> None:
        if not 0 <= share <= 0.5:
            raise HfalError(f"audit must be a share from 0 to 0.5, got {share!r}")
        wanted = max(LEAST, math.ceil(share * batch_rows - 1e-9)) if share else 0
        self.each = min(wanted, math.floor(batch_rows / 2))
        self.share = self.each / batch_rows

    def draw(self, pool: Pool, generator: torch.Generator) -> None:
        """Keep a reserve in the pool: as many rows as its audits can ever ask."""
        free = pool.canonical(pool.unlabeled)
        size = math.ceil(self.share * len(free))
        pool.keep_reserve(free[torch.randperm(len(free), generator=generator)[:size].numpy()])

    def next(self, pool: Pool, limits: Sequence[Limit]) -> Positions:
        """The rows to audit in this round: the next of the reserve, as many as may be paid for.

        Args:
            pool: with its reserve.
            limits: the costs of all rows of the pool, by position, and what may be spent.
        """
        rows = pool.to_audit[: self.each]
        for costs, amount in limits:
            rows = rows[np.cumsum(costs[rows]) <= allowance(amount)]
        return rows


def mixed(chosen: Selection, audited: Positions, generator: torch.Generator) -> tuple[Selection, NDArray[np.bool_]]:
    """The rows that were chosen, in their order, with the audited ones anywhere among them.

    Returns:
        All of them, and [k] whether each is audited: its score and details say nothing then.
    """
    size = len(chosen) + len(audited)
    is_audited = np.zeros(size, dtype=bool)
    if not len(audited):
        return chosen, is_audited
    is_audited[torch.randperm(size, generator=generator)[: len(audited)].numpy()] = True

    def spread(values: NDArray[Any], others: Any) -> NDArray[Any]:
        full = np.empty(size, values.dtype)
        full[~is_audited], full[is_audited] = values, others
        return full

    details = {name: spread(values, 0) for name, values in chosen.details.items()}
    return Selection(spread(chosen.rows, audited), spread(chosen.scores, 0), details), is_audited
